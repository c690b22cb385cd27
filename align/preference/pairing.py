"""From judgments to preferences: whose word counts, and when a tie is a tie."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import combinations

from align.configs import PairConfig
from align.records import Candidate, Flag, Judgment, Ordering, Preference, Prompt, Provenance

STRENGTH_OF_EVIDENCE: tuple[Provenance, ...] = ("human", "judge", "rule", "simulated")
"""From the strongest to the weakest; a pair is worth what its weakest judgment is."""


@dataclass(frozen=True)
class Vote:
    """What one judgment says of two answers."""

    judgment: Judgment
    winner: str | None
    """A candidate's id; none for a tie."""
    both_bad: bool


@dataclass(frozen=True)
class Tally:
    """All that was said of two answers to one prompt, however they were shown."""

    prompt_id: str
    first: str
    """The smaller of the two ids."""
    second: str
    votes: tuple[Vote, ...]

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


@dataclass(frozen=True)
class Paired:
    """The pairs, and what became of the rest."""

    preferences: tuple[Preference, ...] = ()
    dropped: Mapping[str, int] = field(default_factory=dict)
    cycles: tuple[tuple[str, ...], ...] = ()
    """Candidates of one prompt whose majorities run in a circle (A over B, B over C, C over A)."""
    n_compared: int = 0
    """Pairs of answers that anyone has judged."""


def pair(
    judgments: Iterable[Judgment],
    *,
    prompts: Mapping[str, Prompt],
    candidates: Mapping[str, Candidate],
    settings: PairConfig,
) -> Paired:
    """One preference for each pair of answers that has a winner.

    Neither the order of the judgments nor the order in which answers were shown decides anything.
    An ordering or scores of K answers count as one vote on each of their K(K-1)/2 pairs; flags on single answers
    compare nothing. Pairs stand in the prompts' order, then by candidate ids.
    """
    tallies = tally(judgments)
    place = {prompt_id: i for i, prompt_id in enumerate(prompts)}
    dropped: Counter[str] = Counter()
    preferences: list[Preference] = []
    for one in sorted(tallies, key=lambda t: (place.get(t.prompt_id, len(place)), t.first, t.second)):
        reason = unfit(one, settings)
        if reason is None and candidates[one.first].completion == candidates[one.second].completion:
            reason = "equal answers"
        if reason is None:
            preferences.append(preference(one, prompts[one.prompt_id], candidates, soft=settings.label == "soft"))
        else:
            dropped[reason] += 1
    return Paired(tuple(preferences), dict(sorted(dropped.items())), cycles(tallies), len(tallies))


def tally(judgments: Iterable[Judgment]) -> list[Tally]:
    """The votes on each pair of answers, each pair once whatever the order it was shown in."""
    votes: dict[tuple[str, str, str], list[Vote]] = defaultdict(list)
    for judgment in judgments:
        for first, second, vote in votes_of(judgment):
            votes[judgment.prompt_id, first, second].append(vote)
    return [
        Tally(prompt_id, first, second, tuple(sorted(found, key=lambda vote: vote.judgment.id)))
        for (prompt_id, first, second), found in sorted(votes.items())
    ]


def votes_of(judgment: Judgment) -> Iterator[tuple[str, str, Vote]]:
    """One vote for each pair of the answers that were shown, ids in order."""
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
        yield first, second, Vote(judgment, None if lead == 0 else first if lead > 0 else second, bad)


def unfit(one: Tally, settings: PairConfig) -> str | None:
    """Why a pair of answers gives no preference; None where it gives one."""
    if len(one.votes) < settings.min_judgments:
        return "fewer judgments than min_judgments"
    if one.both_bad and settings.both_bad == "drop":
        return "both bad"
    leader = one.leader
    if leader is None:
        return "tie" if settings.ties == "drop" else None
    if one.wins(leader) / len(one.votes) < settings.min_agreement:
        return "agreement below min_agreement"
    return None


def preference(one: Tally, prompt: Prompt, candidates: Mapping[str, Candidate], *, soft: bool) -> Preference:
    """The pair as a row to learn from. A kept tie has label 0.5, and its first side means nothing."""
    chosen_id = one.leader or one.first
    rejected_id = one.second if chosen_id == one.first else one.first
    wins, losses, n = one.wins(chosen_id), one.wins(rejected_id), len(one.votes)
    strengths = [v.judgment.strength for v in one.votes if v.winner == chosen_id and v.judgment.strength is not None]
    label = 0.5 if one.leader is None else (wins + (n - wins - losses) / 2) / n if soft else 1.0
    return Preference(
        prompt=prompt.messages,
        chosen=candidates[chosen_id].completion,
        rejected=candidates[rejected_id].completion,
        label=label,
        confidence=majority_holds(wins, losses),
        agreement=wins / n,
        n_judgments=n,
        margin=sum(strengths) / len(strengths) if strengths else None,
        provenance=weakest(vote.judgment.provenance for vote in one.votes),
        prompt_id=prompt.id,
        chosen_id=chosen_id,
        rejected_id=rejected_id,
        judgment_ids=tuple(sorted({vote.judgment.id for vote in one.votes})),
        source=prompt.source,
        meta={key: prompt.meta[key] for key in ("kind",) if key in prompt.meta},
    )


def majority_holds(wins: int, losses: int) -> float:
    """The probability that the winner would win among endlessly many annotators; ties tell nothing.

    From a uniform prior: P(p > ½) for p ~ Beta(wins + 1, losses + 1), which is P(X ≤ wins) for
    X ~ Binomial(wins + losses + 1, ½).
    """
    n = wins + losses + 1
    return float(Fraction(sum(math.comb(n, k) for k in range(wins + 1)), 2**n))


def weakest(provenances: Iterable[Provenance]) -> Provenance | None:
    """The least trusted of them; None where there are none."""
    return max(provenances, key=STRENGTH_OF_EVIDENCE.index, default=None)


def cycles(tallies: Iterable[Tally]) -> tuple[tuple[str, ...], ...]:
    """The groups of candidates, prompt by prompt, within which each beats another that, step by step, beats it."""
    beats: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for one in tallies:
        if one.leader is not None:
            beats[one.prompt_id][one.leader].add(one.second if one.leader == one.first else one.first)
    found = []
    for graph in beats.values():
        below = {name: _reached(name, graph) for name in graph}
        circles = {
            tuple(sorted(m for m in below[name] if name in below.get(m, ()))) for name in graph if name in below[name]
        }
        found.extend(sorted(circles))
    return tuple(found)


def _reached(name: str, graph: Mapping[str, set[str]]) -> set[str]:
    reached: set[str] = set()
    ahead: list[str] = sorted(graph[name])
    while ahead:
        one = ahead.pop()
        if one not in reached:
            reached.add(one)
            ahead.extend(graph.get(one, ()))
    return reached
