"""Pairs whose better answer is known: shown among the others to see who finds it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from align.configs import DataFile
from align.data import formats, rows
from align.errors import RecordError
from align.preference.asking import seated
from align.records import Candidate, Comparison, Prompt

WRITTEN_BY = "gold"
"""The model that the answers are said to be of."""


@dataclass(frozen=True)
class Gold:
    """The comparisons, what they are about, and the better answer of each."""

    prompts: dict[str, Prompt] = field(default_factory=dict)
    candidates: dict[str, Candidate] = field(default_factory=dict)
    comparisons: list[Comparison] = field(default_factory=list)
    better: dict[str, str] = field(default_factory=dict)
    """The better answer's id, by the comparison's."""


def read(path: str, *, guideline: str | None, round: int, seed: int) -> Gold:
    """A file of pairs (`prompt`, `chosen`, `rejected`, or any form of preferences that `data` takes)."""
    gold = Gold()
    for row in rows.read(DataFile(path=path), _no_hub):
        pair = formats.preference(row, formats.detect(row))
        if isinstance(pair, formats.Left):
            raise RecordError(f"{row.place}: {pair.reason}, expected two answers of which one is known to be better")
        prompt = Prompt(messages=pair.prompt, source=row.source, meta=pair.meta)
        good, bad = (
            Candidate(prompt_id=prompt.id, completion=side, model=WRITTEN_BY) for side in (pair.chosen, pair.rejected)
        )
        ids = seated((min(good.id, bad.id), max(good.id, bad.id)), prompt.id, round=round, seed=seed)
        one = Comparison(prompt_id=prompt.id, candidate_ids=ids, guideline=guideline, round=round)
        if gold.better.get(one.id, good.id) != good.id:
            raise RecordError(f"{row.place}: prefers the answer that another row rejects; one of them is wrong")
        gold.prompts[prompt.id] = prompt
        gold.candidates.update({good.id: good, bad.id: bad})
        if one.id not in gold.better:
            gold.comparisons.append(one)
        gold.better[one.id] = good.id
    if not gold.comparisons:
        raise RecordError(f"{path}: no pair in it; label.gold needs rows of prompt, chosen and rejected")
    return gold


def _no_hub(hub: str, revision: str, subset: str | None, split: str) -> Iterable[dict[str, object]]:
    raise RecordError(f"{hub}: label.gold is a local file")
