"""From judgments to preferences: whose word counts, and when a tie is a tie."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from align.configs import PairConfig
from align.configs.labels import Label
from align.errors import RecordError
from align.preference.votes import Tally, tally
from align.preference.weighing import FIRST, Weighed, Weights, weigh
from align.records import Candidate, Judgment, Preference, Prompt, Provenance

STRENGTH_OF_EVIDENCE: tuple[Provenance, ...] = ("human", "judge", "rule", "simulated")
"""From the strongest to the weakest; a pair is worth what its weakest judgment is."""


@dataclass(frozen=True)
class Paired:
    """The pairs, and what became of the rest."""

    preferences: tuple[Preference, ...] = ()
    dropped: Mapping[str, int] = field(default_factory=dict)
    cycles: tuple[tuple[str, ...], ...] = ()
    """Candidates of one prompt whose majorities run in a circle (A over B, B over C, C over A)."""
    n_compared: int = 0
    """Pairs of answers that anyone has judged."""
    weights: Weights | None = None
    """How votes were weighed, where they were."""


def pair(
    judgments: Iterable[Judgment],
    *,
    prompts: Mapping[str, Prompt],
    candidates: Mapping[str, Candidate],
    settings: PairConfig,
    noise: Callable[[Tally], float | None] = lambda _: None,
) -> Paired:
    """One preference for each pair of answers that has a winner.

    Neither the order of the judgments nor the order in which answers were shown decides anything.
    An ordering or scores of K answers count as one vote on each of their K(K-1)/2 pairs; flags on single answers
    compare nothing. Pairs stand in the prompts' order, then by candidate ids. `noise` says how likely a pair's label is
    wrong, where that was audited. RecordError where votes are to be weighed and no pair was judged by two.
    """
    tallies, weights = weighed(judgments, settings)
    place = {prompt_id: i for i, prompt_id in enumerate(prompts)}
    dropped: Counter[str] = Counter()
    preferences: list[Preference] = []
    for one in sorted(tallies, key=lambda t: (place.get(t.prompt_id, len(place)), t.first, t.second)):
        said = result(one, label=settings.label, weights=weights)
        reason = unfit(one, said, settings)
        if reason is None and candidates[one.first].completion == candidates[one.second].completion:
            reason = "equal answers"
        if reason is None:
            row = preference(one, said, prompts[one.prompt_id], candidates)
            # a soft label says itself how far it may be trusted
            preferences.append(row.model_copy(update={"epsilon": noise(one)}) if settings.label == "majority" else row)
        else:
            dropped[reason] += 1
    return Paired(tuple(preferences), dict(sorted(dropped.items())), cycles(tallies), len(tallies), weights)


@dataclass(frozen=True)
class Result:
    """What the votes on one pair come to, by the rule that the recipe names."""

    leader: str | None
    """The better answer; none for a tie."""
    label: float
    """The probability that the leader is the better one; a half for a tie."""
    support: float
    """What `min_agreement` is held against: the share of votes for the leader, or the weighed label."""
    confidence: float


def weighed(judgments: Iterable[Judgment], settings: PairConfig) -> tuple[list[Tally], Weights | None]:
    """The votes on every pair, and what they weigh where the recipe has them weighed."""
    tallies = tally(judgments)
    weights = weigh(tallies) if settings.label == "weighted" else None
    if settings.label == "weighted" and weights is None:
        raise RecordError(
            "pair.label: `weighted` learns who is right from pairs that several people judged, and there is none; "
            "use `majority`, or raise label.annotators_per_comparison"
        )
    return tallies, weights


def results(judgments: Iterable[Judgment], settings: PairConfig) -> list[tuple[Tally, Result]]:
    """What the votes on every pair come to."""
    tallies, weights = weighed(judgments, settings)
    return [(one, result(one, label=settings.label, weights=weights)) for one in tallies]


def result(one: Tally, *, label: Label, weights: Weights | None = None) -> Result:
    """The winner of a pair by `majority`, with the share of votes as its label (`soft`), or by votes `weighted`."""
    if weights is not None:
        return _weighed(one, weights.pairs[one.prompt_id, one.first, one.second])
    leader = one.leader
    if leader is None:
        return Result(None, 0.5, 0.0, majority_holds(one.wins(one.first), one.wins(one.second)))
    wins, losses, n = one.wins(leader), one.wins(one.other(leader)), len(one.votes)
    share = (wins + (n - wins - losses) / 2) / n
    return Result(leader, share if label == "soft" else 1.0, wins / n, majority_holds(wins, losses))


def _weighed(one: Tally, found: Weighed) -> Result:
    if found.leader is None:
        return Result(None, 0.5, 0.0, found.tie)
    leader, win = (one.first, found.first) if found.leader == FIRST else (one.second, found.second)
    sure = min(1.0, win + found.tie / 2)
    return Result(leader, sure, sure, min(1.0, win))


def unfit(one: Tally, said: Result, settings: PairConfig) -> str | None:
    """Why a pair of answers gives no preference; None where it gives one."""
    if len(one.votes) < settings.min_judgments:
        return "fewer judgments than min_judgments"
    if one.both_bad and settings.both_bad == "drop":
        return "both bad"
    if said.leader is None:
        return "tie" if settings.ties == "drop" else None
    if said.support < settings.min_agreement:
        return "agreement below min_agreement"
    return None


def preference(one: Tally, said: Result, prompt: Prompt, candidates: Mapping[str, Candidate]) -> Preference:
    """The pair as a row to learn from. A kept tie has label 0.5, and its first side means nothing."""
    chosen_id = said.leader or one.first
    rejected_id = one.other(chosen_id)
    judgments = [judgment for vote in one.votes for judgment in vote.judgments]
    strengths = [j.strength for v in one.votes if v.winner == chosen_id for j in v.judgments if j.strength is not None]
    return Preference(
        prompt=prompt.messages,
        chosen=candidates[chosen_id].completion,
        rejected=candidates[rejected_id].completion,
        label=said.label,
        confidence=said.confidence,
        agreement=one.wins(chosen_id) / len(one.votes),
        n_judgments=len(judgments),
        margin=sum(strengths) / len(strengths) if strengths else None,
        provenance=weakest(judgment.provenance for judgment in judgments),
        prompt_id=prompt.id,
        chosen_id=chosen_id,
        rejected_id=rejected_id,
        judgment_ids=tuple(sorted({judgment.id for judgment in judgments})),
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
