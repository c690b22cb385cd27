"""What is said of learning curves."""

from __future__ import annotations

import math
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from align.report.curves import Curve, Points, curves, price, reading, shape_of


def falling(n: int, start: float, end: float, *, noise: float = 0.0, pace: float = 6.0, seed: int = 0) -> Points:
    rng = Random(seed)
    return [(i + 1.0, end + (start - end) * math.exp(-pace * i / n) + rng.gauss(0, noise)) for i in range(n)]


def turning(n: int) -> Points:
    return [(10.0 * i, 1.0 + 0.02 * (i - n / 2) ** 2 / n) for i in range(n)]


def test_a_curve_that_falls_and_settles_is_fine() -> None:
    train, held_out = falling(200, 6.0, 1.5, noise=0.05), falling(10, 5.0, 1.6)
    assert shape_of(train, held_out) == "fine"
    assert reading(train, held_out).startswith("Fine: the held-out loss fell from 5 to 1.6")


def test_a_held_out_loss_that_turns_up_is_overfitting_and_the_step_is_named() -> None:
    held_out = [(10.0, 2.0), (20.0, 1.2), (30.0, 1.0), (40.0, 1.1), (50.0, 1.3), (60.0, 1.5)]
    said = reading(falling(60, 2.5, 0.2), held_out)
    assert said.startswith("Overfitting: the held-out loss was lowest at step 30 (1) and rose to 1.5")


def test_a_loss_that_ends_above_its_beginning_has_diverged() -> None:
    assert shape_of(falling(60, 1.0, 9.0), []) == "diverged"
    assert shape_of([(i, 0.7 + i / 10) for i in range(9)], [(1, 0.7), (2, 0.8), (3, 0.9), (4, 1.2)]) == "diverged"


def test_a_held_out_loss_that_rises_from_the_first_while_training_falls_is_overfitting() -> None:
    held_out = [(0, 0.7), (2, 0.8), (4, 0.9), (6, 1.2)]
    assert shape_of(falling(60, 2.0, 1.0), held_out) == "overfitting"
    assert "lowest at step 0 (0.7)" in reading(falling(60, 2.0, 1.0), held_out)


def test_losses_that_both_turn_up_have_diverged_whatever_they_began_at() -> None:
    train = [(i, 3.0 - 0.1 * i if i < 20 else 1.0 + 0.08 * (i - 20)) for i in range(40)]
    held_out = [(i, value + 0.1) for i, value in train[::4]]
    assert shape_of(train, held_out) == "diverged"
    assert "both rose again" in reading(train, held_out)


def test_a_loss_that_is_no_number_has_diverged() -> None:
    assert "stopped being a number" in reading([(1, 2.0), (2, 1.5), (3, math.nan)], [])


def test_a_loss_that_hardly_moves_is_underfitting() -> None:
    assert shape_of(falling(100, 0.6931, 0.6928, noise=0.003), []) == "underfitting"


def test_a_loss_that_is_falling_at_the_end_is_still_improving() -> None:
    assert shape_of(falling(100, 6.0, 2.0, pace=0.8), falling(10, 6.0, 2.1, pace=0.8)) == "improving"


def test_without_a_held_out_loss_it_is_said_that_overfitting_could_not_be_seen() -> None:
    assert "overfitting could not have been seen" in reading(falling(100, 3.0, 1.0), [])
    assert "could not" not in reading(falling(100, 3.0, 1.0), falling(10, 3.0, 1.0))


def test_two_points_are_too_few_to_say_anything() -> None:
    assert shape_of([(1, 3.0), (2, 2.0)], []) == "unknown"
    assert shape_of([], []) == "unknown"


@pytest.mark.parametrize("seed", range(20))
def test_noise_alone_is_not_taken_for_overfitting_or_divergence(seed: int) -> None:
    noisy = falling(200, 3.0, 1.0, noise=0.2, seed=seed)
    assert shape_of(noisy, falling(20, 3.0, 1.05, noise=0.02, seed=seed + 100)) in ("fine", "improving")


@given(st.integers(0, 50), st.floats(0.1, 100))
def test_the_unit_of_the_loss_does_not_decide(seed: int, scale: float) -> None:
    train, held_out = falling(80, 3.0, 1.0, noise=0.05, seed=seed), turning(12)
    scaled = [[(x, y * scale) for x, y in points] for points in (train, held_out)]
    assert shape_of(*scaled) == shape_of(train, held_out)


def test_a_log_becomes_one_curve_a_metric_and_a_lost_number_stays_lost() -> None:
    log = [
        {"step": 1, "epoch": 0.1, "phase": "train", "loss": 2.0, "rewards/margins": 0.1},
        {"step": 1, "epoch": 0.1, "phase": "eval", "eval_loss": 2.5},
        {"step": 2, "epoch": 0.2, "phase": "train", "loss": None, "learning_rate": 1e-3},
    ]
    found = curves(log)
    assert found["loss"].held_out == [(1.0, 2.5)]
    assert found["loss"].train[0] == (1.0, 2.0)
    assert math.isnan(found["loss"].train[1][1])
    assert set(found) == {"loss", "rewards/margins", "learning_rate"}


def test_a_policy_that_is_still_its_reference_ranks_nothing_and_not_everything_wrong() -> None:
    log = [
        {"step": 0, "phase": "eval", "eval_loss": 0.69, "eval_rewards/accuracies": 0.0, "eval_rewards/margins": 0.0},
        {"step": 2, "phase": "eval", "eval_loss": 0.68, "eval_rewards/accuracies": 0.6, "eval_rewards/margins": 0.01},
    ]
    assert curves(log)["rewards/accuracies"].held_out == [(2.0, 0.6)]


def test_what_tuning_gained_and_cost_is_said_together() -> None:
    loss = Curve("loss", [], [(0.0, 0.693), (10.0, 0.5)])
    dear = price(loss, Curve("kept_loss", [], [(0.0, 1.0), (10.0, 1.2)]))
    assert "from 1.000 to 1.200 nats a token (+0.200), for a change of -0.193" in dear
    assert "keep.replay" in dear
    assert "keep." not in price(loss, Curve("kept_loss", [], [(0.0, 1.0), (10.0, 1.01)]))
    assert price(loss, Curve("kept_loss", [], [(0.0, 1.0)])) == ""
