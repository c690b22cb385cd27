"""Single answers that somebody called good or bad: TRL's unpaired preferences."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from align.errors import RecordError
from align.records import Message
from align.store import jsonl


@dataclass(frozen=True)
class Flagged:
    """One answer."""

    prompt: tuple[Message, ...]
    answer: tuple[Message, ...]
    good: bool


def read_flags(path: Path) -> Iterator[Flagged]:
    """Rows of `prompt`, `completion` (text or chat messages) and `label` (true or false); RecordError by line."""
    n = 0
    for line, row in jsonl.rows(path):
        n += 1
        where = f"{path}:{line}"
        if missing := {"prompt", "completion", "label"} - set(row):
            raise RecordError(f"{where}: {', '.join(sorted(missing))}: missing; expected prompt, completion and label")
        if not isinstance(row["label"], bool):
            raise RecordError(f"{where}: label: {row['label']!r} found, expected true or false")
        yield Flagged(
            messages(row["prompt"], "user", where), messages(row["completion"], "assistant", where), row["label"]
        )
    if not n:
        raise RecordError(f"{path}: 0 rows, expected flagged answers")


def messages(value: Any, role: str, where: str) -> tuple[Message, ...]:
    """Text as one message of `role`, messages as they are; RecordError where the last is not `role`'s."""
    rows = [{"role": role, "content": value}] if isinstance(value, str) else value
    try:
        found = tuple(Message.model_validate(row) for row in rows)
    except (ValidationError, TypeError) as error:
        raise RecordError(f"{where}: {value!r} found, expected text or chat messages") from error
    if not found or found[-1].role != role:
        raise RecordError(f"{where}: the last message is not the {role}'s; expected prompt, then the answer")
    return found
