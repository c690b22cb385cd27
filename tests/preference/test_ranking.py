"""Orders of three answers and more, on their way to a reward model."""

from __future__ import annotations

from typing import Any

from align.configs import PairConfig
from align.preference.ranking import order, rank
from align.records import Candidate, Comparison, Judgment, Message, Ordering, Prompt, Scores

ASKED = Prompt(messages=(Message(role="user", content="Why?"),))
GIVEN = [
    Candidate(prompt_id=ASKED.id, completion=(Message(role="assistant", content=text),), model="m", sample=i)
    for i, text in enumerate(("Because.", "Who knows?", "No reason.", "Because."))
]
A, B, C, SAME_AS_A = (one.id for one in GIVEN)


def said(*groups: tuple[str, ...], by: str = "p", bad: bool = False, round: int = 1, **more: Any) -> Judgment:
    return judged(Ordering(groups=groups, both_bad=bad), [n for g in groups for n in g], by=by, round=round, **more)


def judged(verdict: Any, names: list[str], *, by: str, round: int = 1, **more: Any) -> Judgment:
    shown = Comparison(prompt_id=ASKED.id, candidate_ids=tuple(names), round=round)
    return Judgment(
        comparison_id=shown.id, pair_id=shown.pair_id, prompt_id=ASKED.id, candidate_ids=shown.candidate_ids,
        annotator=by, provenance="human", verdict=verdict, **more,
    )  # fmt: skip


def ranked(judgments: list[Judgment], **settings: Any) -> Any:
    return rank(
        judgments,
        prompts={ASKED.id: ASKED},
        candidates={one.id: one for one in GIVEN},
        settings=PairConfig(**settings),
    )


def texts(ranking: Any) -> list[set[str]]:
    return [{ranking.answers[i][0].content for i in group} for group in ranking.groups]


def test_each_annotators_order_is_a_ranking_and_people_are_not_averaged() -> None:
    found = ranked([said((A,), (B,), (C,), by="p"), said((C,), (B, A), by="q")])
    assert sorted(map(texts, found.rankings), key=str) == sorted(
        [[{"Because."}, {"Who knows?"}, {"No reason."}], [{"No reason."}, {"Who knows?", "Because."}]], key=str
    )
    assert all(one.n_judgments == 1 and one.provenance == "human" for one in found.rankings)
    assert len({one.id for one in found.rankings}) == 2


def test_the_order_in_which_answers_were_shown_or_judged_decides_nothing() -> None:
    one = [said((A,), (B,), (C,), by="p"), said((B,), (A,), (C,), by="q")]
    assert ranked(one) == ranked(one[::-1])
    swapped = one[0].model_copy(update={"candidate_ids": (C, B, A)})
    assert texts(ranked([swapped]).rankings[0]) == texts(ranked(one[:1]).rankings[0])


def test_what_one_annotator_said_twice_is_one_order_by_the_mean_place() -> None:
    first, again = said((A,), (B,), (C,)), said((B,), (A,), (C,), round=2)
    assert [set(group) for group in order([first, again])] == [{A, B}, {C}]
    (found,) = ranked([first, again]).rankings
    assert (found.n_judgments, len(found.judgment_ids)) == (2, 2)


def test_scores_are_an_order_and_equal_ones_a_tie() -> None:
    (found,) = ranked([judged(Scores(scores={A: 2.0, B: 5.0, C: 2.0}), [A, B, C], by="p")]).rankings
    assert texts(found) == [{"Who knows?"}, {"Because.", "No reason."}]


def test_what_makes_no_ranking_is_counted_with_its_reason() -> None:
    assert not ranked([said((A,), (B,))]).rankings  # a pair is a preference's
    for judgments, settings, reason in (
        ([said((A,), (B,), (C,))], {"min_judgments": 2}, "fewer judgments than min_judgments"),
        ([said((A,), (B,), (C,), bad=True)], {}, "all bad"),
        ([said((A, B, C))], {}, "all tied"),
        ([said((A,), (B,), (SAME_AS_A,))], {}, "fewer than three different answers"),
    ):
        found = ranked(judgments, **settings)
        assert (found.rankings, found.dropped) == ((), {reason: 1})
    assert len(ranked([said((A, B, C))], label="soft", ties="keep").rankings) == 1
    assert len(ranked([said((A,), (B,), (C,), bad=True)], both_bad="keep").rankings) == 1
