"""Names by content: canonical JSON for what goes in, sha256 for bytes, a cache so that big files are read once."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from align.errors import RecordError, StoreError
from align.records import canonical

CACHED_FROM_BYTES = 2**20
SETTLED_NS = 2 * 10**9


def fingerprint(document: object) -> str:
    """64 hex digits for anything made of JSON's types; StoreError for the rest, never a fall-back to `str`."""
    try:
        return hashlib.sha256(canonical(document).encode("utf-8")).hexdigest()
    except (TypeError, ValueError) as error:
        raise StoreError(f"a key cannot be made from {type(document).__name__}: {error}") from error


def key_of(document: Mapping[str, Any]) -> str:
    """The key: a file counts by its content. Its name counts in `prepare` alone, which writes names into its rows."""
    return fingerprint(document if document["stage"] == "prepare" else _nameless(document))


def _nameless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _nameless(item) for key, item in value.items() if not (key == "file" and "sha256" in value)}
    return [_nameless(item) for item in value] if isinstance(value, list) else value


def seed_for(seed: int, *names: str | int) -> int:
    """A seed below 2**31 that depends on every name and on nothing else."""
    return int(hashlib.sha256(canonical([seed, *names]).encode("utf-8")).hexdigest()[:8], 16) % 2**31


def files_in(folder: Path) -> Iterator[Path]:
    """Every file below `folder`, in the order of its relative path; a link that leaves the folder is refused."""
    root = folder.resolve()
    for path in sorted(p for p in folder.rglob("*") if not p.is_dir()):
        if path.is_symlink() and not path.resolve().is_relative_to(root):
            raise RecordError(f"{path}: a link out of its folder; copy the file in its place")
        yield path


class Digests:
    """sha256 of files and folders. Files of a mebibyte and more are read again only when their stat has changed."""

    def __init__(self, cache: Path | None) -> None:
        self._cache = cache
        self._known: dict[str, list[object]] = {}
        self._new = False
        if cache is not None and cache.exists():
            try:
                known = json.loads(cache.read_text(encoding="utf-8"))
            except (OSError, ValueError):
                known = {}  # a torn cache costs a second reading, nothing else
            self._known = known if isinstance(known, dict) else {}

    def file(self, path: Path, *, fresh: bool = False) -> str:
        """sha256 of a file's bytes; `fresh` reads them again whatever the cache says."""
        try:
            stat = path.stat()
            name, seen = str(path.resolve()), [stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns]
            known = self._known.get(name)
            if not fresh and isinstance(known, list) and known[:4] == seen:
                return str(known[4])
            with open(path, "rb") as stream:
                digest = hashlib.file_digest(stream, "sha256").hexdigest()
        except FileNotFoundError as error:
            raise RecordError(f"{path}: no such file or folder") from error
        except (OSError, RuntimeError) as error:
            raise RecordError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
        # a file touched a moment ago may change again within one tick of the file system's clock, and look the same
        settled = time.time_ns() - max(stat.st_mtime_ns, stat.st_ctime_ns) > SETTLED_NS
        if stat.st_size >= CACHED_FROM_BYTES and settled:
            self._known[name], self._new = [*seen, digest], True
        return digest

    def anything(self, path: Path) -> str:
        """sha256 of a file, or of a folder's listing of paths and digests."""
        if path.is_dir():
            return fingerprint([[str(file.relative_to(path)), self.file(file)] for file in files_in(path)])
        return self.file(path)

    def save(self) -> None:
        """Write the cache, whole or not at all; where it cannot be written, files are read again next time."""
        if self._new and self._cache is not None and self._cache.parent.is_dir():
            with suppress(OSError):
                replace(self._cache, json.dumps(self._known, indent=0, sort_keys=True))
            self._new = False


def replace(path: Path, text: str) -> None:
    """Put `text` at `path` whole or not at all, on disk when this returns."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with open(partial, "w", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, path)
    except OSError:
        with suppress(OSError):
            partial.unlink()
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_json(path: Path) -> Any:
    """A JSON file of ours; StoreError where it is torn."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(f"{path}: cannot be read as JSON: {error}") from error
