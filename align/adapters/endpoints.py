"""OpenAI-compatible endpoints, asked with patience: a bounded number at once, those that fail rested, nothing lost.

Two kinds of failure are told apart. Where an *endpoint* fails (no connection, 429, 5xx) it rests, twice as long each
time and with jitter, and its work moves to the others; that may go on for as long as the recipe has patience. Where one
*answer* is spoiled (a deadline passed, torn JSON, numbers that are none) the request is tried again, a bounded number
of times.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import aiohttp

from align.configs import ServerConfig
from align.errors import BackendError

REST_S, LONGEST_REST_S = 0.25, 30.0
T = TypeVar("T")


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
    n_answers: int = 0
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

    config: ServerConfig
    urls: Sequence[str]
    key: str | None = None
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
                timeout=aiohttp.ClientTimeout(
                    total=self.config.deadline_s, sock_connect=min(10, self.config.deadline_s)
                ),
                connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=60),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
            )
            self._last_good = asyncio.get_running_loop().time()
        return self._session

    async def post(self, path: str, body: Mapping[str, Any], read: Callable[[Any], T]) -> T:
        """What `read` makes of the answer's JSON; BackendError once patience is at an end, Refused, or Spoiled."""
        raw = json.dumps(body, separators=(",", ":")).encode()
        attempt = 0
        while True:
            endpoint = await self._free()
            try:
                made = read(parsed(await self._once(endpoint, path, raw)))
            except Failed:
                self.n_retries += 1
                continue
            except Spoiled:
                attempt += 1
                self.n_retries += 1
                if attempt >= self.config.attempts:
                    raise
                await asyncio.sleep(min(5.0, 0.05 * 2**attempt) * random.uniform(0.5, 1.5))
                continue
            endpoint.fails, endpoint.n_answers = 0, endpoint.n_answers + 1
            self._last_good = asyncio.get_running_loop().time()
            return made

    async def get(self, endpoint: Endpoint, path: str) -> tuple[int, bytes]:
        """Status and body of one plain request, tried once."""
        session = await self.session()
        async with session.get(endpoint.url + path, timeout=aiohttp.ClientTimeout(total=30)) as response:
            return response.status, await response.read()

    async def ask(self, endpoint: Endpoint, path: str, body: Mapping[str, Any]) -> tuple[int, bytes]:
        """Status and body of one request to one endpoint, tried once; OSError where it cannot be reached."""
        session = await self.session()
        try:
            async with session.post(endpoint.url + path, data=json.dumps(body).encode()) as response:
                return response.status, await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise OSError(str(error)) from error

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
            error = f"no answer within {self.config.deadline_s:g} s"
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
        while True:
            now = loop.time()
            awake = [one for one in self.all if one.rests_until <= now]
            # one that failed is tried with a single request first
            free = [one for one in awake if one.open < (1 if one.fails else self.config.in_flight)]
            if free:
                return min(free, key=lambda one: one.open)
            if not awake and now - self._last_good > self.config.patience_s:
                told = "; ".join(f"{one.url}: {one.last_error}" for one in self.all[:3])
                raise BackendError(
                    f"no endpoint has answered for {self.config.patience_s:g} s ({told}); what is finished is kept: "
                    "run again to go on"
                )
            resting = [one.rests_until - now for one in self.all if one.rests_until > now]
            self._freed.clear()
            try:
                await asyncio.wait_for(self._freed.wait(), min(resting) + 0.001 if resting else None)
            except TimeoutError:
                continue


async def gathered(jobs: Iterator[Awaitable[T]], *, at_once: int) -> AsyncGenerator[list[T], None]:
    """Results as they come, several at a time; the next job is taken when one is done."""
    done: list[T] = []
    errors: list[BaseException] = []
    news = asyncio.Event()
    more = True

    async def work() -> None:
        nonlocal more
        while more and not errors:
            job = next(jobs, None)
            if job is None:
                more = False
                break
            try:
                made = await job
            except Exception as error:
                errors.append(error)
            else:
                done.append(made)  # `done` as it is now: another list may have taken its place meanwhile
            news.set()
        news.set()

    workers: set[asyncio.Task[None]] = set()
    try:
        while True:
            workers = {one for one in workers if not one.done()}
            while more and not errors and len(workers) < at_once:
                workers.add(asyncio.create_task(work()))
            if done:
                finished, done = done, []
                yield finished
                await asyncio.sleep(0)
                continue
            if errors:
                raise errors[0]
            if not workers:
                return
            news.clear()
            await news.wait()
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)


def parsed(said: bytes) -> Any:
    """The JSON of an answer; Spoiled where it is torn."""
    try:
        return json.loads(said)
    except (ValueError, RecursionError) as error:
        raise Spoiled(f"an answer that is no JSON: {said[:80]!r}") from error


def message(said: bytes) -> str:
    """What an endpoint said was wrong, on one line."""
    try:
        found = json.loads(said)
        error = found.get("error", found) if isinstance(found, dict) else found
        text = str(error.get("message", error) if isinstance(error, dict) else error)
    except ValueError:
        text = said.decode("utf-8", "replace")
    return " ".join(text.split())[:300]
