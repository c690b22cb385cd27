"""JSON Lines of records: strict to read, whole to write, and journals that survive a kill."""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from itertools import count
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

from align.errors import RecordError
from align.records import Record, canonical

R = TypeVar("R", bound=Record)
MAX_ROW_BYTES = 64 * 2**20
MAX_DEPTH = 200


def read(path: Path, kind: type[R]) -> Iterator[R]:
    """The records of a JSONL or `.jsonl.gz` file; RecordError names file, line, field, found and expected."""
    for line, row in rows(path):
        try:
            yield kind.model_validate(row)
        except ValidationError as error:
            raise RecordError(
                f"{path}:{line}: {explain(error, kind)} (expected one {kind.__name__} per line)"
            ) from error


def places(path: Path, kind: type[R]) -> Iterator[tuple[int, int, R]]:
    """Offset, size in bytes and record of each row of a plain JSONL file, for reading a row again when it is needed."""
    offset = 0
    with open(path, "rb") as stream:
        mark = stream.read(3) == b"\xef\xbb\xbf"
        stream.seek(3 if mark else 0)
        offset = stream.tell()
        for number in count(1):
            raw = stream.readline(MAX_ROW_BYTES + 1)
            if not raw:
                return
            if raw.strip():
                where = f"{path}:{number}"
                try:
                    yield offset, len(raw), kind.model_validate(parse(raw, where))
                except ValidationError as error:
                    raise RecordError(
                        f"{where}: {explain(error, kind)} (expected one {kind.__name__} per line)"
                    ) from error
            offset += len(raw)


def rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line number (from 1) and JSON object of each line that is not blank."""
    for line, raw in lines(path):
        try:
            yield line, parse(raw, f"{path}:{line}")
        except RecordError as error:
            if raw.endswith(b"\n"):
                raise
            raise RecordError(
                f"{error}; the file ends in the middle of this row: write it again, or remove the row"
            ) from error


def lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Line number (from 1) and bytes; lines end at \\n alone, for JSON strings may hold U+2028 and U+0085."""
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else open(path, "rb") as stream:
            for number in count(1):
                raw = stream.readline(MAX_ROW_BYTES + 1)
                if not raw:
                    return
                if len(raw) > MAX_ROW_BYTES:
                    raise RecordError(
                        f"{path}:{number}: a row of more than {MAX_ROW_BYTES:,} bytes; is it one row per line?"
                    )
                if number == 1:
                    raw = raw.removeprefix(b"\xef\xbb\xbf")
                if raw.strip():
                    yield number, raw
    except FileNotFoundError as error:
        raise RecordError(f"{path}: no such file") from error
    except (OSError, EOFError, zlib.error) as error:
        raise RecordError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error


def parse(raw: bytes, where: str) -> dict[str, Any]:
    """One JSON object, refusing what JSON does not allow (NaN, lone surrogates, numbers beyond floats, NUL)."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise RecordError(f"{where}: not UTF-8 at byte {error.start}; save the file as UTF-8") from error
    try:
        row = json.loads(text, parse_constant=_no_constant, parse_float=_finite)
        if text.count("[") + text.count("{") > MAX_DEPTH and _depth(row) > MAX_DEPTH:
            raise RecursionError
        json.dumps(row, ensure_ascii=False).encode("utf-8")
    except RecursionError as error:
        raise RecordError(f"{where}: JSON nested more than {MAX_DEPTH} deep") from error
    except UnicodeEncodeError as error:
        raise RecordError(f"{where}: a lone surrogate in a string, which no UTF-8 file can hold; remove it") from error
    except ValueError as error:
        raise RecordError(f"{where}: not JSON: {error}") from error
    if not isinstance(row, dict):
        raise RecordError(f"{where}: {type(row).__name__} found, expected a JSON object")
    return row


def _depth(value: object) -> int:
    depth, level = 0, [value]
    while level:
        depth += 1
        inner = [v for v in level if isinstance(v, (dict, list))]
        level = [item for v in inner for item in (v.values() if isinstance(v, dict) else v)]
    return depth


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number that JSON has")


def _finite(text: str) -> float:
    value = float(text)
    if value in (float("inf"), float("-inf")):
        raise ValueError(f"{text} is too large for a number")
    return value


def explain(error: ValidationError, kind: type[BaseModel]) -> str:
    """The first thing wrong, as `field: what was found and what was expected`; unknown fields get the nearest name."""
    first = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        name = str(first["loc"][-1])
        near = get_close_matches(name, [f.alias or n for n, f in kind.model_fields.items()], n=1)
        return f"{place}: no such field" + (f"; did you mean `{near[0]}`?" if near else "")
    if first["type"] == "missing":
        return f"{place}: missing"
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "value_error" or isinstance(first.get("input"), (dict, list, tuple)):
        return f"{place}: {message}" if place else message
    shown = repr(first.get("input"))
    return f"{place}: {shown if len(shown) <= 60 else shown[:57] + '…'} found, {message[:1].lower() + message[1:]}"


def write(path: Path, records: Iterable[BaseModel | dict[str, Any]]) -> int:
    """How many rows were written; the file is flushed to disk before this returns."""
    n = 0
    with open(path, "w", encoding="utf-8", newline="\n") as stream:
        for record in records:
            stream.write(dumps(record) + "\n")
            n += 1
        stream.flush()
        os.fsync(stream.fileno())
    return n


def dumps(record: BaseModel | dict[str, Any]) -> str:
    """One row, keys in a fixed order, so that equal records give equal bytes."""
    return canonical(record.model_dump(mode="json") if isinstance(record, BaseModel) else record)


class Journal:
    """An append-only file of finished units. A torn last line, as a kill leaves it, is cut off on opening."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = 0
        self._rows: list[dict[str, Any]] = []
        if path.exists():
            data = path.read_bytes()
            whole = data.rfind(b"\n") + 1
            self._rows = [
                parse(raw, f"{path}:{i}") for i, raw in enumerate(data[:whole].split(b"\n"), 1) if raw.strip()
            ]
        self._stream = open(path, "r+b" if path.exists() else "w+b")  # noqa: SIM115
        self._stream.truncate(whole)
        self._stream.seek(whole)

    def done(self) -> list[dict[str, Any]]:
        """The rows that were whole when the journal was opened."""
        return self._rows

    def append(self, row: BaseModel | dict[str, Any]) -> None:
        """Write one row and force it to disk."""
        self._stream.write(dumps(row).encode("utf-8") + b"\n")
        self._stream.flush()
        os.fsync(self._stream.fileno())

    def close(self) -> None:
        self._stream.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
