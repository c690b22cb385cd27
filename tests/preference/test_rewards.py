"""The losses of a reward model against numbers worked out by hand, and against each other where they must agree."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from align.configs import RewardConfig
from align.preference.groups import Order, Pair, grouped
from align.preference.rewards import bradley_terry_loss, plackett_luce_loss, rao_kupper_loss
from align.records import Message, Preference, Ranking
from align.training.reward_loss import comparisons, group_losses, rivals

LEADS = st.floats(-20, 20)


def test_equal_rewards_cost_log_two() -> None:
    assert bradley_terry_loss(0.0) == pytest.approx(math.log(2))
    assert plackett_luce_loss([1.0, 1.0], [[0], [1]], ties="drop") == pytest.approx(math.log(2))


def test_a_ranking_of_three_costs_the_two_choices_it_is_made_of() -> None:
    # best of {2, 1, 0}, then best of {1, 0}: -log(e²/(e²+e+1)) - log(e/(e+1)), over two choices
    e = math.e
    by_hand = (-math.log(e * e / (e * e + e + 1)) - math.log(e / (e + 1))) / 2
    assert plackett_luce_loss([0.0, 2.0, 1.0], [[1], [2], [0]], ties="drop") == pytest.approx(by_hand)


@given(LEADS, st.floats(0.01, 3))
def test_win_loss_and_tie_are_all_that_can_happen(lead: float, t: float) -> None:
    outcomes = [
        rao_kupper_loss(lead, tied=False, tie_margin=t),
        rao_kupper_loss(-lead, tied=False, tie_margin=t),
        rao_kupper_loss(lead, tied=True, tie_margin=t),
    ]
    assert sum(math.exp(-loss) for loss in outcomes) == pytest.approx(1)


@given(LEADS)
def test_a_ranking_of_two_is_a_pair_and_a_tie_of_two_is_half_a_win_each(lead: float) -> None:
    assert plackett_luce_loss([lead, 0.0], [[0], [1]], ties="drop") == pytest.approx(bradley_terry_loss(lead))
    tied = plackett_luce_loss([lead, 0.0], [[0, 1]], ties="half")
    assert tied == pytest.approx(2 * bradley_terry_loss(lead, label=0.5))
    assert plackett_luce_loss([lead, 0.0], [[0, 1]], ties="drop") == pytest.approx(0)


def batch(
    pairs: list[list[float]], orders: list[tuple[int, float, list[tuple[int, list[int]]]]], sizes: list[int]
) -> dict:
    return {
        "pairs": torch.tensor(pairs).reshape(-1, 6),
        "orders": orders,
        "n_groups": len(sizes),
        "group": torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes)),
    }


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.floats(-5, 5, width=32), min_size=5, max_size=5), st.floats(0.5, 1), st.sampled_from(["drop", "half"])
)
def test_the_trainers_losses_are_the_formulas(rewards: list[float], label: float, ties: str) -> None:
    config = RewardConfig(ties=ties, centre=0.0)
    order = Order(((2,), (0, 1)))
    given_order = [(1, 0.5, [(2 + i, [2 + j for j in among]) for i, among in rivals(order, ties)])]
    found = group_losses(torch.tensor(rewards), batch([[0, 1, label, 0.25, 1, 0]], given_order, [2, 3]), config)
    assert float(found[0]) == pytest.approx(
        bradley_terry_loss(rewards[0] - rewards[1], label=label, margin=0.25), rel=1e-4, abs=1e-5
    )
    expected = 0.5 * plackett_luce_loss(rewards[2:], [[2], [0, 1]], ties=ties)
    assert float(found[1]) == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_ties_as_a_third_outcome_are_rao_and_kuppers() -> None:
    config = RewardConfig(ties="rao_kupper", ranked="pairs", tie_margin=0.7, centre=0.0)
    rows = [[0, 1, 0.5, 0, 1, 0], [0, 1, 1.0, 0, 1, 1]]
    found = group_losses(torch.tensor([0.3, -0.4]), {**batch(rows, [], [2]), "n_groups": 2}, config)
    assert found.tolist() == pytest.approx([rao_kupper_loss(0.7, tied=tied, tie_margin=0.7) for tied in (True, False)])


def test_centring_is_the_squared_sum_of_a_pairs_rewards_as_trl_has_it() -> None:
    plain, centred = RewardConfig(centre=0.0), RewardConfig(centre=0.1)
    scores, told = torch.tensor([1.0, 0.5]), batch([[0, 1, 1.0, 0, 1, 0]], [], [2])
    assert float(group_losses(scores, told, centred) - group_losses(scores, told, plain)) == pytest.approx(0.1 * 1.5**2)


def test_a_prompt_with_many_pairs_weighs_as_one_with_a_single_pair() -> None:
    rows = [[0, 1, 1.0, 0, 1, 0], [2, 3, 1.0, 0, 1, 1], [2, 4, 1.0, 0, 1, 1], [3, 4, 1.0, 0, 1, 1]]
    found = group_losses(torch.zeros(5), batch(rows, [], [2, 3]), RewardConfig())
    assert found.tolist() == pytest.approx([math.log(2)] * 2)


def turn(role: str, content: str) -> Message:
    return Message.model_validate({"role": role, "content": content})


def test_all_that_was_said_of_a_prompt_stands_in_one_group() -> None:
    asked = (turn("user", "Why?"),)
    a, b, c = ((turn("assistant", text),) for text in "ABC")
    pairs = [Preference(prompt=asked, chosen=x, rejected=y) for x, y in ((a, b), (c, a))]
    other = Preference(prompt=(turn("user", "How?"),), chosen=a, rejected=b)
    ranking = Ranking(prompt=asked, answers=(c, b, c), groups=((0,), (1, 2)))
    first, second = grouped([pairs[0], other, pairs[1]], [ranking])
    assert first.answers == [a, b, c]
    assert [(p.first, p.second) for p in first.pairs] == [(0, 1), (2, 0)]
    assert first.orders == [Order(((2,), (1,)))]
    assert len(second.pairs) == 1


def test_a_ranking_learnt_as_pairs_has_them_all_and_ties_are_left_out_or_kept() -> None:
    order = Order(((0,), (1, 2)))
    dropped, _ = comparisons([], [order], RewardConfig(ranked="pairs"))
    kept, _ = comparisons([], [order], RewardConfig(ranked="pairs", ties="half"))
    assert [(p.first, p.second) for p in dropped] == [(0, 1), (0, 2)]
    assert [p.label for p in kept] == [1.0, 1.0, 0.5]
    assert comparisons([Pair(0, 1, 0.5)], [], RewardConfig()) == ([], [])
