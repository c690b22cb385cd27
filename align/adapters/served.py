"""What an endpoint says that it serves, and how it is looked at before it is used."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from align.adapters.courier import Courier, message
from align.errors import BackendError
from align.records import Message


@dataclass(frozen=True)
class Served:
    """The models of an endpoint, each with its context where that is told, and whether it is vLLM's."""

    models: Mapping[str, int | None]
    vllm: bool


def served(courier: Courier, place: int) -> Served:
    """What the endpoint at `place` says; OSError where nothing answers, BackendError where it is no such server."""
    url = courier.urls[place]
    status, said = courier.ask(place, "/v1/models")
    if status in (401, 403):
        raise BackendError(
            f"{url}: HTTP {status}: the key is {'wrong' if courier.key else 'missing'}; name the "
            "variable that holds it in generate.server.key, as ${env:NAME}"
        )
    try:
        rows: list[Any] = json.loads(said)["data"] if status == 200 else [{}]
        models = {str(row["id"]): row.get("max_model_len") for row in rows}
    except (ValueError, KeyError, TypeError) as error:
        raise BackendError(
            f"{url}: HTTP {status} to /v1/models: {message(said)[:120]}; no OpenAI-compatible server there"
        ) from error
    return Served(models, any(row.get("owned_by") == "vllm" for row in rows))


@dataclass(frozen=True)
class Shown:
    """One of vLLM's endpoints, as the preflight looks at it."""

    courier: Courier
    place: int
    model: str

    def rendered(self, messages: Sequence[Message], kwargs: Mapping[str, Any]) -> list[int] | None:
        """By vLLM's `/tokenize`."""
        rows = [one.model_dump(exclude_none=True) for one in messages]
        body = {"model": self.model, "messages": rows, "add_generation_prompt": True}
        said = self._asked("/tokenize", body | ({"chat_template_kwargs": dict(kwargs)} if kwargs else {}))
        return None if said is None else [int(token) for token in said["tokens"]]

    def logps(self, ids: Sequence[int], writer: str | None) -> list[float | None] | None:
        """By vLLM's `prompt_logprobs`."""
        body = {"model": writer or self.model, "prompt": list(ids), "max_tokens": 1, "temperature": 0,
                "prompt_logprobs": 0}  # fmt: skip
        said = self._asked("/v1/completions", body)
        if said is None:
            return None
        places = said["choices"][0]["prompt_logprobs"]
        return [
            None if place is None else float(place[str(token)]["logprob"])
            for token, place in zip(ids, places, strict=True)
        ]

    def _asked(self, path: str, body: Mapping[str, Any]) -> Any:
        url = self.courier.urls[self.place]
        try:
            status, said = self.courier.ask(self.place, path, json.dumps(body).encode())
        except OSError as error:
            raise BackendError(f"{url}{path}: {error}") from error
        if status == 404 and path == "/tokenize":
            return None
        if status != 200:
            raise BackendError(f"{url}{path}: HTTP {status}: {message(said)}")
        return json.loads(said)
