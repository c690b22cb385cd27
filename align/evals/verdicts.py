"""What an interval says of a bound, in a word and a sentence."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from align.evals import statistics
from align.evals.statistics import Estimate
from align.records import GateVerdict

Word = Literal["pass", "fail", "inconclusive", "error"]
POWER = 0.8


@dataclass(frozen=True)
class Speaker:
    """Writes the verdicts of one line."""

    metric: str
    model: str
    against: str | None
    margin: float

    def __call__(self, verdict: Word, why: str, found: Estimate | None = None) -> GateVerdict:
        instrument, name = self.metric.split(".", 1)
        finite = found is not None and math.isfinite(found.low) and math.isfinite(found.high)
        return GateVerdict(
            instrument=instrument,
            metric=name,
            model=self.model,
            against=self.against,
            margin=self.margin,
            difference=found.value if found else None,
            low=found.low if found and finite else None,
            high=found.high if found and finite else None,
            n=found.n if found else 0,
            verdict=verdict,
            why=why,
        )

    def judged(
        self, found: Estimate, *, low: float, high: float, alpha: float, shown: str | None = None
    ) -> GateVerdict:
        """Pass inside (low, high), fail outside, inconclusive across an edge."""
        text = shown or f"worse by {found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}], at most {self.margin:g}"
        if low < found.low and found.high < high:
            return self("pass", text, found)
        if found.low > high or found.high < low:
            return self("fail", text, found)
        return self("inconclusive", f"{text}; {_more(found, low, high, alpha)}", found)


def _more(found: Estimate, low: float, high: float, alpha: float) -> str:
    """How many items would decide, if the difference is what it seems to be."""
    edge = high if abs(found.value - high) <= abs(found.value - low) else low
    gap, half = abs(found.value - edge), max(found.high - found.value, found.value - found.low)
    if not math.isfinite(half):
        return "too few items to tell how they spread"
    if gap < 1e-3 * half:
        return "the estimate lies on the bound: more items may never decide"
    z = statistics.z_quantile(1 - 2 * alpha)
    needed = math.ceil(found.n * ((z + statistics.z_quantile(2 * POWER - 1)) / z * half / gap) ** 2)
    likely = "pass" if low < found.value < high else "fail"
    return f"{found.n} items cannot tell; about {max(needed, found.n + 1):,} would, and the estimate leans to {likely}"


def negated(found: Estimate) -> Estimate:
    """The same, seen from the other side."""
    # 0 − x, not −x: a difference of nothing is written 0, not −0
    return replace(found, value=0 - found.value, low=0 - found.high, high=0 - found.low)


def shifted(found: Estimate, by: float) -> Estimate:
    """The same, so much further up."""
    return replace(found, value=found.value + by, low=found.low + by, high=found.high + by)
