"""A prompt with all of its answers and everything that was said of them: what a reward model learns from at once.

All comparisons of one prompt's answers are one element of a batch: each answer is read once, and a prompt with many
pairs weighs no more than one with few (Ouyang et al. 2022, section 3.5, arXiv:2203.02155).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations

from align.records import Message, Preference, Ranking

Turns = tuple[Message, ...]


@dataclass(frozen=True)
class Pair:
    """What is known of two answers of a group, by their places in it."""

    first: int
    second: int
    label: float
    """The probability that the first is better; 0.5 is a tie."""
    strength: float = 0.0
    """Mean grade, 1 to 3, of the judges who preferred the first; 0 where none was given."""
    confidence: float = 1.0


@dataclass(frozen=True)
class Order:
    """A ranking of some of a group's answers, in tie groups of places, best first."""

    groups: tuple[tuple[int, ...], ...]
    confidence: float = 1.0

    def pairs(self) -> list[Pair]:
        """Its K(K-1)/2 pairs, the better answer first; tied answers have label 0.5."""
        rank = {i: place for place, group in enumerate(self.groups) for i in group}
        found = []
        for a, b in combinations(sorted(rank, key=lambda i: (rank[i], i)), 2):
            found.append(Pair(a, b, 0.5 if rank[a] == rank[b] else 1.0, confidence=self.confidence))
        return found


@dataclass
class Group:
    """One prompt, its distinct answers, and what was said of them."""

    prompt: Turns
    answers: list[Turns]
    pairs: list[Pair]
    orders: list[Order]

    def place(self, answer: Turns) -> int:
        """The place of an answer, which is put in where it is new."""
        if answer not in self.answers:
            self.answers.append(answer)
        return self.answers.index(answer)


def grouped(preferences: Iterable[Preference], rankings: Iterable[Ranking] = ()) -> list[Group]:
    """One group a prompt, in the order in which prompts are first met."""
    groups: dict[Turns, Group] = {}
    for one in preferences:
        group = groups.setdefault(one.prompt, Group(one.prompt, [], [], []))
        first, second = group.place(one.chosen), group.place(one.rejected)
        group.pairs.append(Pair(first, second, one.label, one.margin or 0.0, one.confidence))
    for ranking in rankings:
        group = groups.setdefault(ranking.prompt, Group(ranking.prompt, [], [], []))
        places = [group.place(answer) for answer in ranking.answers]
        group.orders.append(
            Order(_each_once([[places[i] for i in tied] for tied in ranking.groups]), ranking.confidence)
        )
    return list(groups.values())


def _each_once(groups: Iterable[Iterable[int]]) -> tuple[tuple[int, ...], ...]:
    """Tie groups in which an answer that was ranked twice keeps its better place."""
    seen: set[int] = set()
    kept = []
    for group in groups:
        new = tuple(dict.fromkeys(i for i in group if i not in seen))
        seen.update(new)
        kept.append(new)
    return tuple(group for group in kept if group)
