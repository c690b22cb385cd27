"""Finished answers on disk, in files whose order means nothing: any number of runs add to them, none reads half a row.

A row is whole once its line ends. Each run writes a file of its own, so a torn last line of a killed run is left where
it is and skipped; of a row only its place is held in memory.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from align.records import canonical

SYNC_S = 1.0
"""How often what is written is forced to disk: a power cut may cost so much, a kill nothing that was appended."""


@dataclass(frozen=True)
class Place:
    """Where a row stands."""

    shard: int
    offset: int
    size: int


class Shards:
    """Rows of JSON under keys; several rows may stand under one key, in no order."""

    def __init__(self, folder: Path, key: Callable[[dict[str, Any]], Hashable]) -> None:
        self.folder = folder
        self.key = key
        folder.mkdir(parents=True, exist_ok=True)
        self.places: dict[Hashable, tuple[Place, ...]] = {}
        self._paths = sorted(folder.glob("*.jsonl"))
        self._readers: dict[int, int] = {}
        self._writer: int | None = None
        self._end = 0
        self._synced = time.monotonic()
        for shard, path in enumerate(self._paths):
            for offset, raw in _whole_lines(path):
                try:
                    row = json.loads(raw)
                except ValueError:
                    continue  # torn by a power cut: its prompt is asked again
                if isinstance(row, dict):
                    self._put(self.key(row), Place(shard, offset, len(raw)))

    def append(self, row: dict[str, Any]) -> None:
        """Write one row; it survives a kill as soon as this returns."""
        if self._writer is None:
            self._open()
        assert self._writer is not None
        raw = canonical(row).encode("utf-8") + b"\n"
        view = memoryview(raw)
        while view:
            view = view[os.write(self._writer, view) :]
        self._put(self.key(row), Place(len(self._paths) - 1, self._end, len(raw)))
        self._end += len(raw)
        if time.monotonic() - self._synced > SYNC_S:
            os.fsync(self._writer)
            self._synced = time.monotonic()

    def rows(self, key: Hashable) -> Iterator[dict[str, Any]]:
        """The rows under a key."""
        for place in self.places.get(key, ()):
            yield from_json(os.pread(self._reader(place.shard), place.size, place.offset))

    def close(self) -> None:
        """Force what was written to disk."""
        if self._writer is not None:
            os.fsync(self._writer)
            os.close(self._writer)
            self._writer = None
        for handle in self._readers.values():
            os.close(handle)
        self._readers.clear()

    def __enter__(self) -> Shards:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _put(self, key: Hashable, place: Place) -> None:
        self.places[key] = (*self.places.get(key, ()), place)

    def _open(self) -> None:
        number = len(self._paths)
        while True:
            path = self.folder / f"{number:05d}.jsonl"
            try:
                self._writer = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o644)
            except FileExistsError:  # another run's
                number += 1
                continue
            self._paths.append(path)
            return

    def _reader(self, shard: int) -> int:
        if shard not in self._readers:
            self._readers[shard] = os.open(self._paths[shard], os.O_RDONLY)
        return self._readers[shard]


def _whole_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    offset = 0
    with open(path, "rb") as stream:
        for raw in stream:
            if raw.endswith(b"\n"):
                yield offset, raw
            offset += len(raw)
