"""Questions whose options are scored by log-probability: what is asked, what came back, and what a tie is worth."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Iterator, Sequence

from align.evals.evidence import Asked, Evidence, Form, Instrument
from align.ports import Score
from align.records import Item, Message

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
Answered = list[tuple[Asked, Score]]


def ask_all(evidence: Evidence, instrument: Instrument) -> Iterator[tuple[Item, Answered]]:
    """Each of the instrument's items with what was asked about it and what the scorer said, an item's side by side."""
    assert evidence.logp is not None
    assert instrument.asks is not None
    items = [item for item in evidence.items if item.instrument == instrument.name]
    asked = [list(instrument.asks(item, evidence.form)) for item in items]
    scores = iter(evidence.logp([one.request() for of_item in asked for one in of_item]))
    for item, of_item in zip(items, asked, strict=True):
        yield item, [(one, next(scores)) for one in of_item]


def finite(answered: Answered) -> bool:
    """Whether every log-probability is a number."""
    return all(math.isfinite(score.logp) for _, score in answered)


def question(text: str, options: Sequence[tuple[int, str]], form: Form) -> list[Asked]:
    """Each of `options` (its choice and its text) as the whole answer to `text`."""
    if form == "chat":
        return [Asked((Message(role="user", content=text),), option, choice) for choice, option in options]
    return [Asked(f"{text}\nAnswer:", f" {option}", choice) for choice, option in options]


def orders(n: int) -> list[tuple[int, ...]]:
    """Every order of n options."""
    return list(itertools.permutations(range(n)))


def shuffled(n: int, key: str) -> list[int]:
    """0 … n − 1 in an order that `key` decides: a published file's order must not tell which option is right."""
    return sorted(range(n), key=lambda i: hashlib.sha256(f"{key}:{i}".encode()).digest())


def first(logps: Sequence[float]) -> list[float]:
    """Each option's share of first place: 1 for the most likely, 1/k each where k tie."""
    best = max(logps)
    k = list(logps).count(best)
    return [1 / k if logp == best else 0.0 for logp in logps]


def prefers(a: float, b: float) -> float:
    """1 where a is greater, 0 where b is, ½ for a tie."""
    return 0.5 if a == b else float(a > b)


def softmax(logps: Sequence[float]) -> list[float]:
    """Probabilities among these options alone."""
    best = max(logps)
    weights = [math.exp(logp - best) for logp in logps]
    return [weight / sum(weights) for weight in weights]
