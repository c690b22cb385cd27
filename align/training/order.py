"""The order in which rows are learnt: shuffled by a seed, sorted by length only within what one step takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from trl.trainer.utils import RepeatSampler

from align.training.ranks import world


def step_rows(args: Any) -> int:
    """Rows that one optimizer step takes, over all processes."""
    return int(args.per_device_train_batch_size * args.gradient_accumulation_steps) * world()


def balanced(rows: Sequence[int], lengths: Sequence[int], *, size: int) -> list[int]:
    """The rows, so ordered that the batches of `size` cut from them have about as many tokens each.

    Processes that train together wait for the slowest. The longest first, each into the lightest batch with room.
    """
    bins: list[list[int]] = [[] for _ in range(-(-len(rows) // size))]
    room = [size] * (len(bins) - 1) + [len(rows) - size * (len(bins) - 1)]
    for i in sorted(rows, key=lambda i: (-lengths[i], i)):
        place = min(
            (b for b in range(len(bins)) if len(bins[b]) < room[b]), key=lambda b: (sum(lengths[j] for j in bins[b]), b)
        )
        bins[place].append(i)
    return [i for batch in bins for i in batch]


class StepwiseByLength(torch.utils.data.Sampler):  # type: ignore[misc]
    """A fresh shuffle each epoch; the rows of one step stand from short to long.

    Which rows make a step is as in a plain shuffle, so the statistics of training are untouched; but its micro-batches
    hold rows of like length, and less is computed on padding. With `micro`, batches of so many rows hold about as many
    tokens each instead.
    """

    def __init__(self, lengths: Sequence[int], *, step_rows: int, seed: int, micro: int | None = None) -> None:
        self.lengths = lengths
        self.micro = micro
        self.step_rows = step_rows
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the trainer before each epoch, and when a run goes on in the middle of one."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = torch.randperm(len(self.lengths), generator=generator).tolist()
        for start in range(0, len(order), self.step_rows):
            rows = order[start : start + self.step_rows]
            if self.micro is not None:
                yield from balanced(rows, self.lengths, size=self.micro)
            else:
                yield from sorted(rows, key=lambda i: self.lengths[i])


def sampler(lengths: Sequence[int], args: Any) -> StepwiseByLength:
    """The order for a trainer: by length in one process, balanced by tokens over several."""
    micro = int(args.per_device_train_batch_size) if world() > 1 else None
    return StepwiseByLength(lengths, step_rows=step_rows(args), seed=args.seed, micro=micro)


class Repeats(RepeatSampler):  # type: ignore[misc]
    """TRL's order of prompts, each repeated for its group, with a shuffle that the epoch names.

    TRL's own draws one shuffle after the other from one generator, so a run that goes on in its second epoch would see
    the first one's order again.
    """

    def set_epoch(self, epoch: int) -> None:
        """Called before each epoch, and when a run goes on in the middle of one."""
        self.generator.manual_seed((self.seed or 0) * 1_000_003 + epoch)


def tell_epoch(loader: Any, step: int) -> None:
    """Set the epoch that follows `step` optimizer steps in the `StepwiseByLength` under a loader, however deep it lies.

    Where a run of several processes goes on in the middle of an epoch, accelerate puts a sampler that skips around one
    that shards, and what transformers says of the epoch does not reach the order under both: it would be the first's.
    """
    place = getattr(loader, "batch_sampler", None)
    while place is not None and not isinstance(place, StepwiseByLength):
        place = getattr(place, "batch_sampler", None) or getattr(place, "sampler", None)
    if place is not None:
        place.set_epoch(step // -(-len(place) // place.step_rows))
