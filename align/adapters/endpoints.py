"""OpenAI-compatible endpoints, asked with patience: a bounded number at once, those that fail rested, nothing lost.

Two kinds of failure are told apart. Where an *endpoint* fails (no connection, 429, 5xx) it rests, twice as long each
time and with jitter, and its work moves to the others; that may go on for as long as the recipe has patience. Where one
*answer* is spoiled (a deadline passed, torn JSON, numbers that are none) whoever asked may ask again.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

import aiohttp

from align.adapters.courier import message
from align.errors import BackendError

REST_S, LONGEST_REST_S = 0.25, 30.0


class Spoiled(Exception):
    """An answer that cannot be used; the request may be tried again."""


class Failed(Exception):
    """The endpoint failed and rests; the request goes to another, or waits."""


@dataclass
class Refused(Exception):
    """The endpoint will not answer this request, however often it is asked."""

    status: int
    message: str


@dataclass
class Endpoint:
    """One URL, how busy it is, and how long it rests."""

    url: str
    open: int = 0
    fails: int = 0
    rests_until: float = 0.0
    last_error: str = ""

    def failed(self, error: str, now: float, asked_s: float = 0.0) -> None:
        """Rest: twice as long as last time, from half to one and a half of it, or as long as the endpoint asked.

        What was under way when it began to rest fails with it and counts once.
        """
        self.last_error = error
        if now < self.rests_until:
            return
        self.fails += 1
        rest = min(LONGEST_REST_S, REST_S * 2 ** min(self.fails - 1, 12)) * random.uniform(0.5, 1.5)
        self.rests_until = max(self.rests_until, now + max(rest, min(asked_s, LONGEST_REST_S)))


@dataclass
class Endpoints:
    """Several endpoints that serve one model, over one pool of connections."""

    urls: Sequence[str]
    key: str | None = None
    in_flight: int = 64
    """Most requests under way at one endpoint."""
    deadline_s: float = 600.0
    """Longest wait for one request."""
    patience_s: float = 300.0
    """How long none may answer at all."""
    all: list[Endpoint] = field(default_factory=list)
    n_retries: int = 0

    def __post_init__(self) -> None:
        self.all = [Endpoint(url) for url in self.urls]
        self._session: aiohttp.ClientSession | None = None
        self._freed = asyncio.Event()
        self._last_good = 0.0

    async def session(self) -> aiohttp.ClientSession:
        """The pool, opened when first needed."""
        if self._session is None:
            headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
            self._session = aiohttp.ClientSession(
                headers={**headers, "Content-Type": "application/json"},
                timeout=aiohttp.ClientTimeout(total=self.deadline_s, sock_connect=min(10, self.deadline_s)),
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
            )
            self._last_good = asyncio.get_running_loop().time()
        return self._session

    async def post(self, path: str, raw: bytes) -> bytes:
        """The body of an answer; BackendError once patience is at an end, Refused, or Spoiled by its deadline."""
        while True:
            endpoint = await self._free()
            try:
                said = await self._once(endpoint, path, raw)
            except Failed:
                self.n_retries += 1
                continue
            endpoint.fails = 0
            self._last_good = asyncio.get_running_loop().time()
            return said

    async def ask(self, endpoint: Endpoint, path: str, raw: bytes | None) -> tuple[int, bytes]:
        """Status and body of one request to one endpoint, tried once; GET where there is no body to send.

        OSError where it cannot be reached; it rests then.
        """
        session = await self.session()
        sent = session.get(endpoint.url + path) if raw is None else session.post(endpoint.url + path, data=raw)
        try:
            async with asyncio.timeout(30 if raw is None else None), sent as response:
                return response.status, await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            told = f"{type(error).__name__}: {error}"[:160]
            endpoint.failed(told, asyncio.get_running_loop().time())
            raise OSError(told) from error

    async def close(self) -> None:
        """Give the connections back."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _once(self, endpoint: Endpoint, path: str, raw: bytes) -> bytes:
        session = await self.session()
        endpoint.open += 1
        try:
            async with session.post(endpoint.url + path, data=raw) as response:
                said = await response.read()
        except TimeoutError:
            error = f"no answer within {self.deadline_s:g} s"
            endpoint.failed(error, asyncio.get_running_loop().time())
            raise Spoiled(f"{endpoint.url}: {error}") from None
        except (aiohttp.ClientError, OSError) as error:
            endpoint.failed(f"{type(error).__name__}: {error}"[:200], asyncio.get_running_loop().time())
            raise Failed from None
        finally:
            endpoint.open -= 1
            self._freed.set()
        if response.status in (408, 409, 425, 429) or response.status >= 500:
            asked = response.headers.get("Retry-After", "")
            asked_s = float(asked) if asked.isdigit() else 0.0
            endpoint.failed(f"HTTP {response.status}: {message(said)}", asyncio.get_running_loop().time(), asked_s)
            raise Failed
        if response.status >= 300:
            raise Refused(response.status, message(said))
        return said

    async def _free(self) -> Endpoint:
        """The least busy endpoint that does not rest; BackendError where none has answered for too long."""
        loop = asyncio.get_running_loop()
        if len(self.all) == 1 and not self.all[0].fails and self.all[0].open < self.in_flight:
            return self.all[0]  # one that is well, as most are, needs no choice
        while True:
            now = loop.time()
            awake = [one for one in self.all if one.rests_until <= now]
            # one that failed is tried with a single request first
            free = [one for one in awake if one.open < (1 if one.fails else self.in_flight)]
            if free:
                return min(free, key=lambda one: one.open)
            if not awake and now - self._last_good > self.patience_s:
                told = "; ".join(f"{one.url}: {one.last_error}" for one in self.all[:3])
                raise BackendError(
                    f"no endpoint has answered for {self.patience_s:g} s ({told}); what is finished is kept: "
                    "run again to go on"
                )
            resting = [one.rests_until - now for one in self.all if one.rests_until > now]
            self._freed.clear()
            try:
                await asyncio.wait_for(self._freed.wait(), min(resting) + 0.001 if resting else None)
            except TimeoutError:
                continue
