"""A reward model that answers elsewhere: `align score MODEL --serve`, asked over HTTP."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Sequence
from http.client import HTTPException
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from align.errors import BackendError
from align.records import Message

TRIES, FIRST_WAIT_S, TIMEOUT_S = 4, 0.2, 600
AT_ONCE = 64


class HttpRewarder:
    """The scores of a served reward model, the same as in its own process."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")

    def reward(self, conversations: Sequence[Sequence[Message]]) -> Iterator[float]:
        """In the order asked; BackendError where nobody answers, or what comes is no score."""
        for start in range(0, len(conversations), AT_ONCE):
            some = conversations[start : start + AT_ONCE]
            asked = {"conversations": [[m.model_dump(mode="json", exclude_none=True) for m in talk] for talk in some]}
            found = self._post(json.dumps(asked).encode("utf-8"))
            if len(found) != len(some) or not all(isinstance(x, (int, float)) and math.isfinite(x) for x in found):
                raise BackendError(f"{self.url}: {found!r:.80} found, expected {len(some)} finite rewards")
            yield from map(float, found)

    def close(self) -> None:
        """Nothing is held."""

    def _post(self, body: bytes) -> list[float]:
        why = ""
        for tried in range(TRIES):
            if tried:
                time.sleep(FIRST_WAIT_S * 4 ** (tried - 1))
            request = Request(f"{self.url}/reward", data=body, headers={"Content-Type": "application/json"})
            try:
                with urlopen(request, timeout=TIMEOUT_S) as reply:
                    rewards = json.loads(reply.read())["rewards"]
                    return list(rewards)
            except HTTPError as error:
                said = _said(error.read())
                if error.code < 500:
                    raise BackendError(f"{self.url}: refused ({error.code}): {said}") from error
                why = f"{error.code}: {said}"
            except (URLError, HTTPException, OSError, ValueError, KeyError, TypeError) as error:
                why = str(getattr(error, "reason", error)) or type(error).__name__
        raise BackendError(
            f"{self.url}: the reward endpoint did not answer in {TRIES} tries ({why}); start it again with "
            "`align score MODEL --serve`, and run the same command again"
        )


def _said(body: bytes) -> str:
    """What a refusal says, as JSON or as it is."""
    try:
        return str(json.loads(body)["error"])[:300]
    except (ValueError, KeyError, TypeError):
        return body.decode("utf-8", "replace")[:300]
