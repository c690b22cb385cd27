"""Votes weighed by who cast them: Dawid and Skene's model over pairs of answers, with ties as a class of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from align.preference.dawid_skene import Floats, Labels, classes, dawid_skene
from align.preference.votes import Tally

FIRST, SECOND, TIE = 0, 1, 2
TURN = (SECOND, FIRST, TIE)
"""What a class becomes when the pair is shown the other way round."""
PSEUDO = np.array([[3.0, 1.0, 0.5], [1.0, 3.0, 0.5], [1.0, 1.0, 1.0]])
"""Eleven pseudo-judgments of an annotator of whom nothing is known: right three times in four where a side is right."""


@dataclass(frozen=True)
class Weighed:
    """What the votes on one pair come to, everybody's errors considered."""

    first: float
    """The probability that the answer with the smaller id is the better one."""
    second: float
    tie: float

    @property
    def leader(self) -> int | None:
        """`FIRST` or `SECOND`; none where a tie is the most likely."""
        if self.first == self.second or self.tie > max(self.first, self.second):
            return None
        return FIRST if self.first > self.second else SECOND


@dataclass(frozen=True)
class Weights:
    """Everybody's errors, and what every pair comes to."""

    pairs: Mapping[tuple[str, str, str], Weighed]
    """By prompt and the two answers, ids in order."""
    confusion: Mapping[str, Floats]
    """By annotator: class × label, each of: the answer shown first, the one shown second, a tie."""
    n_shared: int
    """Pairs that two or more judged: all that can be learnt of anybody stands on these."""
    converged: bool


def weigh(tallies: Sequence[Tally]) -> Weights | None:
    """Errors learnt from the pairs that two or more have judged, applied to all; None where there is no such pair.

    Somebody who shares no pair with others has the errors of the pseudo-judgments alone: agreeing with nobody but
    oneself proves nothing.
    """
    names = sorted({judgment.annotator for one in tallies for vote in one.votes for judgment in vote.judgments})
    if not any(len(one.votes) >= 2 for one in tallies):
        return None
    place = {name: i for i, name in enumerate(names)}
    rows = [
        (item, place[judgment.annotator], label, turned, 1 / len(vote.judgments))
        for item, one in enumerate(tallies)
        for vote in one.votes
        for judgment, winner in zip(vote.judgments, vote.winners, strict=True)
        for turned in [_turned(one, judgment.candidate_ids)]
        for label in [TIE if winner is None else FIRST if (winner == one.first) != turned else SECOND]
    ]
    labels = Labels.of(*zip(*[row[:3] for row in rows], strict=True), turned=[r[3] for r in rows],
                       weight=[r[4] for r in rows])  # fmt: skip
    shared = np.array([len(one.votes) >= 2 for one in tallies])
    renumbered = np.cumsum(shared) - 1
    known = labels.only(shared[labels.item])
    fit = dawid_skene(
        Labels(renumbered[known.item], known.annotator, known.label, known.turned, known.weight),
        n_items=int(shared.sum()), n_annotators=len(names), pseudo=PSEUDO, turn=TURN,
    )  # fmt: skip
    seats = np.where(labels.turned[:, None], np.array(TURN)[None, :], np.arange(3)[None, :])
    posterior, _ = classes(labels, fit.prior, fit.confusion, n_items=len(tallies), seats=seats)
    return Weights(
        pairs={
            (one.prompt_id, one.first, one.second): Weighed(*(float(p) for p in row))
            for one, row in zip(tallies, posterior, strict=True)
        },
        confusion={name: fit.confusion[i] for name, i in place.items()},
        n_shared=int(shared.sum()),
        converged=fit.converged,
    )


def _turned(one: Tally, shown: Sequence[str]) -> bool:
    return shown.index(one.first) > shown.index(one.second)
