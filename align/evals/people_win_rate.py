"""Whose answers people prefer, prompt by prompt: two models' answers to held-out prompts, judged blind."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from align.evals.evidence import Duel, Evidence, Instrument, Metric, item_score
from align.preference.asking import EQUAL
from align.records import ItemScore

NAME = "people_win_rate"
CLOSE_WORDS = 3
CLOSE_SHARE = 0.1

METRICS = (
    Metric("raw", "higher", "share", "votes for this model's answer; ties count one half, each prompt counts once"),
    Metric("decided", "higher", "share", "the same, of votes that are no tie"),
    Metric(
        "length_matched", "higher", "share",
        f"the same as raw, of answers whose lengths differ by {CLOSE_WORDS} words or a tenth at most",
    ),
    Metric(
        "at_equal_length", "higher", "share",
        "the rate that a logistic fit gives where both answers are as long", "equal_length",
    ),
    Metric("tied", "neither", "share", "votes that find both answers equally good"),
    Metric("both_bad", "lower", "share", "votes that find both answers unacceptable"),
    Metric("agreement", "neither", "share", "pairs of annotators who say the same of a prompt that both judged"),
    Metric("first_shown", "neither", "share", "votes with a winner that go to the answer shown first; half is no bias"),
)  # fmt: skip


def score(evidence: Evidence) -> list[ItemScore]:
    """For each metric a row a prompt, the mean over its votes.

    The same answer of both models is a tie that nobody need be asked about. A prompt that one of the models left
    without an answer, or of which no verdict could be read, is unscored.
    """
    rows = []
    for duel in evidence.duels:
        if duel.unshown == EQUAL:
            rows.append(_row(evidence, duel, "raw", 0.5))
            continue
        if not duel.votes:
            rows.append(_row(evidence, duel, "raw", None, because=duel.unshown or "no verdict could be read"))
            continue
        won = [_worth(duel, vote.winner) for vote in duel.votes]
        decided = [w for w in won if w != 0.5]
        rows.append(_row(evidence, duel, "raw", _mean(won)))
        if decided:
            rows.append(_row(evidence, duel, "decided", _mean(decided)))
        if abs(duel.words - duel.their_words) <= max(CLOSE_WORDS, CLOSE_SHARE * max(duel.words, duel.their_words)):
            rows.append(_row(evidence, duel, "length_matched", _mean(won)))
        rows.append(_row(evidence, duel, "at_equal_length", _mean(won)))
        rows.append(_row(evidence, duel, "tied", _mean([float(w == 0.5) for w in won])))
        rows.append(_row(evidence, duel, "both_bad", _mean([float(vote.both_bad) for vote in duel.votes])))
        pairs = [float(a.winner == b.winner) for a, b in combinations(duel.votes, 2)]
        if pairs:
            rows.append(_row(evidence, duel, "agreement", _mean(pairs)))
        seats = [float(winner == j.candidate_ids[0]) for v in duel.votes for j, winner in v.said if winner]
        if seats:
            rows.append(_row(evidence, duel, "first_shown", _mean(seats)))
    return rows


def without_each(duels: Sequence[Duel]) -> dict[str, float]:
    """The raw win rate with each annotator's votes left out: how far it is one person's taste."""
    people = sorted({vote.annotator for duel in duels for vote in duel.votes})
    found = {}
    for name in people if len(people) > 1 else ():
        kept = [[_worth(d, v.winner) for v in d.votes if v.annotator != name] for d in duels]
        means = [_mean(won) for won in kept if won] + [0.5 for d in duels if d.unshown == EQUAL]
        if means:
            found[name] = _mean(means)
    return found


def _worth(duel: Duel, winner: str | None) -> float:
    return 0.5 if winner is None else float(winner == duel.answer)


def _row(evidence: Evidence, duel: Duel, metric: str, value: float | None, *, because: str | None = None) -> ItemScore:
    return item_score(
        NAME, metric, evidence.model, duel.prompt_id, value, because=because, cluster=duel.cluster,
        meta={"n_votes": len(duel.votes), "longer": duel.words - duel.their_words,
              "their_words": duel.their_words},
    )  # fmt: skip


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


INSTRUMENT = Instrument(
    name=NAME,
    measures="which of two models answers better, as people say who do not know which is which",
    data="judgments that a label step took of both models' answers to held-out prompts",
    paper="Zheng et al. 2023 (arXiv:2306.05685) for pairwise comparison in random order, ties one half",
    flaws=(
        "the interval is over prompts; other people may judge otherwise, see `without_each_annotator` and `agreement`",
        "few prompts are judged, so small differences stay undecided",
        "people prefer length and confidence: read `length_matched` and `at_equal_length` beside it; the second has no "
        "number where fewer than 20 % of the answers are longer, or shorter, than the other model's",
        "a prompt that one model left unanswered is unscored and not lost; below the gate's coverage that is an error",
    ),
    needs=("people",),
    metrics=METRICS,
    score=score,
    last_run=None,
)
