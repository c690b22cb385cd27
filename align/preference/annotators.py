"""What each annotator's judgments look like: beside the others', by side, by length, by time, on known answers."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from itertools import pairwise

from align.preference.agreement import Agreement, Unit, agreement
from align.preference.votes import Tally, Vote, said_of, tally
from align.records import Judgment, Provenance

TIE = "tie"
WORDS_PER_S = 12.0
"""Nobody reads so fast: three times the 238 words a minute of silent reading (Brysbaert 2019)."""
LEAST_S = 1.0
"""Nobody reads two answers and decides in less."""
LONGEST_GAP_S = 1800.0
"""A longer pause between two judgments is a break and no reading."""
FEWEST_A_SIDE = 5


@dataclass(frozen=True)
class Rate:
    """A share and the interval that its n leaves open; all None where n is 0."""

    n: int
    share: float | None
    low: float | None
    high: float | None

    @property
    def k(self) -> int:
        """How many of the n."""
        return round((self.share or 0.0) * self.n)


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
    """Of the judgments with a winner: those where it was the answer shown first. Half, if the side means nothing."""
    first_shown_p: float | None
    """Two-sided exact binomial test of one half."""
    longer: Rate
    """Of the judgments with a winner and unequal lengths: those won by the longer answer."""
    longer_than_others: Rate
    """Of the pairs of unequal length with a winner of theirs and another one of the others': those where theirs is the
    longer answer. Half, if length means no more to them than to the others."""
    tells: Rate
    """How much more often they say that the first answer is better where the others do than where the others say the
    second is: 1 for saying what they say, 0 for answers that do not depend on the answers. The signed root of the
    spammer score of Raykar & Yu 2012; `n` are the pairs with a winner of the others'."""
    gold: Rate
    """Of the pairs whose better answer is known: those on which this one found it."""
    consistent: Rate
    """Of the pairs shown to them twice, sides swapped: those on which they said the same."""
    hasty: Rate
    """Of the judgments whose time is known: those made faster than anybody reads."""
    seconds: float | None
    """Median time on a judgment, where it is known."""


def annotators(
    judgments: Sequence[Judgment],
    *,
    lengths: Mapping[str, int] | None = None,
    gold: Mapping[str, str] | None = None,
    of_gold: Sequence[Judgment] = (),
) -> list[Record]:
    """One row for each annotator, by name.

    `lengths` are words by candidate id. `gold` are the better answers by comparison id, and `of_gold` what was said of
    those, which counts nowhere else but in the time spent.
    """
    tallies = tally(judgments)
    by_name: dict[str, list[Judgment]] = defaultdict(list)
    known: dict[str, list[Judgment]] = defaultdict(list)
    for judgment in judgments:
        by_name[judgment.annotator].append(judgment)
    for judgment in of_gold:
        known[judgment.annotator].append(judgment)
    votes: dict[str, list[tuple[Tally, Vote]]] = defaultdict(list)
    for one in tallies:
        for vote in one.votes:
            votes[vote.annotator].append((one, vote))
    names = sorted({*by_name, *known})
    return [_record(n, by_name[n], votes[n], known[n], lengths or {}, gold or {}) for n in names]


def agreed(judgments: Iterable[Judgment]) -> Agreement:
    """How far all annotators agree: each pair of answers is a unit, its labels are one side, the other, or a tie."""
    return agreement(sides(judgments))


def sides(judgments: Iterable[Judgment]) -> list[Unit]:
    """What each annotator says of each pair of answers: one side, the other, or a tie.

    Which answer is which side goes by their ids, which are hashes: chance agreement is that of a fair coin and ties.
    """
    return [
        {vote.annotator: TIE if vote.winner is None else vote.winner == one.first for vote in one.votes}
        for one in tally(judgments)
    ]


def strengths(judgments: Iterable[Judgment]) -> list[Unit]:
    """The same with how much better: −3 (the second far) to 3 (the first far), 0 for a tie; without what has none."""
    found: list[Unit] = []
    for one in tally(judgments):
        unit = {}
        for vote in one.votes:
            said = [judgment.strength for judgment in vote.judgments if judgment.strength is not None]
            if vote.winner is None:
                unit[vote.annotator] = 0.0
            elif said:
                unit[vote.annotator] = sum(said) / len(said) * (1 if vote.winner == one.first else -1)
        found.append(unit)
    return found


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
    name: str,
    own: Sequence[Judgment],
    votes: Sequence[tuple[Tally, Vote]],
    known: Sequence[Judgment],
    lengths: Mapping[str, int],
    gold: Mapping[str, str],
) -> Record:
    first = n_side = longer = n_longer = bad = ties = 0
    for judgment in own:
        for a, b, said in said_of(judgment):
            bad += said.both_bad
            ties += said.winner is None
            if said.winner is None:
                continue
            n_side += 1
            first += said.winner == min(a, b, key=judgment.candidate_ids.index)
            if lengths.get(a, 0) != lengths.get(b, 0):
                n_longer += 1
                longer += said.winner == max(a, b, key=lambda c: lengths.get(c, 0))
    agree = n_agree = apart = n_apart = 0
    leaning: tuple[list[float], list[float]] = ([], [])
    for one, vote in votes:
        majority = majority_of_others(one, name)
        if majority is None:
            continue
        n_agree += 1
        agree += (vote.winner or TIE) == majority
        if majority == TIE:
            continue
        if vote.winner not in (None, majority) and lengths.get(one.first, 0) != lengths.get(one.second, 0):
            n_apart += 1
            apart += vote.winner == max((one.first, one.second), key=lambda c: lengths.get(c, 0))
        left = min((one.first, one.second), key=vote.judgments[0].candidate_ids.index)
        leaning[majority != left].append(0.5 if vote.winner is None else float(vote.winner == left))
    twice = [vote for _, vote in votes if _both_seats(vote)]
    found = [j for j in known if _picked(j) is not None]
    times = _seconds([*own, *known])
    return Record(
        name=name,
        provenance=(own or known)[0].provenance,
        n_judgments=len(own),
        n_ties=ties,
        n_both_bad=bad,
        with_others=wilson(agree, n_agree),
        first_shown=wilson(first, n_side),
        first_shown_p=binomial_p(first, n_side),
        longer=wilson(longer, n_longer),
        longer_than_others=wilson(apart, n_apart),
        tells=_difference(*leaning),
        gold=wilson(sum(_picked(j) == gold.get(j.comparison_id) for j in found), len(found)),
        consistent=wilson(sum(len(set(vote.winners)) == 1 for vote in twice), len(twice)),
        hasty=wilson(
            sum(s < max(LEAST_S, sum(lengths.get(c, 0) for c in j.candidate_ids) / WORDS_PER_S) for j, s in times),
            len(times),
        ),
        seconds=sorted(s for _, s in times)[len(times) // 2] if times else None,
    )


def majority_of_others(one: Tally, name: str) -> str | None:
    """What more of the others say than say anything else: an answer's id or `TIE`; None where there is none."""
    counts: dict[str, int] = defaultdict(int)
    for vote in one.votes:
        if vote.annotator != name:
            counts[vote.winner or TIE] += 1
    ranked = sorted(counts.items(), key=lambda item: -item[1])
    if not ranked or (len(ranked) > 1 and ranked[0][1] == ranked[1][1]):
        return None
    return ranked[0][0]


def _difference(high: Sequence[float], low: Sequence[float]) -> Rate:
    """The difference of two means with its 95 % interval by Welch's error; None with too few on either side."""
    n = len(high) + len(low)
    if min(len(high), len(low)) < FEWEST_A_SIDE:
        return Rate(n, None, None, None)
    means = [sum(values) / len(values) for values in (high, low)]
    # one observation is added at a half, so that answers that never vary are not called certain
    errors = [
        (sum((v - m) ** 2 for v in values) + 0.25) / len(values) ** 2
        for values, m in zip((high, low), means, strict=True)
    ]
    gap, half = means[0] - means[1], 1.959964 * math.sqrt(sum(errors))
    return Rate(n, gap, max(-1.0, gap - half), min(1.0, gap + half))


def _both_seats(vote: Vote) -> bool:
    return len({judgment.candidate_ids for judgment in vote.judgments}) > 1


def _picked(judgment: Judgment) -> str | None:
    """The answer that a judgment of two puts first, `TIE` where it puts none first; None where it orders nothing."""
    return next((said.winner or TIE for _, _, said in said_of(judgment)), None)


def _seconds(judgments: Sequence[Judgment]) -> list[tuple[Judgment, float]]:
    """Time spent on each judgment: as it says itself, or since the same annotator's last one."""
    found = [(one, one.seconds) for one in judgments if one.seconds is not None]
    if found:
        return found
    stamped = sorted((at, one.id, one) for one in judgments if (at := _at(one.created_at)) is not None)
    gaps = [(b[2], b[0] - a[0]) for a, b in pairwise(stamped)]
    return [(one, gap) for one, gap in gaps if gap <= LONGEST_GAP_S]


def _at(stamp: str | None) -> float | None:
    try:
        return datetime.fromisoformat(stamp).timestamp() if stamp else None
    except ValueError:
        return None
