"""Any OpenAI-compatible endpoints as a sampler, one of vLLM's that is started here included."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from align.adapters.endpoints import Endpoint, Endpoints, Refused, Spoiled, gathered, message
from align.adapters.preflight import preflight
from align.adapters.turns import THOUGHT, Turns, context_of, room
from align.adapters.vllm import environment
from align.adapters.vllm.launch import Launched
from align.configs import Drawing, RuntimeConfig, SamplingConfig, Writer
from align.errors import BackendError, UsageError
from align.ports import Sample, SampleRequest, Unanswered
from align.recipe import secret
from align.records import Message

IN_A_ROW = 20
"""So many prompts refused one after the other, and none answered, are the endpoint's fault and not theirs."""


class ServerSampler:
    """Draws answers from endpoints that serve the stage's model, and the writers its recipe names."""

    consecutive = True

    def __init__(self, folder: Path, config: Drawing, runtime: RuntimeConfig) -> None:
        self.folder, self.config, self.runtime = folder, config, runtime
        self.made_with: Mapping[str, Any] = {"engine": "server", "api": config.server.api}
        self._found = environment.find(config.vllm) if config.server.launch else None
        if self._found is not None:
            self.made_with = {**self.made_with, "version": self._found.version}
        self._key = None if config.server.key is None else secret(config.server.key)
        self._launched: Launched | None = None
        self._endpoints: Endpoints | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._turns: Turns | None = None
        self._served: dict[str, int | None] = {}
        self._vllm = False
        self._refused = 0
        self._looked = False
        self._figures: dict[str, Any] = {"prompt_tokens": 0, "cached_tokens": 0}

    def sample(
        self, requests: Iterable[SampleRequest], settings: SamplingConfig, writer: Writer | None = None
    ) -> Iterator[tuple[str, list[Sample] | Unanswered]]:
        """Each prompt's id and its samples, as they are finished; at most `server.in_flight` an endpoint under way."""
        endpoints = self.open()
        assert self._loop is not None
        name = self.name_of(writer)
        turns = None if self.config.server.api == "chat" else self.turns(settings)
        context = self._served.get(name) or context_of(self.folder)
        if not self._looked:
            self._looked = True
            self._figures["preflight"] = self._examine(settings)
        jobs = (self._answered(request, settings, name, turns, context) for request in requests)
        stream = gathered(jobs, at_once=self.config.server.in_flight * len(endpoints.all))
        try:
            while (batch := self._loop.run_until_complete(_next(stream))) is not None:
                yield from batch
        finally:
            self._loop.run_until_complete(stream.aclose())

    def open(self) -> Endpoints:
        """The endpoints, once each has said that it serves what is asked for; a server of ours is started first."""
        if self._endpoints is not None:
            return self._endpoints
        urls: Sequence[str] = self.config.server.urls
        if self._found is not None:
            self._launched = Launched(self._found.python, self.folder, self.config, self.runtime)
            self._figures["engine_start_s"] = self._launched.start_s
            urls, self._key = (self._launched.url,), self._launched.key
        self._loop = asyncio.new_event_loop()
        self._endpoints = Endpoints(self.config.server, urls, self._key)
        try:
            self._loop.run_until_complete(self._look())
        except BaseException:
            self.close()
            raise
        return self._endpoints

    @property
    def is_vllm(self) -> bool:
        """Whether the endpoints are vLLM's."""
        return self._vllm

    def ask_once(self, endpoint: Endpoint, path: str, body: Mapping[str, Any]) -> tuple[int, bytes]:
        """Status and body of one request to one endpoint, tried once."""
        assert self._loop is not None
        assert self._endpoints is not None
        try:
            return self._loop.run_until_complete(self._endpoints.ask(endpoint, path, body))
        except OSError as error:
            raise BackendError(f"{endpoint.url}{path}: {type(error).__name__}: {error}") from error

    def name_of(self, writer: Writer | None) -> str:
        """The name that the endpoints serve a writer under."""
        if writer is not None and (writer.served or writer.adapter is not None):
            return writer.served or writer.name
        if self.config.server.model is not None:
            return self.config.server.model
        if self._launched is not None:
            return self._launched.name
        if len(self._served) == 1:
            return next(iter(self._served))
        raise UsageError(
            f"generate.server.model: missing; the endpoints serve {', '.join(sorted(self._served))}: say which is the "
            "stage's model"
        )

    def _examine(self, settings: SamplingConfig) -> str:
        """Compare what the endpoints serve with the stage's own model, where they can be asked."""
        assert self._endpoints is not None
        if not self._vllm:
            return "the endpoints are not vLLM's: only the model's name was compared"
        turns = self.turns(settings)
        adapters = {
            self.name_of(w): None if w.adapter is None else Path(w.adapter)
            for w in self.config.writers
            if w.served or w.adapter is not None
        }
        said = ""
        for endpoint in self._endpoints.all:
            if endpoint.fails:
                continue  # it is resting; what it serves is found out by its name when it comes back
            shown = Shown(self, endpoint)
            said = preflight(shown, turns, self.folder, self.config, self.runtime, adapters)
        return said

    async def _look(self) -> None:
        """What every endpoint serves; BackendError where one lacks the stage's model or answers as something else."""
        assert self._endpoints is not None
        reached, problems = 0, []
        for endpoint in self._endpoints.all:
            try:
                served = await self._models(endpoint)
            except (OSError, TimeoutError) as error:
                endpoint.failed(f"{type(error).__name__}: {error}"[:160], asyncio.get_running_loop().time())
                problems.append(f"{endpoint.url}: nothing answers there ({endpoint.last_error})")
                continue
            self._served = {**served, **self._served} if not reached else self._served
            for name in self._wanted(served):
                if name not in served:
                    raise BackendError(
                        f"{endpoint.url}: does not serve `{name}`; it serves {', '.join(sorted(served)) or 'nothing'}; "
                        "set generate.server.model (or the writer's `served`) to one of these"
                    )
            reached += 1
        if not reached:
            raise BackendError(f"{'; '.join(problems)}; start the server, or correct generate.server.urls")

    def _wanted(self, served: Mapping[str, Any]) -> list[str]:
        names = [writer.served or writer.name for writer in self.config.writers if writer.served or writer.adapter]
        return names + ([self.config.server.model] if self.config.server.model is not None else [])

    async def _models(self, endpoint: Endpoint) -> dict[str, int | None]:
        assert self._endpoints is not None
        try:
            status, said = await self._endpoints.get(endpoint, "/v1/models")
        except Exception as error:
            raise OSError(f"{type(error).__name__}: {error}") from error
        if status in (401, 403):
            raise BackendError(
                f"{endpoint.url}: HTTP {status}: the key is {'wrong' if self._key else 'missing'}; name the "
                "variable that holds it in generate.server.key, as ${env:NAME}"
            )
        try:
            rows: list[Any] = json.loads(said)["data"] if status == 200 else [{}]
            served = {str(row["id"]): row.get("max_model_len") for row in rows}
        except (ValueError, KeyError, TypeError) as error:
            raise BackendError(
                f"{endpoint.url}: HTTP {status} to /v1/models: {message(said)[:120]}; no OpenAI-compatible server there"
            ) from error
        self._vllm = any(row.get("owned_by") == "vllm" for row in rows)
        return served

    async def _answered(
        self, request: SampleRequest, settings: SamplingConfig, name: str, turns: Turns | None, context: int
    ) -> tuple[str, list[Sample] | Unanswered]:
        assert self._endpoints is not None
        ids: list[int] = []
        most = settings.max_tokens
        if turns is not None:
            ids = turns.ids(request)
            places = room(len(ids), context, settings)
            if isinstance(places, Unanswered):
                return request.prompt_id, places
            most = places
        drawn: list[Sample] = []
        greedy = settings.temperature == 0
        n = 1 if greedy else len(request.seeds)
        path = "/v1/completions" if turns is not None else "/v1/chat/completions"
        for _ in range(self.config.server.attempts):
            body = self._body(request, settings, name, ids, turns, n=n - len(drawn), most=most, first=len(drawn))
            try:
                drawn += await self._endpoints.post(path, body, lambda said: self._read(said, ids, turns, settings))
            except Refused as error:
                return request.prompt_id, self._refusal(error, name)
            except Spoiled as error:
                if drawn or self._in_a_row() < IN_A_ROW:
                    return request.prompt_id, Unanswered("too_few", str(error), tuple(drawn))
                raise BackendError(f"{IN_A_ROW} prompts in a row got no answer that can be used: {error}") from None
            if len(drawn) >= n:
                self._refused = 0
                return request.prompt_id, drawn[:n] * (len(request.seeds) if greedy else 1)
        return request.prompt_id, Unanswered("too_few", f"{len(drawn)} of {n} choices came", tuple(drawn))

    def _body(
        self, request: SampleRequest, settings: SamplingConfig, name: str, ids: list[int], turns: Turns | None,
        *, n: int, most: int, first: int,
    ) -> dict[str, Any]:  # fmt: skip
        body: dict[str, Any] = {"model": name, "n": n, "max_tokens": most, "temperature": settings.temperature,
                                "top_p": settings.top_p}  # fmt: skip
        if settings.temperature > 0:
            body["seed"] = request.seeds[first]
        if self._vllm:
            # what the model's generation_config asks for must not slip in
            body |= {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}
        if turns is not None:
            body["prompt"] = ids
            if settings.logprobs:
                body["logprobs"] = 0
            if self._vllm:
                body |= {"stop_token_ids": turns.ends, "return_token_ids": True}
            return body
        body["messages"] = [
            one.model_dump(exclude_none=True) if one.tool_calls or one.tool_call_id else
            {"role": one.role, "content": one.content}
            for one in request.messages
        ]  # fmt: skip
        if request.tools is not None:
            body["tools"] = list(request.tools)
        if settings.chat_template_kwargs:
            body["chat_template_kwargs"] = dict(settings.chat_template_kwargs)
        if settings.logprobs:
            body["logprobs"] = True
        return body

    def _read(self, said: Any, ids: list[int], turns: Turns | None, settings: SamplingConfig) -> list[Sample]:
        """The samples of an answer; Spoiled where there are none, or where a number is no number."""
        try:
            choices = sorted(said["choices"], key=lambda choice: int(choice["index"]))
            usage = said.get("usage") or {}
            samples = [self._sample(one, ids, turns, settings, usage if len(choices) == 1 else {}) for one in choices]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise Spoiled(f"an answer without `{error}`: {str(said)[:120]}") from error
        if not samples:
            raise Spoiled("an answer without choices")
        self._figures["prompt_tokens"] += int(usage.get("prompt_tokens") or len(ids))
        self._figures["cached_tokens"] += int((usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0)
        return samples

    def _sample(
        self, choice: Mapping[str, Any], ids: list[int], turns: Turns | None, settings: SamplingConfig,
        usage: Mapping[str, Any],
    ) -> Sample:  # fmt: skip
        finish = choice["finish_reason"]
        if finish not in ("stop", "length", "tool_calls"):
            raise Spoiled(f"an answer that ended by {finish!r}")
        logp = None
        told = choice.get("logprobs")
        if settings.logprobs and told:
            logps = told["token_logprobs"] if turns is not None else [one["logprob"] for one in told["content"]]
            if any(one is None or not math.isfinite(one) for one in logps):
                raise Spoiled("a log-probability that is no number")
            logp = math.fsum(logps)
        written = choice.get("token_ids")
        if turns is not None and written is not None:
            return turns.sample(ids, written, finish, logp)
        thinking = None
        if turns is None:
            said = choice["message"]
            text = said.get("content") or ""
            thinking = said.get("reasoning") or said.get("reasoning_content")
        else:
            text = choice["text"] or ""
            if turns.opens_thought(ids):
                text = THOUGHT + text
        n_tokens = usage.get("completion_tokens")
        return Sample(text=text, n_tokens=n_tokens, finish_reason="length" if finish == "length" else "stop", logp=logp,
                      thinking=thinking)  # fmt: skip

    def _refusal(self, error: Refused, name: str) -> Unanswered:
        """Too long a prompt is that prompt's; what concerns every prompt ends the run."""
        if error.status in (401, 403):
            raise BackendError(
                f"the endpoint refuses the key (HTTP {error.status}: {error.message}); see generate.server.key"
            ) from None
        if error.status == 404:
            raise BackendError(f"the endpoint knows no `{name}` (HTTP 404: {error.message})") from None
        said = error.message.lower()
        if "context" in said or "max_model_len" in said or "too long" in said:
            return Unanswered("too_long", error.message)
        if self._in_a_row() >= IN_A_ROW:
            raise BackendError(
                f"{IN_A_ROW} prompts in a row were refused: HTTP {error.status}: {error.message}"
            ) from None
        return Unanswered("refused", f"HTTP {error.status}: {error.message}")

    def _in_a_row(self) -> int:
        self._refused += 1
        return self._refused

    def turns(self, settings: SamplingConfig) -> Turns:
        """Tokenizer and template for these settings."""
        kwargs = dict(settings.chat_template_kwargs)
        if self._turns is None or self._turns.chat.template_kwargs != kwargs:
            self._turns = Turns(self.folder, kwargs)
        return self._turns

    def figures(self) -> Mapping[str, Any]:
        """Which endpoints answered how much, tokens read and how many of them were shared."""
        found = {**self.made_with, **self._figures}
        if self._endpoints is not None:
            found |= {"endpoints": len(self._endpoints.all), "retries": self._endpoints.n_retries}
        return found

    def close(self) -> None:
        """Give the connections back, and stop the server where it is ours."""
        if self._loop is not None:
            if self._endpoints is not None:
                self._loop.run_until_complete(self._endpoints.close())
            self._loop.close()
        self._loop = self._endpoints = None
        if self._launched is not None:
            self._launched.close()
            self._launched = None


class Shown:
    """One endpoint, as the preflight looks at it."""

    def __init__(self, sampler: ServerSampler, endpoint: Endpoint) -> None:
        self.sampler, self.endpoint = sampler, endpoint

    def rendered(self, messages: Sequence[Message], kwargs: Mapping[str, Any]) -> list[int] | None:
        """By vLLM's `/tokenize`; other servers show no token ids."""
        if not self.sampler.is_vllm:
            return None
        rows = [one.model_dump(exclude_none=True) for one in messages]
        body = {"model": self.sampler.name_of(None), "messages": rows, "add_generation_prompt": True}
        said = self._asked("/tokenize", body | ({"chat_template_kwargs": dict(kwargs)} if kwargs else {}))
        return None if said is None else [int(token) for token in said["tokens"]]

    def logps(self, ids: Sequence[int], writer: str | None) -> list[float | None] | None:
        """By vLLM's `prompt_logprobs`."""
        if not self.sampler.is_vllm:
            return None
        body = {"model": writer or self.sampler.name_of(None), "prompt": list(ids), "max_tokens": 1, "temperature": 0,
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
        status, said = self.sampler.ask_once(self.endpoint, path, body)
        if status == 404 and path == "/tokenize":
            return None
        if status != 200:
            raise BackendError(f"{self.endpoint.url}{path}: HTTP {status}: {message(said)}")
        return json.loads(said)


async def _next(stream: AsyncGenerator[list[Any], None]) -> list[Any] | None:
    return await anext(stream, None)
