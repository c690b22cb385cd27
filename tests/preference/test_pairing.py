"""From judgments to preferences: what counts, and what must not."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from itertools import combinations
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import beta

from align.configs import PairConfig
from align.preference.pairing import Paired, majority_holds, pair
from align.records import Candidate, Comparison, Flag, Judgment, Message, Ordering, Prompt, Provenance, Scores

PROMPT = Prompt(messages=(Message(role="user", content="Which way?"),), source="p.jsonl:1")
ANSWERS = [
    Candidate(prompt_id=PROMPT.id, completion=(Message(role="assistant", content=text),), model="m", sample=i)
    for i, text in enumerate(("Left.", "Right.", "Straight on.", "Back."))
]
A, B, C, D = (answer.id for answer in ANSWERS)


def judgment(
    winner: str | None,
    *,
    shown: Sequence[str] = (A, B),
    by: str = "ana",
    strength: int | None = None,
    both_bad: bool = False,
    provenance: Provenance = "human",
) -> Judgment:
    """`winner` over the rest of `shown`; None ties them."""
    rest = tuple(name for name in shown if name != winner)
    groups = (rest,) if winner is None else ((winner,), rest)
    return said(
        Ordering(groups=groups, both_bad=both_bad), shown=shown, by=by, strength=strength, provenance=provenance
    )


def said(
    verdict: Ordering | Scores | Flag,
    *,
    shown: Sequence[str],
    by: str = "ana",
    strength: int | None = None,
    provenance: Provenance = "human",
) -> Judgment:
    comparison = Comparison(prompt_id=PROMPT.id, candidate_ids=tuple(shown))
    return Judgment(
        comparison_id=comparison.id,
        pair_id=comparison.pair_id,
        prompt_id=PROMPT.id,
        candidate_ids=comparison.candidate_ids,
        annotator=by,
        provenance=provenance,
        verdict=verdict,
        strength=strength,
    )


def paired(judgments: Sequence[Judgment], settings: PairConfig | None = None) -> Paired:
    return pair(
        judgments,
        prompts={PROMPT.id: PROMPT},
        candidates={answer.id: answer for answer in ANSWERS},
        settings=settings or PairConfig(),
    )


def swapped(one: Judgment) -> Judgment:
    """The same said of the same answers, shown the other way round."""
    return said(
        one.verdict, shown=one.candidate_ids[::-1], by=one.annotator, strength=one.strength, provenance=one.provenance
    )


@st.composite
def panels(draw: st.DrawFn) -> list[Judgment]:
    """Judgments of up to six people on any pairs of four answers."""
    made = []
    for place in range(draw(st.integers(1, 12))):
        shown = draw(st.permutations((A, B, C, D)))[:2]
        winner = draw(st.sampled_from((*shown, None)))
        strength = draw(st.sampled_from((None, 1, 2, 3)))
        kind = draw(st.sampled_from(("human", "judge", "rule", "simulated")))
        made.append(judgment(winner, shown=shown, by=f"p{place}", strength=strength, provenance=kind))
    return made


def without_ids(result: Paired) -> object:
    """Everything but the judgments' names, which speak of the order in which answers were shown."""
    return [one.model_copy(update={"judgment_ids": ()}) for one in result.preferences], result.dropped, result.cycles


@given(panels(), st.sampled_from(("majority", "soft")), st.floats(0, 1))
def test_the_order_in_which_answers_were_shown_decides_nothing(judgments, label, agreement):
    settings = PairConfig(label=label, min_agreement=agreement)
    assert without_ids(paired(judgments, settings)) == without_ids(paired([swapped(j) for j in judgments], settings))


@given(panels(), st.randoms())
def test_permuting_the_judgments_changes_nothing(judgments, random):
    mixed = list(judgments)
    random.shuffle(mixed)
    assert paired(mixed) == paired(judgments)


@given(panels())
def test_every_compared_pair_gives_a_preference_or_a_reason(judgments):
    result = paired(judgments)
    assert len(result.preferences) + sum(result.dropped.values()) == result.n_compared
    assert result.n_compared == len({frozenset(j.candidate_ids) for j in judgments})


def test_two_of_three_make_a_majority_and_keep_their_dissenter():
    votes = [judgment(A, by="a", strength=1), judgment(A, by="b", strength=3), judgment(B, by="c", strength=3)]
    (one,) = paired(votes).preferences
    assert (one.chosen_id, one.rejected_id, one.label) == (A, B, 1.0)
    assert one.agreement == pytest.approx(2 / 3)
    assert one.margin == 2.0, "the mean strength of those who prefer the chosen answer"
    assert one.n_judgments == 3
    assert one.judgment_ids == tuple(sorted(vote.id for vote in votes))
    assert (one.prompt, one.prompt_id, one.source) == (PROMPT.messages, PROMPT.id, "p.jsonl:1")


def test_a_soft_label_counts_a_tie_as_half_a_vote():
    votes = [judgment(A, by="a"), judgment(A, by="b"), judgment(None, by="c"), judgment(B, by="d")]
    (one,) = paired(votes, PairConfig(label="soft")).preferences
    assert one.label == pytest.approx(2.5 / 4)
    assert one.agreement == 0.5, "a tie counts against"


def test_a_tie_is_dropped_or_kept_as_the_settings_say():
    votes = [judgment(A, by="a"), judgment(B, by="b"), judgment(None, by="c")]
    assert paired(votes).dropped == {"tie": 1}
    (kept,) = paired(votes, PairConfig(label="soft", ties="keep")).preferences
    assert kept.label == 0.5
    with pytest.raises(ValueError, match="ties: `keep` needs `label: soft`"):
        PairConfig(ties="keep")


@pytest.mark.parametrize(("bad", "policy", "reason"), [(3, "drop", {"both bad": 1}), (2, "drop", {}), (4, "keep", {})])
def test_both_bad_needs_more_than_half_of_the_judgments(bad, policy, reason):
    votes = [judgment(A, by=f"p{i}", both_bad=i < bad) for i in range(4)]
    assert paired(votes, PairConfig(both_bad=policy)).dropped == reason


def test_too_little_agreement_and_too_few_judgments_drop_a_pair():
    two_of_four = [judgment(A, by="a"), judgment(A, by="b"), judgment(B, by="c"), judgment(None, by="d")]
    assert paired(two_of_four, PairConfig(min_agreement=0.51)).dropped == {"agreement below min_agreement": 1}
    assert paired(two_of_four, PairConfig(min_judgments=5)).dropped == {"fewer judgments than min_judgments": 1}
    assert len(paired(two_of_four, PairConfig(min_agreement=0.5, min_judgments=4)).preferences) == 1


def test_an_ordering_of_four_answers_gives_its_six_pairs():
    ranking = said(Ordering(groups=((B,), (D,), (A,), (C,))), shown=(A, B, C, D))
    got = {(one.chosen_id, one.rejected_id) for one in paired([ranking]).preferences}
    assert got == set(combinations((B, D, A, C), 2))


def test_answers_in_one_group_are_tied_and_equal_scores_too():
    ranking = said(Ordering(groups=((B,), (A, C))), shown=(A, B, C))
    scores = said(Scores(scores={A: 1.0, B: 2.5, C: 1.0}), shown=(A, B, C))
    for verdict in (ranking, scores):
        result = paired([verdict])
        assert {(one.chosen_id, one.rejected_id) for one in result.preferences} == {(B, A), (B, C)}
        assert result.dropped == {"tie": 1}


def test_a_flag_on_one_answer_compares_nothing():
    assert paired([said(Flag(good=True), shown=(A,))]) == Paired()


def test_a_pair_is_worth_what_its_weakest_judgment_is():
    votes = [judgment(A, by="a"), judgment(A, by="b", provenance="simulated"), judgment(A, by="c", provenance="judge")]
    assert paired(votes).preferences[0].provenance == "simulated"
    assert paired(votes[:1]).preferences[0].provenance == "human"


def test_a_circle_of_majorities_is_reported_and_a_line_is_not():
    circle = [judgment(A, shown=(A, B)), judgment(B, shown=(B, C)), judgment(C, shown=(C, A))]
    assert paired(circle).cycles == (tuple(sorted((A, B, C))),)
    assert paired([*circle[:2], judgment(A, shown=(C, A))]).cycles == ()


@given(st.lists(st.tuples(st.sampled_from(tuple(combinations((A, B, C, D), 2))), st.booleans()), max_size=6))
def test_cycles_are_exactly_what_a_topological_sort_cannot_order(games):
    beats = {tuple(sorted(p)): (p if first else p[::-1]) for p, first in games}
    votes = [judgment(winner, shown=(winner, loser), by=f"p{i}") for i, (winner, loser) in enumerate(beats.values())]
    left = {A, B, C, D}
    while free := {n for n in left if not any(loser == n and winner in left for winner, loser in beats.values())}:
        left -= free
    assert bool(paired(votes).cycles) == bool(left)


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (1, 0), (2, 1), (3, 0), (5, 4), (40, 2)])
def test_confidence_is_the_upper_half_of_a_beta_posterior(wins, losses):
    assert majority_holds(wins, losses) == pytest.approx(beta.sf(0.5, wins + 1, losses + 1))


def test_three_of_three_are_trusted_fifteen_in_sixteen():
    assert majority_holds(3, 0) == float(Fraction(15, 16))


def test_equal_answers_under_two_names_are_no_pair():
    twin = Candidate(prompt_id=PROMPT.id, completion=ANSWERS[0].completion, model="m", sample=9)
    shown = (A, twin.id)
    result = pair(
        [judgment(A, shown=shown)],
        prompts={PROMPT.id: PROMPT},
        candidates={A: ANSWERS[0], twin.id: twin},
        settings=PairConfig(),
    )
    assert result.dropped == {"equal answers": 1}


def test_pairs_stand_in_the_order_of_the_prompts():
    prompts = [Prompt(messages=(Message(role="user", content=f"Question {i}"),)) for i in range(8)]
    candidates, votes = {}, []
    for prompt in prompts:
        answers = [
            Candidate(prompt_id=prompt.id, completion=(Message(role="assistant", content=t),), model="m")
            for t in ("yes", "no")
        ]
        candidates |= {one.id: one for one in answers}
        one = Comparison(prompt_id=prompt.id, candidate_ids=tuple(a.id for a in answers))
        votes.append(
            Judgment(
                comparison_id=one.id,
                pair_id=one.pair_id,
                prompt_id=prompt.id,
                candidate_ids=one.candidate_ids,
                annotator="ana",
                provenance="human",
                verdict=Ordering(groups=tuple((name,) for name in one.candidate_ids)),
            )
        )
    Random(0).shuffle(votes)
    result = pair(votes, prompts={p.id: p for p in prompts}, candidates=candidates, settings=PairConfig())
    assert [one.prompt_id for one in result.preferences] == [prompt.id for prompt in prompts]
