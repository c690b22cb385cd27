"""Whose manner is suspect: each monitor's rule, and what keeps many monitors of many people from crying wolf.

Every rule is a test with a p-value. All tests of all annotators of a run are taken together (Holm 1979), so that a run
in which nobody has a fault names anyone in at most `FALSE_ALARMS` of all runs. A fault must be large enough to matter
besides. What is found is a reason to look closer, and no verdict.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

from align.preference.annotators import Rate, Record, binomial_p

FALSE_ALARMS = 0.05
SIDE = 0.1
"""A preference for a side that is smaller than this, either way of one half, is not spoken of."""
AGREEING = 0.65
"""Whoever agrees with the others on no smaller a share of pairs than this is not spoken of."""
BELOW_OTHERS = 0.05
"""Nor is whoever agrees with the others almost as often as the others do among themselves."""
FINDING_GOLD = 0.8
CONSISTENT = 0.75
TELLING = 0.2
"""Answers that depend on the answers shown by less than this are those of somebody who hardly looks."""
HASTY = 0.25
"""Share of judgments faster than anybody reads that is still put down to a bad clock."""
LENGTH = 0.15
"""Taking the longer answer where the others take the shorter, either way of one half, by less is not spoken of."""

RULES = {
    "side": f"the answer shown first wins more or less often than half, by {SIDE:.0%} or more (two-sided exact test)",
    "others": f"with the majority of the others on less than {AGREEING:.0%} of pairs, and on {BELOW_OTHERS:.0%} fewer "
    "than they are among themselves (one-sided exact test)",
    "tells": f"answers depend on the answers shown by less than {TELLING:g} (one-sided normal test)",
    "length": f"where they differ from the others, the longer answer is theirs more or less often than half, by "
    f"{LENGTH:.0%} or more (two-sided exact test)",
    "gold": f"finds the known better answer in less than {FINDING_GOLD:.0%} (one-sided exact test)",
    "consistent": f"says the same of a pair shown again, swapped, in less than {CONSISTENT:.0%} (one-sided exact test)",
    "pace": f"more than {HASTY:.0%} of judgments are faster than anybody reads (one-sided exact test)",
}
"""What each monitor names somebody for."""


@dataclass(frozen=True)
class Fault:
    """One thing about one annotator."""

    monitor: str
    p: float
    """Before the others are considered."""
    says: str


def suspects(records: Sequence[Record], *, false_alarms: float = FALSE_ALARMS) -> dict[str, list[Fault]]:
    """The faults of each annotator who has any, all tests of all of them taken together."""
    asked = [(record.name, fault, large) for record in records for fault, large in _tests(record, records)]
    adjusted = holm([fault.p for _, fault, _ in asked])
    found: dict[str, list[Fault]] = {}
    for (name, fault, large), p in zip(asked, adjusted, strict=True):
        if large and p < false_alarms:
            found.setdefault(name, []).append(fault)
    return found


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted so that any false alarm among them is as rare as the level says (Holm 1979)."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, highest = [0.0] * len(p_values), 0.0
    for place, i in enumerate(order):
        highest = max(highest, min(1.0, p_values[i] * (len(p_values) - place)))
        adjusted[i] = highest
    return adjusted


def _tests(one: Record, everyone: Sequence[Record]) -> list[tuple[Fault, bool]]:
    """Each test that has something to stand on, and whether what it finds is large enough to matter."""
    found: list[tuple[Fault, bool]] = []

    def ask(monitor: str, p: float | None, says: str, *, large: bool) -> None:
        if p is not None:
            found.append((Fault(monitor, p, says), large))

    first = one.first_shown
    if first.share is not None:
        side = "first" if first.share > 0.5 else "second"
        large = abs(first.share - 0.5) >= SIDE
        ask("side", one.first_shown_p, f"prefers the answer shown {side} ({_of(first)})", large=large)
    others = one.with_others
    bound = min(AGREEING, (_peers(one, everyone) or 1.0) - BELOW_OTHERS)
    says = f"disagrees with the others ({_of(others)} pairs with them)"
    ask("others", at_most_p(others, bound), says, large=others.share is not None and others.share < bound)
    tells = one.tells
    if tells.share is not None and tells.high is not None:
        error = max((tells.high - tells.share) / 1.959964, 1e-9)
        p = NormalDist().cdf((tells.share - TELLING) / error)
        says = f"says much the same whatever is shown ({tells.share:.2f} of {tells.n} pairs, where 1 is the others')"
        ask("tells", p, says, large=tells.share < TELLING)
    apart = one.longer_than_others
    if apart.share is not None:
        which = "longer" if apart.share > 0.5 else "shorter"
        says = f"takes the {which} answer where the others take the other ({_of(apart)})"
        ask("length", binomial_p(apart.k, apart.n), says, large=abs(apart.share - 0.5) >= LENGTH)
    gold, same = one.gold, one.consistent
    says = f"misses known answers (finds {_of(gold)})"
    ask("gold", at_most_p(gold, FINDING_GOLD), says, large=gold.share is not None and gold.share < FINDING_GOLD)
    says = f"contradicts itself on pairs shown again (the same on {_of(same)})"
    ask("consistent", at_most_p(same, CONSISTENT), says, large=same.share is not None and same.share < CONSISTENT)
    hasty = one.hasty
    if one.provenance == "human":  # a script or a model is faster than anybody reads, and that is no fault of its own
        says = f"is faster than anybody reads ({_of(hasty)} judgments)"
        ask("pace", at_least_p(hasty, HASTY), says, large=hasty.share is not None and hasty.share > HASTY)
    return found


def at_most_p(rate: Rate, bound: float) -> float | None:
    """How likely so few or fewer of n are, if the share were `bound`; None for n 0."""
    return _tail(range(rate.k + 1), rate.n, bound) if rate.n else None


def at_least_p(rate: Rate, bound: float) -> float | None:
    """How likely so many or more of n are, if the share were `bound`; None for n 0."""
    return _tail(range(rate.k, rate.n + 1), rate.n, bound) if rate.n else None


def _tail(values: range, n: int, p: float) -> float:
    whole = math.lgamma(n + 1)
    logs = (
        whole - math.lgamma(i + 1) - math.lgamma(n - i + 1) + i * math.log(p) + (n - i) * math.log1p(-p) for i in values
    )
    return min(1.0, math.fsum(map(math.exp, logs)))


def _peers(one: Record, everyone: Sequence[Record]) -> float | None:
    """The share of pairs on which the others agree with the others."""
    rates = [other.with_others for other in everyone if other.name != one.name]
    n = sum(rate.n for rate in rates)
    return sum(rate.k for rate in rates) / n if n else None


def _of(rate: Rate) -> str:
    return f"{rate.share:.0%} of {rate.n}" if rate.share is not None else "none"
