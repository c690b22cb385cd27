"""The implicit reward against its baselines, on log-probabilities that are written down."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from align.evals import dpo_accuracy
from align.evals.evidence import Ask, Evidence
from align.ports import Score, ScoreRequest
from align.records import Message, Preference


def pair(chosen: str = "good", rejected: str = "bad", *, label: float = 1.0, prompt: str = "question") -> Preference:
    return Preference(
        prompt=(Message(role="user", content=prompt),),
        chosen=(Message(role="assistant", content=chosen),),
        rejected=(Message(role="assistant", content=rejected),),
        label=label,
    )


def says(**table: tuple[float, int]) -> Ask:
    return lambda requests: [Score(*table[r.continuation.split()[0]]) for r in requests]


def values(preference: Preference, policy: Ask, reference: Ask | None = None) -> dict[str, float | None]:
    evidence = Evidence("tuned", preferences=[preference], logp=policy, reference_logp=reference)
    return {row.metric: row.value for row in dpo_accuracy.score(evidence)}


def test_the_reward_is_what_tuning_added_and_not_what_the_policy_says() -> None:
    policy, reference = says(good=(-20, 5), bad=(-10, 5)), says(good=(-25, 5), bad=(-12, 5))
    found = values(pair(), policy, reference)
    assert found["reward"] == 1, "chosen gained 5 nats, rejected 2"
    assert found["reward_margin"] == 3
    assert found["chosen_shift"] == 5
    assert found["chosen_falls"] == 0
    assert found["per_token"] == 0, "and yet the policy finds the rejected one likelier"


def test_a_policy_equal_to_its_reference_ranks_nothing() -> None:
    same = says(good=(-20, 5), bad=(-10, 5))
    found = values(pair(), same, same)
    assert (found["reward"], found["reward_margin"], found["chosen_falls"]) == (0.5, 0, 0.5)


def test_both_answers_may_fall_while_the_accuracy_is_perfect() -> None:
    found = values(pair(), says(good=(-30, 5), bad=(-40, 5)), says(good=(-20, 5), bad=(-20, 5)))
    assert (found["reward"], found["chosen_falls"], found["chosen_shift"]) == (1, 1, -10)


def test_log_probability_per_token_does_not_prefer_the_short() -> None:
    assert values(pair(), says(good=(-20, 10), bad=(-9, 3)))["per_token"] == 1


def test_without_a_reference_there_is_no_reward() -> None:
    assert set(values(pair(), says(good=(-1, 1), bad=(-2, 1)))) == {"longer", "per_token", "per_token_matched"}


@pytest.mark.parametrize(
    ("chosen", "rejected", "value"), [("good one", "bad", 1), ("good", "bad one", 0), ("good", "bad", 0.5)]
)
def test_the_baseline_prefers_the_longer_answer(chosen: str, rejected: str, value: float) -> None:
    assert values(pair(chosen, rejected), says(good=(-1, 1), bad=(-1, 1)))["longer"] == value


@pytest.mark.parametrize(
    ("n_chosen", "n_rejected", "matched"), [(5, 8, True), (5, 9, False), (100, 110, True), (100, 115, False)]
)
def test_lengths_match_within_three_words_or_a_tenth(n_chosen: int, n_rejected: int, matched: bool) -> None:
    preference = pair(" ".join(["good"] * n_chosen), " ".join(["bad"] * n_rejected))
    found = values(preference, says(good=(-1, 1), bad=(-2, 1)))
    assert ("per_token_matched" in found) is matched


def test_a_policy_that_only_counts_words_scores_what_the_baseline_scores() -> None:
    def counts(requests: Sequence[ScoreRequest]) -> list[Score]:
        return [Score(float(len(request.continuation.split())), 1) for request in requests]

    for chosen, rejected in (("good one", "bad"), ("good", "bad one"), ("good", "bad")):
        found = values(pair(chosen, rejected), counts, says(good=(-1, 1), bad=(-1, 1)))
        assert found["reward"] == found["per_token"] == found["longer"]


def test_a_label_below_half_turns_the_pair_round() -> None:
    policy, reference = says(good=(-20, 5), bad=(-10, 5)), says(good=(-25, 5), bad=(-12, 5))
    turned = values(pair(label=0.2), policy, reference)
    assert (turned["reward"], turned["reward_margin"], turned["chosen_shift"]) == (0, -3, 2)


def test_a_tied_pair_asks_nothing() -> None:
    assert values(pair(label=0.5), says(good=(-1, 1), bad=(-2, 1))) == {}


@pytest.mark.parametrize("broken", [math.nan, -math.inf])
def test_a_log_probability_that_is_not_finite_leaves_all_but_the_word_count_unscored(broken: float) -> None:
    found = values(pair(), says(good=(broken, 5), bad=(-10, 5)), says(good=(-25, 5), bad=(-12, 5)))
    assert found.pop("longer") == 0.5
    assert set(found.values()) == {None}


def test_pairs_of_one_prompt_are_one_cluster() -> None:
    rows = dpo_accuracy.score(
        Evidence(
            "m",
            preferences=[pair("good", "bad"), pair("good", "bad two"), pair(prompt="another")],
            logp=says(good=(-1, 1), bad=(-2, 1)),
        )
    )
    assert len({row.cluster for row in rows}) == 2
