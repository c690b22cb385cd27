"""A reward model served on loopback: rollouts in other processes ask it over HTTP and get the scores it gives here.

`POST /reward` takes {"conversations": [[{"role": …, "content": …}, …], …]} and answers {"rewards": [float, …]};
`GET /health` answers {"model": name}. Numbers are written so that they read back to the last bit.
"""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from pydantic import TypeAdapter, ValidationError

from align.errors import AlignError, UsageError
from align.ports import Rewarder
from align.records import Message

HOST = "127.0.0.1"
MOST_BYTES = 64 * 2**20
CONVERSATIONS = TypeAdapter(list[list[Message]])


@dataclass
class Serving:
    """A server that runs in a thread of its own."""

    server: ThreadingHTTPServer
    thread: threading.Thread

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://{HOST}:{self.server.server_address[1]}"

    def wait(self) -> None:
        """Until it is stopped from elsewhere, or by Ctrl-C."""
        while self.thread.is_alive():
            self.thread.join(1.0)

    def close(self) -> None:
        """Stop answering."""
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


def serving(rewarder: Rewarder, *, name: str, port: int = 0) -> Serving:
    """Begin to answer on loopback, on a free port if `port` is 0; one request is scored at a time."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self.path == "/health":
                self.answer(200, {"model": name})
            else:
                self.answer(404, {"error": f"{self.path}: no such page; there are GET /health and POST /reward"})

        def do_POST(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            if size > MOST_BYTES:
                self.close_connection = True
                self.answer(413, {"error": f"{size} bytes found, at most {MOST_BYTES} are read"})
                return
            body = self.rfile.read(size)
            if self.path != "/reward":
                self.answer(404, {"error": f"{self.path}: no such page; there are GET /health and POST /reward"})
                return
            try:
                asked = CONVERSATIONS.validate_python(json.loads(body)["conversations"])
                if any(not talk or talk[-1].role != "assistant" for talk in asked):
                    raise ValueError("a conversation does not end with an answer of the assistant's")
                with lock:
                    self.answer(200, {"rewards": list(rewarder.reward(asked))})
            except (ValueError, KeyError, TypeError, ValidationError, AlignError) as error:
                self.answer(400, {"error": " ".join(str(error).split())[:300] or type(error).__name__})

        def answer(self, status: int, what: dict[str, Any]) -> None:
            body = json.dumps(what).encode("utf-8")
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Conversations are nobody's log."""

    try:
        server = ThreadingHTTPServer((HOST, port), Handler)
    except (OSError, OverflowError) as error:
        raise UsageError(f"score: --port {port}: cannot be served on: {error}; leave it out for a free one") from error
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    return Serving(server, thread)
