"""An OpenAI-compatible endpoint that may be slow, down, or something else altogether: asked until it answers."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httpx

from align.errors import BackendError
from align.recipe import secret

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
MAX_BYTES = 8 * 2**20
"""Of one reply."""
AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
REFUSED = frozenset({400, 413, 422})
"""This one request is wrong for it, too long for instance; the next may not be."""


class Unwilling(Exception):
    """The endpoint refuses this one request, and will however often it is asked."""


class Stopped(Exception):
    """The run is over; nothing more is to be asked."""


@dataclass(frozen=True)
class Reply:
    """What the model wrote."""

    text: str
    finished: str | None


class Endpoint:
    """Several addresses of one model. Methods may be called from many threads."""

    def __init__(
        self, urls: tuple[str, ...], *, model: str, key: str | None, timeout_s: float, attempts: int, until: float
    ) -> None:
        """`until` is the monotonic time at which all of it ends."""
        self.urls = tuple(url.rstrip("/") for url in map(_address, urls))
        self.model, self.attempts, self.timeout_s, self.until = model, attempts, timeout_s, until
        self.stop = threading.Event()
        headers = {"Authorization": f"Bearer {secret(key)}"} if key else {}
        self._clients = {
            url: httpx.Client(headers=headers, timeout=timeout_s, trust_env=not is_local(url)) for url in self.urls
        }

    def close(self) -> None:
        for client in self._clients.values():
            client.close()

    def check(self) -> None:
        """Raise where no address serves the model; one that does not list its models, or is busy, may serve it."""
        problems = []
        for url in self.urls:
            try:
                found = self._clients[url].get(f"{url}/models")
                if found.status_code in AGAIN | {404, 405}:
                    return
                _refuse(found.status_code, url, found.text)
                served = [str(one["id"]) for one in found.json()["data"]] if found.status_code == 200 else []
                if self.model in served:
                    return
                what = f"serves {', '.join(served[:5])}" if served else f"HTTP {found.status_code}"
                problems.append(f"{url}: {what}")
            except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
                problems.append(f"{url}: {_brief(error)}")
        raise BackendError(
            f"judge: `{self.model}` is not served: {'; '.join(problems)}; start it, or mend judge.model and judge.urls"
        )

    def ask(self, body: Mapping[str, Any], *, turn: int) -> Reply:
        """The model's reply to one request, a chat or a `prompt` to be gone on with; `turn` says where to begin.

        Unwilling where the request itself is refused; BackendError where the endpoint fails however often it is asked;
        Stopped where another request has failed meanwhile.
        """
        problem = ""
        for attempt in range(self.attempts):
            if self.stop.is_set():
                raise Stopped
            if time.monotonic() > self.until:
                raise BackendError("judge: judge.deadline_s is over")
            url = self.urls[(turn + attempt) % len(self.urls)]
            wait = FIRST_PAUSE_S * 2**attempt
            try:
                status, text, after = self._post(url, body)
                _refuse(status, url, text)
                if status in REFUSED:
                    raise Unwilling(f"HTTP {status}: {_first_words(text)}")
                if status == 200:
                    return _reply(text)
                if status not in AGAIN:
                    raise BackendError(f"judge: {url} answers HTTP {status}: {_first_words(text)}; is it an endpoint?")
                problem, wait = f"{url} answers HTTP {status}", max(wait, after)
            except (httpx.HTTPError, TimeoutError) as error:
                problem = f"{url}: {_brief(error)}"
            except ValueError as error:
                problem = f"{url}: {error}"
            # full jitter: those who were turned away together do not come back together
            self.stop.wait(min(LONGEST_PAUSE_S, wait) * random.random())
        raise BackendError(f"judge: {problem}, after {self.attempts} attempts; start it or wait")

    def _post(self, url: str, body: Mapping[str, Any]) -> tuple[int, str, float]:
        """Status, text, and how long it asks us to wait; the whole takes no longer than `timeout_s`."""
        began = time.monotonic()
        got = bytearray()
        place = "completions" if "prompt" in body else "chat/completions"
        with self._clients[url].stream("POST", f"{url}/{place}", json=dict(body)) as response:
            for piece in response.iter_bytes():
                got += piece
                if len(got) > MAX_BYTES:
                    raise ValueError(f"a reply of more than {MAX_BYTES:,} bytes")
                if time.monotonic() - began > self.timeout_s:
                    raise TimeoutError(f"no whole reply within {self.timeout_s:g} s")
            after = response.headers.get("retry-after", "")
            return response.status_code, got.decode("utf-8", "replace"), float(after) if after.isdigit() else 0.0


def is_local(url: str) -> bool:
    """Whether an address is on this machine."""
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")


def _address(url: str) -> str:
    if url.startswith("${env:"):
        found = secret(url)
        if not found.startswith(("http://", "https://")):
            raise BackendError(f"judge.urls: the variable {url[6:-1]} does not hold an http:// or https:// address")
        return found
    return url


def _refuse(status: int, url: str, text: str) -> None:
    if status in (401, 403):
        raise BackendError(f"judge: {url} answers HTTP {status}: the key is not taken; set judge.key to ${{env:NAME}}")
    if status == 404:
        raise BackendError(
            f"judge: {url} answers HTTP 404: {_first_words(text)}; expected an address that ends before "
            "/chat/completions, often in /v1, and judge.model as it is served there"
        )
    if 300 <= status < 400:
        raise BackendError(f"judge: {url} answers HTTP {status}: it is elsewhere; give the address it redirects to")


def _reply(text: str) -> Reply:
    """ValueError for whatever is not a chat completion: an HTML page, half a reply."""
    try:
        body = json.loads(text)
        choice = body["choices"][0]
        content = choice["message"].get("content") if "message" in choice else choice["text"]
        finished = choice.get("finish_reason")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:
        what = "an HTML page" if text.lstrip()[:1] == "<" else "half a reply" if text.strip() else "nothing"
        raise ValueError(f"{what} found, expected a chat completion") from error
    # what JSON can say and no file can hold
    clean = content.encode("utf-8", "replace").decode() if isinstance(content, str) else ""
    return Reply(clean, finished if isinstance(finished, str) else None)


def _first_words(text: str) -> str:
    try:
        body = json.loads(text)
        said = body.get("error", body.get("detail", body)) if isinstance(body, dict) else body
        text = str(said.get("message", said) if isinstance(said, dict) else said)
    except (ValueError, RecursionError):
        text = "an HTML page" if text.lstrip()[:1] == "<" else text
    return " ".join(text.split())[:120] or "no reason given"


def _brief(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
