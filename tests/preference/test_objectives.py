"""The losses, against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from align.preference.objectives import cdpo_loss, dpo_loss, ipo_loss, rdpo_loss, reward_margin, soft_dpo_loss

margins = st.floats(-30, 30)
rates = st.floats(0, 0.49)


def test_a_policy_equal_to_its_reference_pays_log_two():
    assert dpo_loss(reward_margin(-7.0, -9.0, -7.0, -9.0, beta=0.3)) == pytest.approx(math.log(2))


def test_the_margin_is_what_the_policy_moved_the_pair_apart():
    assert reward_margin(-6.0, -11.0, -7.0, -9.0, beta=0.1) == pytest.approx(0.1 * (1.0 + 2.0))


@pytest.mark.parametrize(
    ("loss", "value"),
    [
        (dpo_loss(0.5), 0.474077),
        (cdpo_loss(0.5, epsilon=0.1), 0.524077),
        (rdpo_loss(0.5, epsilon=0.1), 0.411577),
        (rdpo_loss(2.0, epsilon=0.1), -0.123072),
    ],
)
def test_losses_at_known_margins(loss, value):
    assert loss == pytest.approx(value, abs=5e-7)


@given(margins, rates)
def test_the_robust_loss_under_flipped_labels_is_the_clean_loss(z, epsilon):
    noisy = (1 - epsilon) * rdpo_loss(z, epsilon=epsilon) + epsilon * rdpo_loss(-z, epsilon=epsilon)
    assert noisy == pytest.approx(dpo_loss(z), abs=1e-9)


@given(st.floats(-5, 5), st.floats(0.01, 0.49))
def test_the_conservative_loss_is_least_where_the_model_is_as_unsure_as_the_labels(z, epsilon):
    best = math.log((1 - epsilon) / epsilon)
    assert cdpo_loss(z, epsilon=epsilon) >= cdpo_loss(best, epsilon=epsilon) - 1e-12


@given(margins)
def test_a_tie_costs_the_same_both_ways_and_a_sure_label_is_plain_dpo(z):
    assert soft_dpo_loss(z, label=0.5) == pytest.approx(soft_dpo_loss(-z, label=0.5))
    assert soft_dpo_loss(z, label=1.0) == dpo_loss(z)


def test_the_robust_loss_refuses_labels_that_say_nothing():
    with pytest.raises(ValueError, match=r"below 0\.5, found 0\.5"):
        rdpo_loss(1.0, epsilon=0.5)


def test_ipo_is_content_at_half_the_inverse_of_beta():
    assert ipo_loss(5.0, beta=0.1) == 0.0
    assert ipo_loss(0.0, beta=0.5) == 1.0


def test_huge_margins_overflow_nothing():
    assert dpo_loss(1e4) == 0.0
    assert dpo_loss(-1e4) == 1e4
