"""A judge on loopback whose mind and whose faults a test chooses: 503 storms, hangs, resets, HTML, half replies."""

from __future__ import annotations

import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

Fault = Literal["503", "429", "hang", "drip", "reset", "html", "half", "401", "400", "redirect", "none"]
Mind = Callable[[str, str, str], str]
"""From the conversation, answer A and answer B to the reply."""


def the_longer(_: str, a: str, b: str) -> str:
    """A judge with an opinion that has nothing to do with seats."""
    return f"I counted.\nVERDICT: {'TIE' if len(a) == len(b) else 'A' if len(a) > len(b) else 'B'}"


class Judging:
    """What the server does, and what it was asked."""

    def __init__(self, mind: Mind = the_longer, fault: Callable[[int], Fault] = lambda n: "none") -> None:
        self.mind, self.fault = mind, fault
        self.models = ["judge-1"]
        self.reads: Callable[[dict[str, Any]], str] | None = None
        """Instead of a mind, for requests that are not about two answers."""
        self.asked: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.n = 0
        self.lock = threading.Lock()
        self.leave = threading.Event()
        self.url = ""


@contextmanager
def serving(judging: Judging) -> Iterator[Judging]:
    """On a free port of loopback, for as long as the test needs it."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 65536  # head and body in one packet, or each reply waits 40 ms for an acknowledgement

        def log_message(self, *_: object) -> None:
            pass

        def do_GET(self) -> None:
            self._say(200, json.dumps({"data": [{"id": name} for name in judging.models]}))

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with judging.lock:
                judging.n += 1
                n = judging.n
                judging.keys.append(self.headers.get("Authorization"))
            fault = judging.fault(n)
            if fault in ("503", "429", "401", "400"):
                self._say(int(fault), json.dumps({"error": {"message": f"no: {fault}"}}))
            elif fault == "redirect":
                self._say(307, "", location="http://127.0.0.1:9/elsewhere")
            elif fault == "hang":
                judging.leave.wait(30)
            elif fault == "reset":
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
                self.close_connection = True
                self.rfile.close()
            elif fault == "html":
                self._say(200, "<!doctype html><h1>Bad gateway</h1>")
            else:
                with judging.lock:
                    judging.asked.append(body)
                text = judging.reads(body) if judging.reads else judging.mind(*parts(body))
                choice = {"text": text} if self.path.endswith("/v1/completions") else {"message": {"content": text}}
                said = json.dumps({"choices": [choice | {"finish_reason": "stop"}]})
                if fault == "half":
                    said = said[: len(said) // 2]
                if fault == "drip":
                    self._drip(said)
                else:
                    self._say(200, said)

        def _say(self, status: int, text: str, **headers: str) -> None:
            data = text.encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def _drip(self, text: str) -> None:
            """A byte at a time, each soon enough that no read times out."""
            self.send_response(200)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            for byte in text.encode():
                if judging.leave.wait(0.1):
                    return
                self.wfile.write(bytes([byte]))
                self.wfile.flush()

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """A client that hung up is what these tests are about."""

    server = Server(("127.0.0.1", 0), Handler)
    judging.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield judging
    finally:
        judging.leave.set()
        server.shutdown()
        server.server_close()


def parts(body: dict[str, Any]) -> tuple[str, str, str]:
    """The conversation and both answers of a request, by its marks."""
    text = body["messages"][1]["content"]
    found = [re.search(rf"<{name} (\w+)>\n(.*?)\n</{name} \1>", text, re.S) for name in PARTS]
    conversation, a, b = (one.group(2) if one else "" for one in found)
    return conversation, a, b


PARTS = ("conversation", "answer A", "answer B")
