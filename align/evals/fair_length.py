"""Is a win more than length? The rate where both answers are as long, and when a gate must have it.

The rule: it agrees in sign with the raw rate; and where the new answers are more than a quarter longer, its whole
interval must clear the bound, for then length may be all that was learnt. Where the lengths do not overlap there is no
such rate, and the line is inconclusive exactly where it must be had.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from align.evals import summary
from align.evals.evidence import Metric
from align.evals.verdicts import Speaker, Word, negated, shifted
from align.records import GateVerdict, ItemScore

METRIC = "at_equal_length"
LONGER = 0.25
"""A share of the other model's mean length: growth by which the rate at equal length becomes a must."""


def growth(rows: Sequence[ItemScore]) -> float:
    """How much longer the new answers are on average, as a share of the others' length; `nan` where that is 0."""
    theirs = sum(float(str(row.meta["their_words"])) for row in rows)
    return sum(float(str(row.meta["longer"])) for row in rows) / theirs if theirs else math.nan


def judged(say: Speaker, metric: Metric, rows: Sequence[ItemScore], *, bound: float, alpha: float) -> GateVerdict:
    """The line's verdict on rows of a win rate at equal length."""
    if not rows:
        return say("error", "no answer could be held against another's length")
    longer = growth(rows)
    told = f"answers are {longer:+.0%} longer" if math.isfinite(longer) else "the other model's answers are empty"
    must = not longer <= LONGER
    found = summary.estimate(metric, rows, level=1 - 2 * alpha)
    if isinstance(found, str):
        if must:
            return say("inconclusive", f"{told}, so the rate at equal length must be had: {found}")
        return say("pass", f"{told}, so the raw rate stands alone; there is none at equal length: {found}")
    shown = f"{told}; at equal length {found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"
    if must:
        distance = negated(shifted(found, -bound))
        return say.judged(distance, low=-math.inf, high=0.0, alpha=alpha, shown=f"{shown}, at least {bound:g}")
    if found.value > bound:
        return say("pass", f"{shown}, on the same side of {bound:g} as it must", found)
    word: Word = "fail" if found.high < bound else "inconclusive"
    return say(word, f"{shown}, on the other side of {bound:g}: the win may be length alone", found)
