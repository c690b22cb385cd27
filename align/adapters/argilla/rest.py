"""One call of Argilla's API with the standard library: what `align argilla` itself needs, and no more."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

from align.errors import BackendError

OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""The server is on this machine: a proxy has no part in it."""


def call(
    url: str, method: str, path: str, body: dict[str, Any] | None = None, *, api_key: str = "", timeout: float = 30.0
) -> dict[str, Any]:
    """The JSON that `method` on `/api/v1/<path>` answers with; BackendError for all else, its status in `status`."""
    request = urllib.request.Request(
        f"{url}/api/v1/{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode("utf-8"),
        headers={"Content-Type": "application/json", "X-Argilla-Api-Key": api_key},
    )
    try:
        with OPENER.open(request, timeout=timeout) as reply:
            told: Any = json.load(reply)
    except urllib.error.HTTPError as error:
        refused = Refused(f"{url}: {method} {path}: {error.code} {_detail(error)}")
        refused.status = error.code
        raise refused from error
    except (OSError, ValueError) as error:
        raise BackendError(f"{url}: no Argilla answers there ({error}); run: align argilla up") from error
    if not isinstance(told, dict):
        raise BackendError(f"{url}: {method} {path}: not what an Argilla answers")
    return told


class Refused(BackendError):
    """The server understood, and said no; `status` is HTTP's."""

    status = 0


def _detail(error: urllib.error.HTTPError) -> str:
    try:
        told = json.load(error)
        return f"{told.get('detail', told.get('message', told))!s:.300}"
    except (ValueError, AttributeError, OSError):
        return str(error.reason)
