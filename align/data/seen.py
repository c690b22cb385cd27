"""Questions of a benchmark that stand in what a model was trained on: a score on them says what it remembers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from align.data.splits import folded
from align.store import jsonl

WORDS = 8
"""Words of a run that counts as shared."""
COVER = 0.5
"""Share of a question's words that runs shared with one document must cover (after open-instruct)."""
FEWEST = 5
"""A question of fewer words is not looked for: it would be found by accident."""
FILES = ("text.jsonl", "demonstrations.train.jsonl", "prompts.jsonl", "preferences.train.jsonl")


def seen(questions: Mapping[str, str], documents: Iterable[str]) -> dict[str, float]:
    """By id, the greatest cover of each question that some document covers by `COVER` or more.

    Letter case, spacing and Unicode composition aside. A question shorter than `WORDS` is one run.
    """
    runs: dict[tuple[str, ...], list[tuple[str, int]]] = defaultdict(list)
    length: dict[str, int] = {}
    sizes = set()
    for name, text in questions.items():
        words = folded(text).split()
        if len(words) < FEWEST:
            continue
        length[name], size = len(words), min(WORDS, len(words))
        sizes.add(size)
        for i in range(len(words) - size + 1):
            runs[tuple(words[i : i + size])].append((name, i))
    found: dict[str, float] = {}
    for document in documents if runs else ():
        words = folded(document).split()
        covered: dict[str, set[int]] = defaultdict(set)
        for size in sizes:
            for i in range(len(words) - size + 1):
                for name, at in runs.get(tuple(words[i : i + size]), ()):
                    covered[name].update(range(at, at + size))
        for name, places in covered.items():
            cover = len(places) / length[name]
            if cover >= COVER:
                found[name] = max(found.get(name, 0.0), cover)
    return found


def documents(folder: Path) -> Iterator[str]:
    """Every text that a result of `prepare` or `pair` holds for training, a row each."""
    for name in FILES:
        path = folder / name
        if path.exists():
            for _, row in jsonl.rows(path):
                yield " ".join(_texts(row))


def _texts(value: Any) -> Iterator[str]:
    """What the `content` or `text` of a row says, wherever it stands."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name in ("content", "text") and isinstance(inner, str):
                yield inner
            elif name != "meta":
                yield from _texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _texts(inner)
