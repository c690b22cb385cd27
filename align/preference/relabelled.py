"""How often a label is wrong: pairs judged once more, blind, and what two labels of one say of the noise in each."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from align.preference.annotators import Rate, wilson
from align.preference.asking import ranked
from align.preference.votes import Tally

PRIOR_PAIRS = 20
"""A stratum's own rate counts as much as the whole's once so many of its pairs were judged again."""
MOST_NOISE = 0.49
"""At one half a label says nothing, and a loss that corrects for it divides by nothing."""
Leader = Callable[[Tally], str | None]


@dataclass(frozen=True)
class Noise:
    """What the second labels say of the first."""

    n: int
    """Pairs with a winner both times."""
    n_tied: int
    """Pairs that were judged again and have no winner the second time."""
    disagree: Rate
    epsilon: float
    """How likely one label is wrong."""
    low: float
    high: float


def chosen(
    tallies: Sequence[Tally], *, share: float, at_least: int, source: Mapping[str, str], seed: int
) -> list[Tally]:
    """min(n, max(`at_least`, `share` of n)) of the pairs, spread evenly over sources, margins and annotators.

    Pairs are put in order by source, margin and who judged them, and every k-th is taken from a start that a hash
    gives: each pair is as likely as any other, so the rates of the sample are those of all.
    """
    n = min(len(tallies), max(at_least, math.ceil(share * len(tallies))))
    if not n:
        return []
    ordered = sorted(
        tallies,
        key=lambda one: (
            source.get(one.prompt_id, ""),
            stratum(one),
            sorted(vote.annotator for vote in one.votes),
            ranked("again", seed, one.prompt_id, one.first, one.second),
        ),
    )
    start = int.from_bytes(ranked("start", seed, len(ordered))[:6], "big") / 2**48
    step = len(ordered) / n
    return [ordered[min(len(ordered) - 1, int((start + i) * step))] for i in range(n)]


def stratum(one: Tally) -> str:
    """`unanimous` or `split`, or `alone` where one person judged: what is known beforehand of how sure a label is."""
    if len(one.votes) < 2:
        return "alone"
    return "unanimous" if one.leader is not None and one.wins(one.leader) == len(one.votes) else "split"


def noise(first: Iterable[tuple[Tally, str]], second: Mapping[tuple[str, str, str], str | None]) -> Noise | None:
    """From the first labels of the pairs and the second ones by pair; None where no pair has a winner both times."""
    both = [(a, b) for one, a in first if (b := second.get((one.prompt_id, one.first, one.second), "")) != ""]
    judged = [(a, b) for a, b in both if b is not None]
    if not judged:
        return None
    rate = wilson(sum(a != b for a, b in judged), len(judged))
    assert rate.share is not None
    assert rate.low is not None
    assert rate.high is not None
    return Noise(len(judged), len(both) - len(judged), rate, *(flipped(d) for d in (rate.share, rate.low, rate.high)))


def by_stratum(
    first: Sequence[tuple[Tally, str]], second: Mapping[tuple[str, str, str], str | None]
) -> dict[str, Noise]:
    """The same within each stratum that has any."""
    groups: dict[str, list[tuple[Tally, str]]] = defaultdict(list)
    for one, leader in first:
        groups[stratum(one)].append((one, leader))
    return {name: found for name, group in sorted(groups.items()) if (found := noise(group, second)) is not None}


def epsilons(whole: Noise, strata: Mapping[str, Noise]) -> Callable[[Tally], float]:
    """How likely a pair's label is wrong: its stratum's rate of disagreement, drawn to the whole's where it has few."""

    def of(one: Tally) -> float:
        own = strata.get(stratum(one))
        d = whole.disagree.share or 0.0
        if own is not None:
            d = (own.disagree.k + PRIOR_PAIRS * d) / (own.n + PRIOR_PAIRS)
        return min(MOST_NOISE, flipped(d))

    return of


def flipped(disagree: float) -> float:
    """The noise e of one label, from how often two labels of one pair differ: d = 2e(1 − e).

    It takes the two for equally noisy and their errors for independent; where some pairs are harder than others the
    errors come together, and e is a lower bound.
    """
    return (1 - math.sqrt(max(0.0, 1 - 2 * disagree))) / 2
