"""The reference's log-probabilities of every row: computed once, in batches of like length, and kept by content."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from align.configs import TrainingConfig
from align.errors import TrainingError
from align.ports import Workshop
from align.store import jsonl
from align.training.ranks import from_all, rank, world

TOKENS = 8192
"""Of a packed batch: without gradients it may be twice what a training row is."""

Logps = tuple[list[float], list[float]]
"""Nats of the two answers of each row: chosen and rejected, or its own and another's."""


def reference_logps(
    rows: Any,
    name: str,
    compute: Callable[[Sequence[int]], Logps],
    workshop: Workshop,
    *,
    lengths: Sequence[int],
    batch_size: int | None,
    made_of: Sequence[Any],
    columns: Sequence[str],
) -> Logps:
    """Both columns, in the order of `rows`; a kill costs one batch, and equal contents are never computed twice.

    `compute` takes the places of a batch's rows. A batch has `batch_size` rows, or, where that is None, as many as fill
    a packed row. `made_of` is what decides the numbers besides the rows: the model's digest, the number format, the way
    taken; `columns` are those of a row that hold token ids. TrainingError where a number is not finite.
    """
    batches = in_batches(lengths, batch_size)
    key = content(rows, [*made_of, batches], columns)
    part = "" if world() == 1 else f".{rank()}of{world()}"
    journal_at = workshop.work / f"reference.{name}{part}.jsonl"
    shelf = getattr(workshop, "shelf", None)
    kept = None if shelf is None else Path(shelf(key)) / "reference.jsonl"
    if kept is not None and kept.exists() and not journal_at.exists():
        shutil.copyfile(kept, journal_at)
    chosen, rejected = [0.0] * len(lengths), [0.0] * len(lengths)
    mine = range(rank(), len(batches), world())
    found: dict[int, Any] = {}
    with (
        jsonl.Journal(journal_at) as journal,
        workshop.progress(f"reference on {name} rows", len(lengths)) as progress,
    ):
        done = journal.done()
        for at, n in enumerate(mine):
            if at < len(done):
                found[n] = done[at]
            else:
                first, second = compute(batches[n])
                if not all(map(math.isfinite, first + second)):
                    raise TrainingError("the reference's log-probabilities hold NaN or infinity; the model is damaged")
                found[n] = {"chosen": first, "rejected": second}
                journal.append(found[n])
            progress.advance(len(batches[n]))
    for part_of in from_all(found):
        for n, row in part_of.items():
            for place, i in enumerate(batches[n]):
                chosen[i], rejected[i] = row["chosen"][place], row["rejected"][place]
    if kept is not None and world() == 1 and not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        partial = kept.with_name(f"reference.{name}.partial")
        shutil.copyfile(journal_at, partial)
        partial.replace(kept)
    return chosen, rejected


def in_batches(lengths: Sequence[int], batch_size: int | None) -> list[list[int]]:
    """Places of rows from short to long, cut into batches of so many rows, or of at most `TOKENS` tokens."""
    batches: list[list[int]] = []
    room = 0
    for i in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        full = len(batches[-1]) == batch_size if batches and batch_size is not None else room < lengths[i]
        if not batches or full:
            batches.append([])
            room = TOKENS
        batches[-1].append(i)
        room -= lengths[i]
    return batches


def content(rows: Any, made_of: Sequence[Any], columns: Sequence[str]) -> str:
    """sha256, in hex, of the rows' token ids and of what else decides the numbers."""
    digest = hashlib.sha256(json.dumps(made_of).encode("utf-8"))
    for row in rows:
        digest.update(json.dumps([row[name] for name in columns]).encode("utf-8"))
    return digest.hexdigest()


def standing_for(model: Path, config: TrainingConfig) -> str:
    """What decides the reference besides the rows: its weights, the format that they are rounded to, added tokens."""
    return " ".join([weights_of(model), config.lora.base if config.lora else "float32", *config.new_tokens])


def weights_of(folder: Path) -> str:
    """sha256, in hex, of a model folder's settings and weights."""
    digest = hashlib.sha256()
    for path in sorted([*folder.glob("*.safetensors"), folder / "config.json"]):
        with open(path, "rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()
