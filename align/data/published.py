"""Published benchmarks as their authors publish them: which files, which columns, under which licence.

Nothing is bundled. A benchmark is read from a folder (or one file) that lies in the published format, byte for byte, or
from the hub at a pinned revision, row by row through the same reader.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from align.data.rows import Row, sha256
from align.errors import RecordError
from align.records import Item, Prompt, Source

Question = Item | Prompt
FIELD_BYTES = 4 * 2**20


@dataclass(frozen=True)
class Published:
    """A data set and how its rows become items or prompts."""

    title: str
    origin: str
    """Where its authors publish it, and the version whose columns are expected."""
    licence: str | None
    n: int | None
    """Items or prompts of the whole set, as published."""
    files: tuple[str, ...]
    """Patterns of its files' names; `.gz` behind them is read too."""
    columns: tuple[str, ...]
    """Those that must be there; empty where a file is no table."""
    questions: Callable[[Iterable[Row]], Iterator[Question]]
    folder: str
    """Where it lies in a folder that holds many benchmarks."""
    beside: tuple[str, ...] = ()
    """Columns of a second table that may lie beside."""
    hub: str | None = None
    """The data set's id on the hub, where its rows have the same columns."""
    max_tokens: int = 128
    """Longest answer that is drawn, for benchmarks that are answered."""


def read(published: Published, path: Path) -> tuple[list[Question], list[Source]]:
    """Every question in a file or folder, and the files they came from; RecordError where it is another set."""
    found = files(published, path)
    questions = list(published.questions(row for file in found for row in _checked(published, rows(file), str(file))))
    if not questions:
        raise RecordError(f"{path}: 0 usable rows; expected {published.title} as published ({published.origin})")
    return questions, [Source(name=file.name, licence=published.licence, digest=sha256(file)) for file in found]


def read_hub(
    published: Published, name: str, revision: str, rows_of: Iterable[dict[str, Any]]
) -> tuple[list[Question], list[Source]]:
    """The same from a hub data set's rows."""
    numbered = (Row(data, f"{name}:{i}", f"{name}:{i}") for i, data in enumerate(rows_of, start=1))
    questions = list(published.questions(_checked(published, numbered, name)))
    if not questions:
        raise RecordError(f"{name}: 0 usable rows; expected {published.title}")
    return questions, [Source(name=name, revision=revision, licence=published.licence)]


def files(published: Published, path: Path) -> list[Path]:
    """The benchmark's files in a folder, by name; the file itself where `path` is one."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise RecordError(f"{path}: no such file or folder; expected {published.title} ({published.origin})")
    found = sorted({f for pattern in published.files for end in ("", ".gz") for f in path.glob(pattern + end)})
    if not found:
        raise RecordError(
            f"{path}: none of {', '.join(published.files)} found; expected {published.title} ({published.origin})"
        )
    return found


def rows(path: Path) -> Iterator[Row]:
    """The rows of a CSV, TSV, JSON Lines, JSON or text file, gzipped or not.

    A JSON file that is one object is one row; a line of text is a row whose `text` it is.
    """
    name = path.name.removesuffix(".gz")
    text = _text(path)

    def row(number: int, data: Any) -> Row:
        if not isinstance(data, dict):
            raise RecordError(f"{path}:{number}: {type(data).__name__} found, expected an object")
        return Row(data, f"{path}:{number}", f"{path.name}:{number}")

    try:
        if name.endswith((".csv", ".tsv")):
            csv.field_size_limit(FIELD_BYTES)
            table = csv.DictReader(io.StringIO(text, newline=""), delimiter="\t" if name.endswith(".tsv") else ",")
            for data in table:
                if None in data or None in data.values():
                    raise RecordError(
                        f"{path}:{table.line_num}: {len(data)} fields found, expected {len(table.fieldnames or ())}; "
                        "is the file cut off?"
                    )
                yield row(table.line_num, data)
        elif name.endswith(".jsonl"):
            for number, line in enumerate(text.split("\n"), start=1):
                if line.strip():
                    yield row(number, json.loads(line))
        elif name.endswith(".json"):
            whole = json.loads(text)
            for number, data in enumerate(whole if isinstance(whole, list) else [whole], start=1):
                yield row(number, data)
        else:
            for number, line in enumerate(text.splitlines(), start=1):
                if line.strip():
                    yield row(number, {"text": line.strip()})
    except (csv.Error, json.JSONDecodeError) as error:
        raise RecordError(f"{path}: cannot be read as {path.suffix.lstrip('.')}: {error}") from error


def _text(path: Path) -> str:
    try:
        raw = path.read_bytes()
        return (gzip.decompress(raw) if path.name.endswith(".gz") else raw).decode("utf-8-sig")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise RecordError(f"{path}: cannot be read as text in UTF-8: {error}") from error


def _checked(published: Published, found: Iterable[Row], where: str) -> Iterator[Row]:
    """The rows, if the first has the columns of the published version."""
    for i, row in enumerate(found):
        missing = [name for name in published.columns if name not in row.data]
        if missing and not (published.beside and all(name in row.data for name in published.beside)):
            more = sorted(set(map(str, row.data)) - set(published.columns))
            raise RecordError(
                f"{where if i == 0 else row.place}: another version of {published.title}: no column "
                f"{', '.join(missing)}; it has {', '.join(more) or 'no other'} besides; expected the file of "
                f"{published.origin}"
            )
        yield row


def words(row: Row, column: str) -> str:
    """The text in a column, outer white space off; RecordError where it is empty or no text."""
    value = row.data.get(column)
    if not isinstance(value, str) or not value.strip():
        row.wrong(column, value, "some text")
    return value.strip()
