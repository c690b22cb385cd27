"""What each annotator's judgments look like: with the others or against them, by side shown, by length."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from align.preference.agreement import Agreement, agreement
from align.preference.votes import Tally, said_of, tally
from align.records import Judgment, Provenance

TIE = "tie"
SURE = 0.001
"""A side preference that chance would make more often than this is not spoken of."""
ENOUGH = 20
"""Pairs to be compared on before disagreement is spoken of."""
AGREEING = 0.65
"""Whose interval lies below this share of agreement with the others is spoken of."""


@dataclass(frozen=True)
class Rate:
    """A share and the interval that its n leaves open; all None where n is 0."""

    n: int
    share: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Record:
    """One annotator."""

    name: str
    provenance: Provenance
    n_judgments: int
    n_ties: int
    n_both_bad: int
    with_others: Rate
    """Of the pairs on which the others have a majority: those on which this one is with it."""
    first_shown: Rate
    """Of the pairs with a winner: those where it was the answer shown first. Half, if the side means nothing."""
    first_shown_p: float | None
    """Two-sided exact binomial test of one half."""
    longer: Rate
    """Of the pairs with a winner and unequal lengths: those won by the longer answer."""
    seconds: float | None
    """Median time on a judgment, where it is known."""


def annotators(judgments: Sequence[Judgment], *, lengths: Mapping[str, int] | None = None) -> list[Record]:
    """One row for each annotator, by name. `lengths` are words by candidate id."""
    judgments = list(judgments)
    tallies = {(one.prompt_id, one.first, one.second): one for one in tally(judgments)}
    by_name: dict[str, list[Judgment]] = defaultdict(list)
    for judgment in judgments:
        by_name[judgment.annotator].append(judgment)
    return [_record(name, own, tallies, lengths or {}) for name, own in sorted(by_name.items())]


def faults(record: Record) -> list[str]:
    """What looks wrong with an annotator: reasons to look closer, and no verdict. Few judgments prove nothing."""
    found = []
    first = record.first_shown
    if record.first_shown_p is not None and record.first_shown_p < SURE and first.share is not None:
        found.append(
            f"prefers the answer shown {'first' if first.share > 0.5 else 'second'} ({first.share:.0%} of {first.n})"
        )
    others = record.with_others
    if others.n >= ENOUGH and others.share is not None and others.high is not None and others.high < AGREEING:
        found.append(f"disagrees with the others ({others.share:.0%} of {others.n} pairs with them)")
    return found


def agreed(judgments: Iterable[Judgment]) -> Agreement:
    """How far all annotators agree: each pair of answers is a unit, its labels are one side, the other, or a tie.

    Which answer is which side goes by their ids, which are hashes: chance agreement is that of a fair coin and ties.
    """
    return agreement(
        [
            {v.annotator: TIE if v.winner is None else v.winner == one.first for v in one.votes}
            for one in tally(judgments)
        ]
    )


def wilson(k: int, n: int, *, z: float = 1.959964) -> Rate:
    """The share k/n with its score interval (Wilson 1927, eq. for the roots; 95 % unless `z` says otherwise)."""
    if n == 0:
        return Rate(0, None, None, None)
    p, z2 = k / n, z * z
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = z / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n))
    return Rate(n, p, max(0.0, centre - half), min(1.0, centre + half))


def binomial_p(k: int, n: int) -> float | None:
    """Two-sided exact test of k successes in n fair throws; None for no throws."""
    if n == 0:
        return None
    tail = sum(math.comb(n, i) for i in range(max(k, n - k), n + 1))
    return float(min(Fraction(1), Fraction(2 * tail, 2**n)))


def _record(
    name: str, own: Sequence[Judgment], tallies: Mapping[tuple[str, str, str], Tally], lengths: Mapping[str, int]
) -> Record:
    agree = n_agree = first = n_side = longer = n_longer = ties = bad = 0
    for judgment in own:
        for a, b, vote in said_of(judgment):
            bad += vote.both_bad
            majority = _majority_of_others(tallies[judgment.prompt_id, a, b], name)
            if majority is not None:
                n_agree += 1
                agree += (vote.winner or TIE) == majority
            if vote.winner is None:
                ties += 1
                continue
            shown = judgment.candidate_ids
            n_side += 1
            first += vote.winner == min(a, b, key=shown.index)
            if a in lengths and b in lengths and lengths[a] != lengths[b]:
                n_longer += 1
                longer += vote.winner == max(a, b, key=lambda c: lengths[c])
    times = sorted(judgment.seconds for judgment in own if judgment.seconds is not None)
    return Record(
        name=name,
        provenance=own[0].provenance,
        n_judgments=len(own),
        n_ties=ties,
        n_both_bad=bad,
        with_others=wilson(agree, n_agree),
        first_shown=wilson(first, n_side),
        first_shown_p=binomial_p(first, n_side),
        longer=wilson(longer, n_longer),
        seconds=times[len(times) // 2] if times else None,
    )


def _majority_of_others(one: Tally, name: str) -> str | None:
    """What more of the others say than say anything else; None where there is no such thing."""
    counts: dict[str, int] = defaultdict(int)
    for vote in one.votes:
        if vote.annotator != name:
            counts[vote.winner or TIE] += 1
    ranked = sorted(counts.items(), key=lambda item: -item[1])
    if not ranked or (len(ranked) > 1 and ranked[0][1] == ranked[1][1]):
        return None
    return ranked[0][0]
