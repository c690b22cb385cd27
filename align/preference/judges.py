"""How far a judge may stand in for people: its verdicts beside theirs on the same pairs of answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from align.preference.agreement import cohen_kappa, mean_cohen_kappa
from align.preference.annotators import TIE, Rate, sides, wilson
from align.preference.resampled import Interval, intervals
from align.preference.votes import Tally, tally
from align.records import Judgment

PEOPLE = ("human", "simulated")


@dataclass(frozen=True)
class Beside:
    """One judge against the majority of people."""

    judge: str
    n: int
    """Pairs that it and people judged, and of which more people say one thing than any other."""
    agree: Rate
    """Those of which it says what they say; a tie agrees with a tie alone."""
    kappa: float | None
    """Cohen's."""
    kappa_interval: Interval | None
    people_kappa: float | None
    """What people reach among themselves on pairs that two of them judged: more than this no judge can be asked for."""
    n_contradicts_itself: int
    """Of the n, those where it says one thing in one seat and another in the other."""


def beside(judgments: Sequence[Judgment]) -> list[Beside]:
    """Each judge by name; those that share no pair with people have n 0."""
    people = [one for one in judgments if one.provenance in PEOPLE]
    others = [one for one in judgments if one.provenance not in PEOPLE]
    said = {(one.prompt_id, one.first, one.second): one for one in tally(people)}
    among = mean_cohen_kappa([unit for unit in sides(people) if len(unit) >= 2])
    found = []
    for name in sorted({one.annotator for one in others}):
        pairs, torn = [], 0
        for one in tally(other for other in others if other.annotator == name):
            theirs = _majority(said.get((one.prompt_id, one.first, one.second)))
            if theirs is None:
                continue
            (vote,) = one.votes
            pairs.append((_side(vote.winner, one), TIE if theirs == TIE else _side(theirs, one)))
            torn += len(set(vote.winners)) > 1
        agree = wilson(sum(a == b for a, b in pairs), len(pairs))
        limits = intervals([{"judge": a, "people": b} for a, b in pairs]).get("cohen_kappa")
        found.append(Beside(name, len(pairs), agree, cohen_kappa(pairs), limits, among, torn))
    return found


def told(judgments: Sequence[Judgment]) -> list[dict[str, object]]:
    """As JSON."""
    return [asdict(one) for one in beside(judgments)]


def _side(winner: str | None, one: Tally) -> str:
    return TIE if winner is None else "first" if winner == one.first else "second"


def _majority(one: Tally | None) -> str | None:
    """What more people say than say anything else."""
    if one is None:
        return None
    counts = {name: one.wins(name) for name in (one.first, one.second)}
    counts[TIE] = sum(vote.winner is None for vote in one.votes)
    ranked = sorted(counts.items(), key=lambda item: -item[1])
    return None if ranked[0][1] == ranked[1][1] else ranked[0][0]
