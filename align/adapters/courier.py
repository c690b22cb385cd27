"""Requests given to a process of its own, which carries them to endpoints and brings the answers: two cores work.

The two speak over a pair of sockets, in frames: eight bytes of length, then a list of tuples of plain values. The
carrier never waits for this side to read, so neither can hold the other up for good; it ends when its socket closes,
however this process ends.
"""

from __future__ import annotations

import json
import marshal
import os
import socket
import subprocess
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from align.errors import BackendError

SAID, REFUSED, SPOILED, UNREACHED, FAILED = range(5)
SIZE_BYTES = 8


def framed(rows: list[Any]) -> bytes:
    """Rows as the other side reads them."""
    raw = marshal.dumps(rows)
    return len(raw).to_bytes(SIZE_BYTES, "big") + raw


class Letter(NamedTuple):
    """What came of one request: its number, what became of it, an HTTP status, and a body or a reason."""

    number: int
    fate: int
    status: int
    body: bytes


class Courier:
    """The asking side: requests go out by number, letters come back in no order."""

    def __init__(
        self, urls: Sequence[str], key: str | None, *, in_flight: int, deadline_s: float, patience_s: float
    ) -> None:
        self.urls, self.key = list(urls), key
        self.n_carried_again = 0
        """Times that the carrier went to another endpoint, or waited for the same."""
        self._socket, theirs = socket.socketpair()
        beside = str(Path(__file__).resolve().parents[2])
        path = os.pathsep.join([beside, *filter(None, [os.environ.get("PYTHONPATH")])])
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", "from align.adapters.carrier import main; main()", str(theirs.fileno())],
                pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": path},
            )  # fmt: skip
        self._send([{"urls": self.urls, "key": key, "in_flight": in_flight, "deadline_s": deadline_s,
                     "patience_s": patience_s}])  # fmt: skip

    @property
    def pid(self) -> int:
        """The carrying process."""
        return self._process.pid

    def post(self, requests: Iterable[tuple[int, str, bytes, float]]) -> None:
        """Send some: a number of the asker's choice, the path, the body, and how many seconds to wait beforehand."""
        self._send([(number, -1, path, raw, after_s) for number, path, raw, after_s in requests])

    def letters(self) -> list[Letter]:
        """What has come, waiting for the first; BackendError where no endpoint answers any more."""
        self.n_carried_again, *rows = self._hear()
        letters = [Letter(*row) for row in rows]
        for one in letters:
            if one.fate == FAILED:
                raise BackendError(one.body.decode())
        return letters

    def ask(self, place: int, path: str, raw: bytes | None = None) -> tuple[int, bytes]:
        """Status and body of one request to the endpoint at `place`, tried once; OSError where it is not reached."""
        self._send([(0, place, path, raw, 0.0)])
        (letter,) = self.letters()
        if letter.fate == UNREACHED:
            raise OSError(letter.body.decode())
        return letter.status, letter.body

    def close(self) -> None:
        """Let the carrier go; what it has under way is dropped."""
        self._socket.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=2)
        self._process.kill()
        self._process.wait()

    def _send(self, rows: list[Any]) -> None:
        try:
            self._socket.sendall(framed(rows))
        except OSError:
            raise self._gone() from None

    def _hear(self) -> list[Any]:
        size = int.from_bytes(self._exactly(SIZE_BYTES), "big")
        found: list[Any] = marshal.loads(self._exactly(size))
        return found

    def _exactly(self, n_bytes: int) -> bytes:
        raw = bytearray()
        while len(raw) < n_bytes:
            try:
                came = self._socket.recv(min(n_bytes - len(raw), 1 << 20))
            except ConnectionError:
                came = b""
            if not came:
                raise self._gone()
            raw += came
        return bytes(raw)

    def _gone(self) -> BackendError:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=5)
        return BackendError(
            f"the process that carries requests to the endpoints ended (code {self._process.poll()}); what is finished "
            "is kept: run again to go on"
        )


def message(said: bytes) -> str:
    """What an endpoint said was wrong, on one line."""
    try:
        found = json.loads(said)
        error = found.get("error", found) if isinstance(found, dict) else found
        text = str(error.get("message", error) if isinstance(error, dict) else error)
    except ValueError:
        text = said.decode("utf-8", "replace")
    return " ".join(text.split())[:300]
