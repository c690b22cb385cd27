"""What was said of two answers: every judgment of them, however they were shown, one vote an annotator."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from align.records import Flag, Judgment, Ordering


@dataclass(frozen=True)
class Vote:
    """What one annotator says of two answers, in one judgment or, where they were shown again, in several."""

    judgments: tuple[Judgment, ...]
    winners: tuple[str | None, ...]
    """What each judgment says: a candidate's id, or none for a tie."""
    both_bad: bool
    """More than half of the judgments call both unacceptable."""

    @property
    def annotator(self) -> str:
        return self.judgments[0].annotator

    @property
    def said(self) -> Iterator[tuple[Judgment, str | None]]:
        """Each judgment and its winner."""
        return zip(self.judgments, self.winners, strict=True)

    @property
    def winner(self) -> str | None:
        """What all of them say; none for a tie, and for somebody who says one thing and then another.

        So a judge that is asked in both seats wins nothing for an answer by liking a seat (Zheng et al. 2023,
        arXiv:2306.05685, section 3.4).
        """
        return self.winners[0] if len(set(self.winners)) == 1 else None


@dataclass(frozen=True)
class Tally:
    """All that was said of two answers to one prompt, however they were shown."""

    prompt_id: str
    first: str
    """The smaller of the two ids."""
    second: str
    votes: tuple[Vote, ...]

    def other(self, candidate_id: str) -> str:
        return self.second if candidate_id == self.first else self.first

    def wins(self, candidate_id: str) -> int:
        return sum(vote.winner == candidate_id for vote in self.votes)

    @property
    def leader(self) -> str | None:
        """The candidate with more votes; none where they are equal."""
        ahead = self.wins(self.first) - self.wins(self.second)
        return None if ahead == 0 else self.first if ahead > 0 else self.second

    @property
    def both_bad(self) -> bool:
        """More than half of the judgments call both answers unacceptable."""
        return 2 * sum(vote.both_bad for vote in self.votes) > len(self.votes)


def tally(judgments: Iterable[Judgment]) -> list[Tally]:
    """The votes on each pair of answers, each pair once whatever the order it was shown in; one vote an annotator."""
    said: dict[tuple[str, str, str], dict[str, list[Said]]] = defaultdict(lambda: defaultdict(list))
    for judgment in judgments:
        for first, second, one in said_of(judgment):
            said[judgment.prompt_id, first, second][judgment.annotator].append(one)
    return [
        Tally(prompt_id, first, second, tuple(sorted(map(_vote, found.values()), key=lambda v: v.judgments[0].id)))
        for (prompt_id, first, second), found in sorted(said.items())
    ]


@dataclass(frozen=True)
class Said:
    """What one judgment says of two of the answers it saw."""

    judgment: Judgment
    winner: str | None
    """A candidate's id; none for a tie."""
    both_bad: bool


def _vote(said: Sequence[Said]) -> Vote:
    ordered = sorted(said, key=lambda one: one.judgment.id)
    return Vote(
        tuple(one.judgment for one in ordered),
        tuple(one.winner for one in ordered),
        2 * sum(one.both_bad for one in ordered) > len(ordered),
    )


def said_of(judgment: Judgment) -> Iterator[tuple[str, str, Said]]:
    """What a judgment says of each pair of the answers that were shown, ids in order."""
    verdict = judgment.verdict
    if isinstance(verdict, Flag):
        return
    if isinstance(verdict, Ordering):
        worth = {name: -float(place) for place, group in enumerate(verdict.groups) for name in group}
    else:
        worth = dict(verdict.scores)
    bad = isinstance(verdict, Ordering) and verdict.both_bad
    for first, second in combinations(sorted(worth), 2):
        lead = worth[first] - worth[second]
        yield first, second, Said(judgment, None if lead == 0 else first if lead > 0 else second, bad)
