"""A client of an Argilla server's REST interface: the calls we need, asked again while asking again can help.

Whatever goes wrong comes out as one BackendError of one line. Every call may be repeated without harm: what is made is
named by us, and records are put, not added.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import httpx

from align.adapters.argilla.hosts import is_loopback, refuse_unsafe
from align.errors import BackendError, RecipeError

BATCH = 200
"""Records in one call; Argilla allows 500, and large ones make long transactions."""
PAGE = 1000
"""Records read at once: what Argilla allows."""
AGAIN = frozenset({429, 500, 502, 503, 504})
"""Replies that may be better a moment later. 500 is among them: Argilla answers so where two writers met."""
FIRST_S = 5.0
"""Longest wait for a server that we have not spoken to yet: it is down, rather than busy."""

Json = dict[str, Any]


class Refused(BackendError):
    """The server understood and said no: 4xx."""

    def __init__(self, message: str, *, status: int, detail: str = "") -> None:
        super().__init__(message)
        self.status, self.detail = status, detail


class Argilla:
    """One server and one account on it."""

    def __init__(
        self,
        url: str,
        key: str,
        *,
        timeout_s: float = 60.0,
        patience_s: float = 90.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`timeout_s` is the longest wait for one reply, `patience_s` for a call with all its repetitions."""
        self.url = url.rstrip("/")
        self.warning = refuse_unsafe(self.url, key)
        self.local = is_loopback(urlsplit(self.url).hostname or "")
        self._patience_s, self._sleep = patience_s, sleep
        try:
            self._http = httpx.Client(
                base_url=self.url,
                headers={"X-Argilla-Api-Key": key, "Accept": "application/json", "Prefer": "return=minimal"}
                # packing and unpacking costs a server more time than a loopback takes
                | ({"Accept-Encoding": "identity"} if self.local else {}),
                timeout=httpx.Timeout(timeout_s, connect=min(timeout_s, 10.0)),
                trust_env=not self.local,  # a proxy of the machine knows nothing of its own loopback
            )
        except (UnicodeEncodeError, httpx.InvalidURL) as error:
            raise RecipeError(f"{self.url}: address or key cannot be sent: {type(error).__name__}") from error

    def __enter__(self) -> Argilla:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Give the connections back."""
        self._http.close()

    def version(self) -> str:
        """Of the server; BackendError where it is no Argilla, or one that we do not know how to speak to."""
        patient, self._patience_s = self._patience_s, min(self._patience_s, FIRST_S)
        found = str(self.ask("GET", "/api/v1/version").get("version", ""))
        self._patience_s = patient
        if not found.startswith("2."):
            raise BackendError(f"{self.url}: Argilla {found or 'of an unknown version'} found, expected 2.x")
        return found

    def me(self) -> Json:
        """The account whose key we hold."""
        return dict(self.ask("GET", "/api/v1/me"))

    def workspaces(self) -> dict[str, str]:
        """Those that the account can see: name → id."""
        items = self.ask("GET", "/api/v1/me/workspaces")["items"]
        return {one["name"]: one["id"] for one in items}

    def make_workspace(self, name: str) -> str:
        """Its id; where somebody else made it meanwhile, that one's."""
        try:
            return str(self.ask("POST", "/api/v1/workspaces", json={"name": name})["id"])
        except Refused as no:
            if no.status == 409 and name in (known := self.workspaces()):
                return known[name]
            raise

    def users(self, workspace_id: str) -> dict[str, Json]:
        """Everyone who belongs to the workspace, and all accounts where we may list them: id → account."""
        found: dict[str, Json] = {}
        for path in (f"/api/v1/workspaces/{workspace_id}/users", "/api/v1/users"):
            try:
                found |= {one["id"]: one for one in self.ask("GET", path)["items"]}
            except Refused as no:
                if no.status != 403:
                    raise
        return found

    def members(self, workspace_id: str) -> list[str]:
        """The user names of the annotators who belong to the workspace."""
        items = self.ask("GET", f"/api/v1/workspaces/{workspace_id}/users")["items"]
        return sorted(one["username"] for one in items if one["role"] == "annotator")

    def datasets(self, workspace_id: str) -> dict[str, Json]:
        """Name → data set."""
        items = self.ask("GET", "/api/v1/me/datasets", params={"workspace_id": workspace_id})["items"]
        return {one["name"]: one for one in items}

    def settings(self, dataset_id: str) -> tuple[list[Json], list[Json]]:
        """Its fields and its questions, as the server has them."""
        return (
            self.ask("GET", f"/api/v1/datasets/{dataset_id}/fields")["items"],
            self.ask("GET", f"/api/v1/datasets/{dataset_id}/questions")["items"],
        )

    def put_records(self, dataset_id: str, records: Sequence[Json], *, batch: int = BATCH) -> Iterator[int]:
        """Put records by their `external_id`, and say after each call how many it was. Never with `responses`:
        they would overwrite what people said."""
        size = max(1, batch)
        start = 0
        while start < len(records):
            part = records[start : start + size]
            try:
                self.ask("PUT", f"/api/v1/datasets/{dataset_id}/records/bulk", json={"items": part})
            except Refused as no:
                if no.status == 422 and (at := re.search(r"(?:items\.|position )(\d+)", no.detail)):
                    name = part[int(at[1])].get("external_id", "")[:20] if int(at[1]) < len(part) else ""
                    raise BackendError(f"{self.url}: record {name} was refused (HTTP 422): {no.detail}") from no
                if no.status != 413:
                    raise
                if len(part) == 1:
                    raise BackendError(
                        f"{self.url}: record {part[0].get('external_id', '')[:20]} is larger than the server or a "
                        "proxy before it accepts (HTTP 413); raise its limit, or leave that prompt out"
                    ) from no
                size = len(part) // 2
                continue
            start += len(part)
            yield len(part)

    def records(self, dataset_id: str) -> list[Json]:
        """Every record with all responses to it, each once, oldest first.

        Pages follow the time of insertion, which stands still while people work. What was added or removed meanwhile is
        seen by the total, and then everything is read again. BackendError where it never stands still.
        """
        for _ in range(5):
            found: dict[str, Json] = {}
            total, offset = 1, 0
            totals = set()
            while offset < total:
                page = self.ask(
                    "GET",
                    f"/api/v1/datasets/{dataset_id}/records",
                    params={"include": "responses", "limit": PAGE, "offset": offset},
                )
                total = int(page["total"])
                totals.add(total)
                if not page["items"]:
                    break
                found |= {one["id"]: one for one in page["items"]}
                offset += len(page["items"])
            if len(totals) == 1 and len(found) == total:
                return list(found.values())
        raise BackendError(f"{self.url}: records come and go while they are read; is another program writing to it?")

    def ask(
        self, method: str, path: str, *, json: object = None, params: Mapping[str, Any] | None = None
    ) -> Any:  # what JSON holds
        """The reply's JSON. Refused for a 4xx, BackendError for all else that lasts longer than our patience."""
        began = time.monotonic()
        for attempt in range(100):
            problem, wait_s = self._problem(method, path, json, params)
            if not isinstance(problem, str):
                return problem.json() if problem.content else {}
            delay = wait_s if wait_s is not None else min(20.0, 0.25 * 2**attempt) * (0.5 + random.random())
            if wait_s is None and time.monotonic() - began + delay > self._patience_s:
                break
            if wait_s is not None and wait_s > self._patience_s:
                break
            self._sleep(delay)
        raise BackendError(f"{self.url}: {problem}, {attempt + 1} times; {_advice(self.local)}")

    def _problem(
        self, method: str, path: str, json: object, params: Mapping[str, Any] | None
    ) -> tuple[httpx.Response | str, float | None]:
        """The reply, or what is wrong and may pass, with the seconds that the server asked us to wait."""
        try:
            reply = self._http.request(method, path, json=json, params=params)
        except httpx.TimeoutException:
            return "no reply in time", None
        except httpx.TransportError as error:
            said = str(error) or type(error).__name__
            if "CERTIFICATE" in said.upper():
                raise BackendError(f"{self.url}: its certificate is not trusted: {said}") from error
            return f"no connection ({said})", None
        if reply.status_code in AGAIN:
            return f"HTTP {reply.status_code} ({_detail(reply)})", _retry_after(reply)
        if reply.status_code >= 400:
            raise self._refusal(reply, path)
        if reply.is_redirect:
            where = reply.headers.get("location", "elsewhere")
            raise BackendError(f"{self.url}: sends us to {where}; give the address that Argilla itself stands at")
        try:
            if reply.content:
                reply.json()
        except ValueError as error:
            raise BackendError(
                f"{self.url}: {_kind(reply)} found, expected JSON; is this Argilla's own address, "
                "and not a proxy's or a sign-in page's?"
            ) from error
        return reply, None

    def _refusal(self, reply: httpx.Response, path: str) -> Refused:
        status, detail = reply.status_code, _detail(reply)
        said = {
            401: "the key is not that of any account there (HTTP 401); copy it from the server's user settings",
            403: f"this account may not do that (HTTP 403, {path}): {detail}; use the key of an owner, or of an admin "
            "of the workspace",
            404: f"not there (HTTP 404, {path}): {detail}",
            409: f"already there (HTTP 409, {path}): {detail}",
            413: f"the request is larger than the server accepts (HTTP 413, {path})",
        }.get(status, f"HTTP {status}, {path}: {detail}")
        return Refused(f"{self.url}: {said}", status=status, detail=detail)


def _detail(reply: httpx.Response) -> str:
    """What the server says of it, in one short line."""
    try:
        body = reply.json()
    except ValueError:
        return _kind(reply)
    detail = body.get("detail", body.get("message", body)) if isinstance(body, dict) else body
    if isinstance(detail, dict):
        detail = detail.get("params", {}).get("detail") or detail.get("params", {}).get("errors") or detail
    if isinstance(detail, list) and detail and isinstance(detail[0], dict):
        first = detail[0]
        detail = f"{'.'.join(map(str, first.get('loc', ())))}: {first.get('msg', first)}"
    return " ".join(str(detail).split())[:300]


def _kind(reply: httpx.Response) -> str:
    kind = reply.headers.get("content-type", "").partition(";")[0]
    return "an HTML page" if kind == "text/html" else "an empty reply" if not reply.content else kind or "no JSON"


def _retry_after(reply: httpx.Response) -> float | None:
    try:
        return max(0.0, float(reply.headers.get("retry-after", "")))
    except ValueError:
        return None


def _advice(local: bool) -> str:
    if local:
        return "is the server up? run: align argilla status, and align argilla up"
    return "is the server up, and the address right?"
