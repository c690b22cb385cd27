"""An OpenAI-compatible endpoint on loopback that answers at once, and goes wrong when it is told to.

`python -m tests.adapters.faulty PORT [SHARE]` serves until it is killed; SHARE of its answers go wrong.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
import threading
from collections.abc import Callable
from typing import Any

from aiohttp import web

FAULTS = ("503", "reset", "torn", "nan", "few", "hang", "busy")


class Faulty:
    """`plan` names what goes wrong with a request, or None; it is given the request's number and body."""

    def __init__(
        self, plan: Callable[[int, dict[str, Any]], str | None] = lambda number, body: None, *, port: int = 0,
        key: str | None = None, models: tuple[str, ...] = ("model",), context: int | None = None,
    ) -> None:  # fmt: skip
        self.plan, self.port, self.key, self.models, self.context = plan, port, key, models, context
        self.bodies: list[dict[str, Any]] = []
        self.most_at_once = self._at_once = 0
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Faulty:
        self._thread.start()
        assert self._ready.wait(20)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(20)

    def _serve(self) -> None:
        asyncio.run(self.run())

    async def run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/completions", self._completions)
        app.router.add_post("/v1/chat/completions", self._completions)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self.port)
        await site.start()
        self.port = runner.addresses[0][1]
        self._ready.set()
        await self._stop.wait()
        await runner.cleanup()

    def _may(self, request: web.Request) -> bool:
        return self.key is None or request.headers.get("Authorization") == f"Bearer {self.key}"

    async def _models(self, request: web.Request) -> web.Response:
        if not self._may(request):
            return web.json_response({"error": {"message": "no key"}}, status=401)
        rows = [{"id": name, "owned_by": "tests", "max_model_len": self.context} for name in self.models]
        return web.json_response({"data": rows})

    async def _completions(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read())
        number = len(self.bodies)
        self.bodies.append(body)
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            return await self._answered(request, body, self.plan(number, body))
        finally:
            self._at_once -= 1

    async def _answered(self, request: web.Request, body: dict[str, Any], fault: str | None) -> web.StreamResponse:
        if not self._may(request):
            return web.json_response({"error": {"message": "no key"}}, status=401)
        if body["model"] not in self.models:
            return web.json_response({"error": {"message": f"The model `{body['model']}` does not exist."}}, status=404)
        if fault == "503":
            return web.json_response({"error": {"message": "overloaded"}}, status=503)
        if fault == "busy":
            return web.Response(status=429, headers={"Retry-After": "1"})
        if fault == "bad":
            return web.json_response({"error": {"message": "unsupported parameter"}}, status=400)
        if fault == "overflow":
            said = "This model's maximum context length is 64 tokens. However, you requested 90 tokens."
            return web.json_response({"error": {"message": said}}, status=400)
        if fault == "hang":
            await asyncio.sleep(3600)
        if fault == "slow":
            await asyncio.sleep(0.05)
        if fault == "reset":
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        rows = [self._choice(request, body, i) for i in range(body["n"])]
        if fault == "few":
            rows = rows[: max(1, body["n"] // 2)]
        if fault == "none":
            rows = []
        if fault == "empty":
            for row in rows:
                row.update({"text": "", "message": {"content": None}})
        if fault == "length":
            for row in rows:
                row["finish_reason"] = "length"
        if fault == "nan":
            for row in rows:
                row["logprobs"] = {"token_logprobs": [float("nan")], "content": [{"logprob": float("nan")}]}
        raw = json.dumps({"choices": rows, "usage": {"prompt_tokens": 5, "completion_tokens": 3}}).encode()
        return web.Response(body=raw[: len(raw) // 2] if fault == "torn" else raw, content_type="application/json")

    def _choice(self, request: web.Request, body: dict[str, Any], place: int) -> dict[str, Any]:
        """By the model, the prompt and the seed alone, as an engine answers that is what it should be."""
        asked = json.dumps([body["model"], body.get("prompt", body.get("messages")), body.get("seed", 0) + place])
        text = f"Answer {hashlib.sha256(asked.encode()).hexdigest()[:12]}."
        logprobs = {"token_logprobs": [-0.5, -0.25], "content": [{"logprob": -0.5}, {"logprob": -0.25}]}
        return {"index": place, "text": text, "message": {"role": "assistant", "content": text},
                "finish_reason": "stop", "logprobs": logprobs if "logprobs" in body else None}  # fmt: skip


def sometimes(share: float) -> Callable[[int, dict[str, Any]], str | None]:
    """A fault for a share of the requests, another one for each, the same for the same numbers."""

    def plan(number: int, body: dict[str, Any]) -> str | None:
        drawn = int(hashlib.sha256(f"{number}".encode()).hexdigest()[:8], 16) / 2**32
        return FAULTS[number % len(FAULTS)] if drawn < share else None

    return plan


if __name__ == "__main__":
    share = float(sys.argv[2]) if len(sys.argv) > 2 else 0.0
    asyncio.run(Faulty(sometimes(share), port=int(sys.argv[1])).run())
