"""A reward model by transformers: conversations in, scores out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from align.adapters.transformers import within
from align.configs import RuntimeConfig
from align.models.chat import Chat
from align.records import Message


class TransformersRewarder:
    """Scores conversations by their messages: rendered by the reward model's own template, whatever wrote them."""

    at_once = 4096
    """Conversations among which common beginnings are looked for."""

    def __init__(self, folder: Path, runtime: RuntimeConfig) -> None:
        self.folder = folder
        self.runtime = runtime
        self._parts: tuple[Any, Any, Chat] | None = None

    def parts(self) -> tuple[Any, Any, Chat]:
        """Model, tokenizer and template, loaded when first needed."""
        if self._parts is None:
            from align.models.machine import ready
            from align.models.reward import load_reward

            ready(self.runtime)
            model, tokenizer = load_reward(self.folder, device=self.runtime.device)
            self._parts = model, tokenizer, Chat(tokenizer, [tokenizer.eos_token_id])
        return self._parts

    def reward(self, conversations: Sequence[Sequence[Message]]) -> Iterator[float]:
        """The score of each conversation's last answer, in the order asked; float32, in whatever company."""
        from align.models.reward import scores

        if not conversations:
            return
        model, tokenizer, chat = self.parts()
        rows = [chat.whole(messages) for messages in conversations]
        within(model, max(map(len, rows)), "the longest conversation to score")
        for start in range(0, len(rows), self.at_once):
            yield from scores(model, rows[start : start + self.at_once], tokenizer.pad_token_id)

    def close(self) -> None:
        """Let the weights go."""
        self._parts = None
