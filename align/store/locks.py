"""One writer an artifact: an OS lock that dies with its holder, so that no stale lock ever has to be removed."""

from __future__ import annotations

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from align.errors import Locked


@contextmanager
def held(path: Path, what: str, *, remove: bool = False) -> Iterator[None]:
    """The lock at `path`, or Locked naming who holds it since when; with `remove` its file goes at the end."""
    handle = _taken(path, what)
    try:
        os.ftruncate(handle, 0)
        started = datetime.now(UTC).isoformat(timespec="seconds")
        os.pwrite(handle, json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": started}).encode(), 0)
        yield
    finally:
        if remove:
            path.unlink(missing_ok=True)
        os.close(handle)


def _taken(path: Path, what: str) -> int:
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = _holder(handle)
            os.close(handle)
            raise Locked(f"{what} is being made by {holder}; wait for it, or stop it") from error
        if _still_there(path, handle):
            return handle
        # who held it before removed the file: a lock on a file without a name keeps nobody out
        os.close(handle)


def _still_there(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(handle))
    except FileNotFoundError:
        return False


def _holder(handle: int) -> str:
    try:
        told = json.loads(os.pread(handle, 1000, 0))
        return f"process {told['pid']} on {told['host']} since {told['since']}"
    except (ValueError, KeyError, TypeError):
        return "another process"
