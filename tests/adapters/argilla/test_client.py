"""What a server or a proxy may answer, over a real socket: each ends in one line, or is asked again until well."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from align.adapters.argilla.client import Argilla
from align.errors import AlignError, BackendError

Reply = tuple[int, dict[str, str], bytes] | str
"""Status, headers and body; or `reset`, or `silence`."""
JSON = {"content-type": "application/json"}


class Script(BaseHTTPRequestHandler):
    """Answers with the next reply of the server's list; with the last for ever."""

    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        asked, replies = self.server.asked, self.server.replies  # type: ignore[attr-defined]
        asked.append((self.command, self.path, json.loads(body) if body else None))
        reply = replies[min(len(asked), len(replies)) - 1]
        reply = reply(asked[-1]) if callable(reply) else reply
        if reply == "silence":
            self.server.silent.wait(5)  # type: ignore[attr-defined]
        if isinstance(reply, str):
            self.close_connection = True
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            self.connection.close()
            return
        status, headers, content = reply
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_DELETE = _answer

    def log_message(self, *_: object) -> None: ...


@contextmanager
def serving(*replies: Any) -> Iterator[tuple[Argilla, list[Any], list[float]]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Script)
    server.replies, server.asked, server.silent = replies, [], threading.Event()  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    slept: list[float] = []
    try:
        url = f"http://127.0.0.1:{server.server_address[1]}"
        yield Argilla(url, "key", timeout_s=0.5, patience_s=20.0, sleep=slept.append), server.asked, slept  # type: ignore[attr-defined]
    finally:
        server.silent.set()  # type: ignore[attr-defined]
        server.shutdown()
        server.server_close()


def said(status: int, body: Any, **headers: str) -> Reply:
    return status, JSON | headers, json.dumps(body).encode()


OK = said(200, {"items": []})
PAGE: Reply = (502, {"content-type": "text/html"}, b"<html>Bad Gateway</html>")


@pytest.mark.parametrize(
    ("reply", "line"),
    [
        (said(401, {"detail": "no"}), r"the key is not that of any account there \(HTTP 401\)"),
        (
            said(403, {"detail": "Operation not allowed"}),
            r"may not do that \(HTTP 403, /api/v1/me/workspaces\): Op",
        ),
        (said(404, {"detail": "Dataset with id `x` not found"}), r"not there \(HTTP 404.*not found"),
        (said(409, {"detail": "Workspace name `x` not unique"}), r"already there \(HTTP 409.*not unique"),
        (
            said(
                422, {"detail": {"code": "c", "params": {"errors": [{"loc": ["body", "items", 3], "msg": "too long"}]}}}
            ),
            r"HTTP 422, .*: body\.items\.3: too long",
        ),
        ((403, {"content-type": "text/html"}, b"<html>"), r"HTTP 403.*an HTML page"),
        (
            (200, {"content-type": "text/html"}, b"<html>index"),
            r"an HTML page found, expected JSON; is this Argi",
        ),
        (
            (302, {"location": "https://sso.example/login"}, b""),
            r"sends us to https://sso\.example/login; give th",
        ),
        ((200, JSON, b'{"items": ['), r"application/json found, expected JSON"),
    ],
)
def test_what_asking_again_cannot_mend_is_said_at_once(reply, line):
    with serving(reply) as (server, asked, slept):
        with pytest.raises(AlignError, match=line) as caught:
            server.workspaces()
        assert "\n" not in str(caught.value)
        assert (len(asked), slept) == (1, [])


@pytest.mark.parametrize(
    "trouble",
    [
        "reset",
        "silence",
        PAGE,
        said(500, {"detail": "database is locked"}),
        said(503, {}),
        said(429, {"detail": "slow"}),
    ],
    ids=["reset", "silence", "html", "500", "503", "429"],
)
def test_what_may_pass_is_asked_again_with_growing_pauses(trouble):
    with serving(trouble, trouble, OK) as (server, asked, slept):
        assert server.workspaces() == {}
        assert len(asked) == 3
        assert 0 < slept[0] < 0.4 < slept[1] * 2 < 2


def test_a_server_that_says_when_to_come_back_is_obeyed():
    with serving(said(429, {}, **{"retry-after": "7"}), OK) as (server, _, slept):
        server.workspaces()
        assert slept == [7.0]
    with serving(said(503, {}, **{"retry-after": "3600"})) as (server, _, slept):
        with pytest.raises(BackendError, match=r"HTTP 503 .*1 times; is the server up"):
            server.workspaces()
        assert slept == [], "an hour is longer than our patience"


def test_trouble_that_lasts_ends_in_one_line():
    with serving(PAGE) as (server, asked, _):
        server._patience_s = 0.05
        with pytest.raises(BackendError, match=r"HTTP 502 \(an HTML page\), \d+ times; is the server up\? run: "):
            server.workspaces()
        assert asked


def test_nobody_listening_is_said_with_what_to_do():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = Argilla(f"http://127.0.0.1:{port}", "key", patience_s=0.1, sleep=lambda s: None)
    with pytest.raises(BackendError, match=r"no connection .*; is the server up\? run: align argilla status"):
        server.version()


def test_what_is_too_large_is_sent_in_smaller_parts_and_one_record_that_is_too_large_is_named():
    def at_most(n: int) -> Any:
        return lambda asked: said(413, {}) if len(asked[2]["items"]) > n else OK

    records = [{"external_id": f"record-{i}"} for i in range(10)]
    with serving(at_most(3)) as (server, asked, _):
        assert sum(server.put_records("x", records, batch=8)) == 10
        put = [one["external_id"] for _, _, body in asked if len(body["items"]) <= 3 for one in body["items"]]
        assert put == [one["external_id"] for one in records]
    with (
        serving(at_most(0)) as (server, _, _),
        pytest.raises(BackendError, match=r"record record-0 is larger than the server .*\(HTTP 413\)"),
    ):
        list(server.put_records("x", records))


def test_a_record_that_is_refused_is_named():
    told = said(422, {"detail": "Record at position 1 is not valid because fields exceed 20,000 characters"})
    records = [{"external_id": f"record-{i}"} for i in range(3)]
    with serving(told) as (server, _, _), pytest.raises(BackendError, match=r"record record-1 was refused .*20,000"):
        list(server.put_records("x", records))


def test_records_that_come_while_pages_are_read_are_read_again():
    def row(i: int) -> dict[str, Any]:
        return {"id": str(i)}

    first = said(200, {"items": [row(0), row(1)], "total": 3})
    moved = said(200, {"items": [row(2), row(3)], "total": 4})
    whole = said(200, {"items": [row(i) for i in range(4)], "total": 4})
    with serving(first, moved, whole) as (server, asked, _):
        assert len(server.records("x")) == 4
        assert len(asked) == 3
    restless = [said(200, {"items": [row(0)], "total": n % 7 + 2}) for n in range(200)]
    with serving(*restless) as (server, _, _), pytest.raises(BackendError, match="come and go while they are read"):
        server.records("x")


@pytest.mark.parametrize(
    ("told", "line"),
    [
        ({"version": "1.29.1"}, r"Argilla 1\.29\.1 found, expected 2\.x"),
        ({"ok": True}, r"Argilla of an unknown version found"),
    ],
)
def test_a_server_that_is_no_argilla_of_ours_is_refused(told, line):
    with serving(said(200, told)) as (server, _, _), pytest.raises(BackendError, match=line):
        server.version()


def test_keys_that_everybody_knows_are_refused_where_others_can_reach_the_server():
    with pytest.raises(AlignError, match="everybody knows"):
        Argilla("https://argilla.example.org", "argilla.apikey")
    assert Argilla("http://127.0.0.1:6900", "argilla.apikey").warning is None


def test_a_key_that_no_header_can_hold_is_said_without_it():
    with pytest.raises(AlignError, match="cannot be sent") as caught:
        Argilla("http://127.0.0.1:6900", "schlüssel→")
    assert "schlüssel" not in str(caught.value)
