"""The process that carries requests to endpoints for a `Courier`, and brings back what they answer."""

from __future__ import annotations

import asyncio
import marshal
import os
import signal
import socket
import sys
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from align.adapters.courier import FAILED, REFUSED, SAID, SIZE_BYTES, SPOILED, UNREACHED, framed
from align.adapters.endpoints import Endpoints, Refused, Spoiled
from align.errors import BackendError

Request = tuple[int, int, str, bytes | None, float]
"""Number, which endpoint (below 0 any), path, body (none for GET), and seconds to wait beforehand."""


class Carrier:
    """Requests under way, and the letters that tell what came of them."""

    def __init__(self, endpoints: Endpoints, writer: asyncio.StreamWriter) -> None:
        self.endpoints, self._writer = endpoints, writer
        self._letters: list[tuple[int, int, int, bytes]] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._idle: list[asyncio.Future[Request]] = []

    def take(self, rows: Iterable[Request]) -> None:
        """Begin to carry some requests; whoever has carried one before carries another."""
        for row in rows:
            if self._idle:
                self._idle.pop().set_result(row)
            else:
                self._tasks.append(asyncio.create_task(self._work(row)))

    async def _work(self, row: Request) -> None:
        while True:
            await self._carried(*row)
            more = asyncio.get_running_loop().create_future()
            self._idle.append(more)
            row = await more

    async def _carried(self, number: int, place: int, path: str, raw: bytes | None, after_s: float) -> None:
        try:
            if after_s:
                await asyncio.sleep(after_s)
            if place >= 0:
                status, body = await self.endpoints.ask(self.endpoints.all[place], path, raw)
                letter = number, SAID, status, body
            else:
                letter = number, SAID, 200, await self.endpoints.post(path, raw or b"")
        except Refused as error:
            letter = number, REFUSED, error.status, error.message.encode()
        except Spoiled as error:
            letter = number, SPOILED, 0, str(error).encode()
        except OSError as error:
            letter = number, UNREACHED, 0, str(error).encode()
        except BackendError as error:
            letter = number, FAILED, 0, str(error).encode()
        except Exception as error:  # whoever asked must hear of it, whatever it was
            letter = number, FAILED, 0, f"{type(error).__name__}: {error}".encode()
        if not self._letters:
            # those that are done in the same turn of the loop go together
            asyncio.get_running_loop().call_soon(self._send)
        self._letters.append(letter)

    def _send(self) -> None:
        self._writer.write(framed([self.endpoints.n_retries, *self._letters]))
        self._letters.clear()


async def carry(handle: int) -> None:
    """Carry until the other side closes its socket."""
    reader, writer = await asyncio.open_connection(sock=socket.socket(fileno=handle))

    async def frame() -> Any:
        size = int.from_bytes(await reader.readexactly(SIZE_BYTES), "big")
        return marshal.loads(await reader.readexactly(size))

    with suppress(asyncio.IncompleteReadError, ConnectionError):
        endpoints = Endpoints(**(await frame())[0])
        carrier = Carrier(endpoints, writer)
        while True:
            carrier.take(await frame())
    # nobody listens any more: what is under way is dropped with the process
    os._exit(0)


def main() -> None:
    """Carry over the socket whose number is the first argument."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for who asks
    asyncio.run(carry(int(sys.argv[1])))
