"""Conversations to token ids and back, for every engine alike: the template is ours, and so is an answer's text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from align.configs import SamplingConfig
from align.models.chat import Chat
from align.models.load import end_ids, load_tokenizer
from align.ports import Sample, SampleRequest, Unanswered

THOUGHT = "<think>"


class Turns:
    """A model folder's tokenizer and template; the weights are not touched."""

    def __init__(self, folder: Path, template_kwargs: dict[str, Any] | None = None) -> None:
        self.tokenizer = load_tokenizer(folder)
        self.ends = end_ids(_settings(folder), self.tokenizer)
        self.chat = Chat(self.tokenizer, self.ends, template_kwargs)
        self._ends = frozenset(self.ends)

    def ids(self, request: SampleRequest) -> list[int]:
        """What the model reads."""
        return self.chat.prompt(request.messages, None if request.tools is None else list(request.tools))

    def opens_thought(self, prompt: Sequence[int]) -> bool:
        """Whether the template has begun the answer's thought for the model, so that the answer lacks the mark."""
        tail = self.tokenizer.decode(prompt[-8:], skip_special_tokens=False)
        return bool(tail.rstrip().endswith(THOUGHT))

    def sample(self, prompt: Sequence[int], ids: Sequence[int], finish: str | None, logp: float | None) -> Sample:
        """What was written, as text; control tokens are left out of it."""
        text: str = self.tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        if self.opens_thought(prompt):
            text = THOUGHT + text
        stopped = finish == "stop" or (bool(ids) and ids[-1] in self._ends)
        return Sample(text=text, n_tokens=len(ids), finish_reason="stop" if stopped else "length", logp=logp)


def room(n_prompt: int, context: int, settings: SamplingConfig) -> int | Unanswered:
    """How many tokens an answer may have; Unanswered where the prompt fills the context."""
    left = context - n_prompt
    if left < 1:
        return Unanswered("too_long", f"the prompt has {n_prompt} tokens, and the context is {context}")
    return min(left, settings.max_tokens)


def _settings(folder: Path) -> Any:
    """What tells a model's ends of answer: generation_config.json, or where it is silent config.json."""
    for name in ("generation_config.json", "config.json"):
        path = folder / name
        if path.exists():
            found = json.loads(path.read_text(encoding="utf-8")).get("eos_token_id")
            if found is not None:
                return SimpleNamespace(eos_token_id=found)
    return SimpleNamespace(eos_token_id=None)


def context_of(folder: Path) -> int:
    """The most tokens a model has places for, from its config.json; no bound where it is only served elsewhere."""
    if (folder / "served.json").exists():
        return 2**31
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    found = config.get("text_config", config).get("max_position_embeddings")
    return int(found) if found else 2**31
