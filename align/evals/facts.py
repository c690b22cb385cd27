"""Ability: does the model give the right ending of a statement more probability than every wrong one?"""

from __future__ import annotations

import math

from align.evals.evidence import NOT_FINITE, Evidence, Instrument, Metric, item_score
from align.ports import ScoreRequest
from align.records import ItemScore

NAME = "facts"


def score(evidence: Evidence) -> list[ItemScore]:
    """One row an item: 1 right, 0 wrong, 1/k where k endings tie for first and the right one is among them."""
    assert evidence.logp is not None
    items = [item for item in evidence.items if item.instrument == NAME and item.gold is not None]
    requests = [ScoreRequest(item.context, choice) for item in items for choice in item.choices]
    logps = iter([score.logp for score in evidence.logp(requests)])
    rows = []
    for item in items:
        of_choices = [next(logps) for _ in item.choices]
        assert item.gold is not None
        value = _right(of_choices, item.gold) if all(map(math.isfinite, of_choices)) else None
        rows.append(
            item_score(NAME, "accuracy", evidence.model, item.id, value, because=NOT_FINITE, cluster=item.cluster)
        )
    return rows


def _right(logps: list[float], gold: int) -> float:
    best = max(logps)
    # a model that cannot tell the endings apart must score as chance does, wherever the right one stands
    return 1 / logps.count(best) if logps[gold] == best else 0.0


INSTRUMENT = Instrument(
    name=NAME,
    measures="held-out ability: accuracy of multiple choice by log-probability",
    data="`items.jsonl` with `instrument: facts`; the testbed's are facts that nothing in training asked about",
    paper="multiple choice by summed log-probability, as in Brown et al. 2020 (arXiv:2005.14165), section 2.4",
    flaws=(
        "endings of unequal length are compared by their summed log-probability, which favours short ones",
        "says what the model ranks first, not what it would say when asked",
    ),
    needs=("items", "scorer"),
    metrics=(Metric("accuracy", "higher", "share", "right endings ranked first, ties shared"),),
    score=score,
    last_run="2026-11-21: the made world's own items, before and after tuning (quickstart.yaml)",
)
