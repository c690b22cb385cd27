"""The order in which rows are learnt: shuffled by a seed, sorted by length only within what one step takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch


def step_rows(args: Any) -> int:
    """Rows that one optimizer step takes on one device."""
    return int(args.per_device_train_batch_size * args.gradient_accumulation_steps)


class StepwiseByLength(torch.utils.data.Sampler):  # type: ignore[misc]
    """A fresh shuffle each epoch; the rows of one step stand from short to long.

    Which rows make a step is as in a plain shuffle, so the statistics of training are untouched; but its micro-batches
    hold rows of like length, and less is computed on padding.
    """

    def __init__(self, lengths: Sequence[int], *, step_rows: int, seed: int) -> None:
        self.lengths = lengths
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
            yield from sorted(order[start : start + self.step_rows], key=lambda i: self.lengths[i])
