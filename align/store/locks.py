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
def held(path: Path, what: str) -> Iterator[None]:
    """The lock at `path`, or Locked naming who holds it since when."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Locked(f"{what} is being made by {_holder(handle)}; wait for it, or stop it") from error
        os.ftruncate(handle, 0)
        started = datetime.now(UTC).isoformat(timespec="seconds")
        os.pwrite(handle, json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": started}).encode(), 0)
        yield
    finally:
        os.close(handle)


def _holder(handle: int) -> str:
    try:
        told = json.loads(os.pread(handle, 1000, 0))
        return f"process {told['pid']} on {told['host']} since {told['since']}"
    except (ValueError, KeyError, TypeError):
        return "another process"
