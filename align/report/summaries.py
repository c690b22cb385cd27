"""What a stage said of its own work (`summary.json`), as tables, whatever it holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from align.report.measures import words
from align.report.numbers import DASH, count, number


@dataclass(frozen=True)
class Table:
    """A table of text; the first column names the row."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def tables(summary: Mapping[str, Any], caption: str) -> list[Table]:
    """Plain values as one table of names and values; each group of values as a table of its own after it."""
    plain = tuple(
        (words(name), cell(value)) for name, value in summary.items() if not isinstance(value, (Mapping, list))
    )
    found = [Table(caption, (), plain)] if plain else []
    for name, value in summary.items():
        if isinstance(value, list) and not all(isinstance(row, Mapping) for row in value):
            found.append(Table(words(name), (), tuple(("", cell(item)) for item in value)))
        elif isinstance(value, list) and value:
            found.append(_grid(words(name), [("", row) for row in value]))
        elif isinstance(value, Mapping) and value and all(isinstance(row, Mapping) for row in value.values()):
            found.append(_grid(words(name), list(value.items())))
        elif isinstance(value, Mapping) and value:
            found.append(Table(words(name), (), tuple((words(key), cell(item)) for key, item in value.items())))
    return found


def _grid(caption: str, named: Sequence[tuple[str, Mapping[str, Any]]]) -> Table:
    columns = list(dict.fromkeys(key for _, row in named for key in row))
    with_names = any(name for name, _ in named)
    head = (*([""] if with_names else []), *map(words, columns))
    rows = tuple(
        (*([name] if with_names else []), *(cell(row.get(column)) for column in columns)) for name, row in named
    )
    return Table(caption, head, rows)


def cell(value: object) -> str:
    """One value as text: counts with commas, shares with three decimals, digests short."""
    if value is None or value == "":
        return DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return count(value)
    if isinstance(value, float):
        return number(value)
    if isinstance(value, str):
        return value[:12] + "…" if len(value) == 64 and not set(value) - set("0123456789abcdef") else value
    if isinstance(value, (list, tuple)):
        return ", ".join(map(cell, value)) or DASH
    if isinstance(value, Mapping):
        return ", ".join(f"{words(str(key))} {cell(item)}" for key, item in value.items()) or DASH
    return str(value)
