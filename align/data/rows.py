"""The rows of a data file, whatever it is: JSON Lines, Parquet, plain text, or a hub data set; one at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from align.configs import DataFile
from align.errors import RecordError
from align.records import Source
from align.store import jsonl

HubRows = Callable[[str, str, str | None, str], Iterable[dict[str, Any]]]
SUFFIXES = (".jsonl", ".jsonl.gz", ".parquet", ".txt", ".txt.gz")


@dataclass(frozen=True)
class Row:
    """One row, and where it stands."""

    data: dict[str, Any]
    place: str
    """File and line, for messages."""
    source: str
    """The file's name alone and the line: what may be written into an artifact."""

    def wrong(self, field: str, found: object, expected: str) -> NoReturn:
        """Raise: this field holds `found`, and something else was expected."""
        shown = repr(found)
        raise RecordError(
            f"{self.place}: {field}: {shown if len(shown) <= 60 else shown[:57] + '…'} found, expected {expected}"
        )


def read(file: DataFile, hub: HubRows) -> Iterator[Row]:
    """Every row of a file or hub data set, in its order, without holding more than a batch of them."""
    if file.path is None:
        assert file.hub is not None
        assert file.revision is not None
        name = _hub_name(file)
        for number, data in enumerate(hub(file.hub, file.revision, file.subset, file.split), start=1):
            yield Row(data, f"{name}:{number}", f"{name}:{number}")
        return
    path = Path(file.path)
    for number, data in _of_path(path):
        yield Row(data, f"{path}:{number}", f"{path.name}:{number}")


def source(file: DataFile) -> Source:
    """What a file is, without where it lies: its name, sha256 and declared licence."""
    if file.path is None:
        return Source(name=_hub_name(file), revision=file.revision, licence=file.licence)
    return Source(name=Path(file.path).name, digest=sha256(Path(file.path)), licence=file.licence)


def sha256(path: Path) -> str:
    """64 hex digits over the file's bytes."""
    try:
        with open(path, "rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise RecordError(f"{path}: cannot be read: {error.strerror}") from error


def _hub_name(file: DataFile) -> str:
    return "/".join(part for part in (file.hub, file.subset, file.split) if part)


def _of_path(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    name = path.name.lower()
    if not path.is_file():
        raise RecordError(
            f"{path}: {'a folder' if path.is_dir() else 'no such file'}; give one file of {', '.join(SUFFIXES)}"
        )
    if name.endswith((".jsonl", ".jsonl.gz")):
        _no_stand_in(path)
        yield from jsonl.rows(path)
    elif name.endswith((".txt", ".txt.gz")):
        yield from _text(path)
    elif name.endswith(".parquet"):
        yield from _parquet(path)
    else:
        raise RecordError(f"{path}: `{path.suffix}` found, expected one of {', '.join(SUFFIXES)}")


def _no_stand_in(path: Path) -> None:
    """Refuse what a failed download leaves in a file's place."""
    with open(path, "rb") as stream:
        head = stream.read(256).lstrip()
    if head.startswith(b"version https://git-lfs"):
        raise RecordError(f"{path}: a git-LFS pointer found, expected the file itself; fetch it with `git lfs pull`")
    if head[:15].lower().startswith((b"<!doctype html", b"<html")):
        raise RecordError(f"{path}: an HTML page found, expected JSON Lines; was the download refused?")


def _text(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, raw in jsonl.lines(path):
        try:
            text = raw.decode("utf-8").strip()
        except UnicodeDecodeError as error:
            raise RecordError(f"{path}:{number}: not UTF-8 at byte {error.start}; save the file as UTF-8") from error
        if "\0" in text:
            raise RecordError(f"{path}:{number}: a NUL character in plain text; is this a text file?")
        yield number, {"text": text}


def _parquet(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    import pyarrow
    import pyarrow.parquet

    try:
        number = 0
        with pyarrow.parquet.ParquetFile(path) as table:
            for batch in table.iter_batches(batch_size=256):
                for data in batch.to_pylist():
                    number += 1
                    yield number, data
    except (pyarrow.ArrowException, OSError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise RecordError(f"{path}: not a Parquet file that can be read: {first}") from error
