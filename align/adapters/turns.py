"""Conversations to token ids and back, for every engine alike: the template is ours, and so is an answer's text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from align.configs import SamplingConfig
from align.errors import UsageError
from align.models.chat import Chat
from align.models.load import end_ids, load_tokenizer
from align.ports import Sample, SampleRequest, Unanswered

THOUGHT = "<think>"
READ_AHEAD = 16
"""Prompts cut into tokens together."""


class Turns:
    """A model folder's tokenizer and template, and where an answer ends; the weights are not touched."""

    def __init__(self, folder: Path, settings: SamplingConfig | None = None) -> None:
        asked = settings or SamplingConfig()
        self.tokenizer = load_tokenizer(folder)
        own = end_ids(_settings(folder), self.tokenizer)
        self.chat = Chat(self.tokenizer, own, asked.chat_template_kwargs)
        self.stop = asked.stop
        self._stop_tokens = asked.stop_tokens
        self._stop_ids = frozenset(self._token(text) for text in asked.stop_tokens)
        self.ends = [*own, *sorted(self._stop_ids - set(own))]
        """Tokens that end an answer: the model's own, and those that the recipe names."""
        self._ends = frozenset(self.ends)
        self._thoughts: dict[int, bool | None] = {}

    def fits(self, settings: SamplingConfig) -> bool:
        """Whether answers drawn with these settings begin and end as they do here."""
        asked = settings.chat_template_kwargs, settings.stop, settings.stop_tokens
        return asked == (self.chat.template_kwargs, self.stop, self._stop_tokens)

    def each(self, requests: Iterable[SampleRequest]) -> Iterator[tuple[SampleRequest, list[int]]]:
        """Requests with their `ids`; a few are read ahead and cut into tokens together, in a third of the time."""
        queue = iter(requests)
        while window := list(islice(queue, READ_AHEAD)):
            told = [(one.messages, None if one.tools is None else list(one.tools)) for one in window]
            yield from zip(window, self.chat.prompts(told), strict=True)

    def opens_thought(self, prompt: Sequence[int]) -> bool:
        """Whether the template has begun the answer's thought for the model, so that the answer lacks the mark."""
        if not prompt:
            return False
        last = prompt[-1]
        if last not in self._thoughts:
            text = self.tokenizer.decode([last], skip_special_tokens=False).rstrip()
            # where the last token alone is shorter than the mark, those before it must be looked at
            self._thoughts[last] = text.endswith(THOUGHT) if len(text) >= len(THOUGHT) else None
        known = self._thoughts[last]
        if known is not None:
            return known
        tail = self.tokenizer.decode(prompt[-8:], skip_special_tokens=False)
        return bool(tail.rstrip().endswith(THOUGHT))

    def sample(self, prompt: Sequence[int], ids: Sequence[int], finish: str | None, logp: float | None) -> Sample:
        """What was written, as text, up to the first of the texts that end it; control tokens are left out of it."""
        said = ids[:-1] if ids and ids[-1] in self._stop_ids else ids
        text: str = self.tokenizer.decode(said, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        text, cut = cut_at(text, self.stop)
        if self.opens_thought(prompt):
            text = THOUGHT + text
        stopped = cut or finish == "stop" or (bool(ids) and ids[-1] in self._ends)
        return Sample(text=text, n_tokens=len(ids), finish_reason="stop" if stopped else "length", logp=logp)

    def stops(self, ids: Sequence[int]) -> bool:
        """Whether one of the texts that end an answer stands at the end of what is written so far."""
        near = 4 * max(map(len, self.stop)) + 8  # a token may be a single byte of a character's four
        tail: str = self.tokenizer.decode(ids[-near:], skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return any(one in tail for one in self.stop)

    def _token(self, text: str) -> int:
        known = self.tokenizer.get_vocab()
        if text in known:
            return int(known[text])
        cut = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        if len(cut) != 1:
            raise UsageError(
                f"generate.stop_tokens: {text!r} is {len(cut)} tokens of this model, expected one; put it in "
                "generate.stop, which takes any text"
            )
        return int(cut[0])


def cut_at(text: str, stop: Sequence[str]) -> tuple[str, bool]:
    """The text before the first of some others, and whether one of them was found."""
    places = [place for one in stop if (place := text.find(one)) >= 0]
    return (text[: min(places)], True) if places else (text, False)


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
