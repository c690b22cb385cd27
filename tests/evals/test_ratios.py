"""Ratios of sums: worked by hand, equal to what they must equal, and paired like means."""

from __future__ import annotations

import math

import numpy as np
import pytest

from align.evals import ratios, statistics


def test_a_ratio_whose_weights_are_one_is_a_mean_with_the_same_error() -> None:
    y = [1.0, 0, 1, 1, 0, 1, 0, 0, 1, 1]
    found = ratios.ratio(y, [1.0] * 10)
    assert found.value == pytest.approx(0.6)
    assert found.se == pytest.approx(statistics.standard_error(y))


def test_the_error_of_a_ratio_is_that_of_its_residuals() -> None:
    """y = 1, 3, 2 over w = 2, 3, 1: R = 1, residuals −1, 0, 1 over w̄ = 2: sd ½, over √3."""
    found = ratios.ratio([1.0, 3, 2], [2.0, 3, 1], limits=(0.0, math.inf))
    assert found.value == pytest.approx(1.0)
    assert found.se == pytest.approx(0.5 / math.sqrt(3))


def test_items_that_count_for_nothing_change_nothing() -> None:
    random = np.random.default_rng(0)
    y, w = random.random(40), np.ones(40)
    alone = ratios.ratio(y, w)
    beside = ratios.ratio(np.append(y, np.zeros(60)), np.append(w, np.zeros(60)))
    assert (beside.value, beside.low, beside.high) == pytest.approx((alone.value, alone.low, alone.high), rel=1e-2)


def test_a_bias_score_lies_between_minus_one_and_one_and_so_does_its_interval() -> None:
    found = ratios.ratio([-1.0] * 9 + [1.0], [1.0] * 10, limits=(-1.0, 1.0))
    assert found.value == pytest.approx(-0.8)
    assert -1 <= found.low < -0.8 < found.high < 0
    at_the_end = ratios.ratio([-1.0] * 20, [1.0] * 20, limits=(-1.0, 1.0))
    assert (at_the_end.value, at_the_end.low) == (-1.0, -1.0)
    assert at_the_end.high == pytest.approx(2 * 0.1684 - 1, abs=1e-3), "none of 20 is not zero"


def test_the_difference_of_two_ratios_is_paired_item_by_item() -> None:
    random = np.random.default_rng(1)
    w = random.integers(1, 5, 60).astype(float)
    y = w * random.random(60)
    same = ratios.paired((y, w), (y, w))
    assert (same.value, same.low, same.high) == (0, 0, 0)
    shifted = ratios.paired((y + 0.1 * w, w), (y, w))
    assert shifted.value == pytest.approx(0.1)
    assert shifted.high - shifted.low < 1e-9, "what is added to every item alike adds no doubt"


def test_there_is_no_ratio_where_nothing_counts() -> None:
    with pytest.raises(ValueError, match="no item counts"):
        ratios.ratio([0.0, 0.0], [0.0, 0.0])
