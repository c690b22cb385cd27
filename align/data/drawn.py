"""What answers look like: thought apart from speech, and how many are repeated, empty or cut short."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

OPEN, CLOSE = "<think>", "</think>"
SAMPLE_OF_LENGTHS = 100_001
"""The median length is exact up to so many answers, and of a fixed sample of them beyond."""


def split_thought(text: str) -> tuple[str | None, str]:
    """What a model thought and what it then said.

    The rule: an answer that begins with `<think>` thinks until the first `</think>`; one that never closes it has not
    begun to speak, and what it said is empty. Marks anywhere else are speech.
    """
    begun = text.lstrip()
    if not begun.startswith(OPEN):
        return None, text.strip()
    thought, _, said = begun.removeprefix(OPEN).partition(CLOSE)
    return thought.strip(), said.strip()


class Tally:
    """Counts over candidates, one prompt at a time."""

    def __init__(self) -> None:
        self.n_prompts = self.n_candidates = self.n_repeated = self.n_empty = self.n_cut_short = 0
        self.n_unfinished_thoughts = self.n_several = self.n_without_pair = self.n_unanswered = 0
        self._lengths: list[int] = []
        self._draw = random.Random(0)

    def add(self, own: Sequence[Mapping[str, Any]]) -> None:
        """The rows of one prompt's candidates."""
        texts = [one["completion"][-1]["content"] for one in own]
        distinct = set(texts)
        self.n_prompts += 1
        self.n_unanswered += not own
        self.n_candidates += len(own)
        self.n_repeated += len(own) - len(distinct)
        self.n_empty += texts.count("")
        for one, text in zip(own, texts, strict=True):
            self.n_cut_short += one["finish_reason"] == "length"
            self.n_unfinished_thoughts += not text and "thinking" in one
            self._length(len(text.split()))
        if len(own) > 1:
            self.n_several += 1
            self.n_without_pair += len(distinct - {""}) < 2

    def summary(self) -> dict[str, Any]:
        """How many answers are repeated, empty or cut short, and for which share of the prompts no two differ."""
        words = sorted(self._lengths)
        counts = {
            "n_prompts": self.n_prompts,
            "n_candidates": self.n_candidates,
            "n_repeated": self.n_repeated,
            "n_empty": self.n_empty,
            "n_cut_short": self.n_cut_short,
            "no_pair_share": self.n_without_pair / self.n_several if self.n_several else None,
            "median_words": words[len(words) // 2] if words else None,
        }
        rare = {"n_unfinished_thoughts": self.n_unfinished_thoughts, "n_unanswered": self.n_unanswered}
        return {**counts, **{name: n for name, n in rare.items() if n}}

    def _length(self, n_words: int) -> None:
        if len(self._lengths) < SAMPLE_OF_LENGTHS:
            self._lengths.append(n_words)
            return
        place = self._draw.randrange(self.n_candidates)
        if place < SAMPLE_OF_LENGTHS:
            self._lengths[place] = n_words
