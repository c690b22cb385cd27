"""Whether those who disagree are of two minds: two camps that each agree within, and contradict each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from align.preference.annotators import Rate, wilson
from align.preference.suspects import at_least_p, at_most_p
from align.preference.votes import Tally

SURE = 0.001
FEWEST = 20
"""Pairs of votes, within camps and between them, from which anything is said."""


@dataclass(frozen=True)
class Camps:
    """Two groups of annotators, and how often two of one and two of different groups prefer the same answer."""

    one: tuple[str, ...]
    other: tuple[str, ...]
    within: Rate
    between: Rate


def camps(tallies: Sequence[Tally]) -> Camps | None:
    """Two camps of two or more each, where there are such; None otherwise.

    Noise alone never makes two people contradict each other more often than agree, so two camps are told only where
    that happens between them while within them the opposite does (exact tests at `SURE`). Who belongs where is read
    from the leading eigenvector of the table of agreements less disagreements, ties left out.
    """
    names = sorted({vote.annotator for one in tallies for vote in one.votes})
    place = {name: i for i, name in enumerate(names)}
    lead = np.zeros((len(names), len(names)))
    for one in tallies:
        decided = [vote for vote in one.votes if vote.winner is not None]
        for a, b in combinations(decided, 2):
            i, j = place[a.annotator], place[b.annotator]
            lead[i, j] += 1 if a.winner == b.winner else -1
            lead[j, i] = lead[i, j]
    if len(names) < 4:
        return None
    # rounded, so that equal tables give equal camps whatever the library below
    side = np.round(np.linalg.eigh(lead)[1][:, -1], 9)
    groups = [tuple(n for n in names if bool(side[place[n]] >= 0) is positive) for positive in (True, False)]
    one_side, other_side = sorted(groups, key=lambda group: (-len(group), group))
    if len(other_side) < 2:
        return None
    counts = {True: [0, 0], False: [0, 0]}
    for one in tallies:
        for a, b in combinations([vote for vote in one.votes if vote.winner is not None], 2):
            same_camp = (a.annotator in one_side) == (b.annotator in one_side)
            counts[same_camp][0] += a.winner == b.winner
            counts[same_camp][1] += 1
    within, between = (wilson(*counts[same]) for same in (True, False))
    if min(within.n, between.n) < FEWEST:
        return None
    low, high = at_most_p(between, 0.5), at_least_p(within, 0.5)
    if low is None or high is None or low > SURE or high > SURE:
        return None
    return Camps(one_side, other_side, within, between)
