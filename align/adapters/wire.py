"""What is said to an OpenAI-compatible endpoint about one prompt, and what its answer means."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic_core import from_json

from align.adapters.turns import THOUGHT, Turns, cut_at
from align.configs import SamplingConfig
from align.errors import UsageError
from align.ports import Sample, SampleRequest

_encode = json.JSONEncoder(separators=(",", ":")).encode


class Spoiled(Exception):
    """An answer that cannot be used; the request may be tried again."""


class Wire:
    """The requests for one model with one set of settings; with `turns` token ids are sent, else messages.

    `ends` are the tokens that end an answer; vLLM alone is told them.
    """

    def __init__(
        self, name: str, settings: SamplingConfig, turns: Turns | None, *, vllm: bool, ends: Sequence[int] = ()
    ) -> None:
        self.name, self.settings, self.turns = name, settings, turns
        self.path = "/v1/chat/completions" if turns is None else "/v1/completions"
        self.prompt_tokens = self.cached_tokens = 0
        if settings.stop_tokens and not vllm:
            raise UsageError(
                "generate.stop_tokens: only vLLM's endpoints end an answer at a token; use generate.stop, a text"
            )
        shared: dict[str, Any] = {"model": name, "temperature": settings.temperature, "top_p": settings.top_p}
        if settings.stop:
            shared["stop"] = list(settings.stop)
        if vllm:
            # what the model's generation_config asks for must not slip in
            shared |= {"top_k": 0, "min_p": 0.0, "repetition_penalty": 1.0}
            shared |= {"stop_token_ids": list(ends)} if ends else {}
        if turns is not None:
            shared |= {"logprobs": 0} if settings.logprobs else {}
            shared |= {"return_token_ids": True} if vllm else {}
        else:
            shared |= {"logprobs": True} if settings.logprobs else {}
            if settings.chat_template_kwargs:
                shared["chat_template_kwargs"] = dict(settings.chat_template_kwargs)
        # what all requests share is written once
        self._shared = _encode(shared)[:-1]

    def body(self, request: SampleRequest, ids: Sequence[int], *, n: int, most: int, first: int) -> bytes:
        """The request for `n` samples from the `first` on, of at most `most` tokens each."""
        own: dict[str, Any] = {"n": n, "max_tokens": most}
        if self.settings.temperature > 0:
            own["seed"] = request.seeds[first]
        if self.turns is not None:
            own["prompt"] = ids
        else:
            own["messages"] = [
                one.model_dump(exclude_none=True) if one.tool_calls or one.tool_call_id else
                {"role": one.role, "content": one.content}
                for one in request.messages
            ]  # fmt: skip
            if request.tools is not None:
                own["tools"] = list(request.tools)
        return f"{self._shared},{_encode(own)[1:]}".encode()

    def read(self, raw: bytes, ids: Sequence[int]) -> list[Sample]:
        """The samples of an answer; Spoiled where it is torn, where there are none, or where a number is no number."""
        try:
            said = from_json(raw)
        except ValueError as error:
            raise Spoiled(f"an answer that is no JSON: {raw[:80]!r}") from error
        try:
            choices = said["choices"]
            if len(choices) > 1:
                choices = sorted(choices, key=lambda choice: int(choice["index"]))
            usage = said.get("usage") or {}
            n_tokens = usage.get("completion_tokens") if len(choices) == 1 else None
            samples = [self._sample(one, ids, n_tokens) for one in choices]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise Spoiled(f"an answer without `{error}`: {str(said)[:120]}") from error
        if not samples:
            raise Spoiled("an answer without choices")
        self.prompt_tokens += int(usage.get("prompt_tokens") or len(ids))
        self.cached_tokens += int((usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0)
        return samples

    def _sample(self, choice: Mapping[str, Any], ids: Sequence[int], n_tokens: int | None) -> Sample:
        finish = choice["finish_reason"]
        if finish not in ("stop", "length", "tool_calls"):
            raise Spoiled(f"an answer that ended by {finish!r}")
        logp = self._logp(choice.get("logprobs")) if self.settings.logprobs else None
        written, thinking = choice.get("token_ids"), None
        if self.turns is not None:
            if written is not None:
                return self.turns.sample(ids, written, finish, logp)
            text = cut_at(choice["text"] or "", self.settings.stop)[0]
            if self.turns.opens_thought(ids):
                text = THOUGHT + text
        else:
            said = choice["message"]
            text = cut_at(said.get("content") or "", self.settings.stop)[0]
            thinking = said.get("reasoning") or said.get("reasoning_content")
        return Sample(text, n_tokens, "length" if finish == "length" else "stop", logp, thinking)

    def _logp(self, told: Any) -> float | None:
        if not told:
            return None
        logps = told["token_logprobs"] if self.turns is not None else [one["logprob"] for one in told["content"]]
        if any(one is None or not math.isfinite(one) for one in logps):
            raise Spoiled("a log-probability that is no number")
        return math.fsum(logps)
