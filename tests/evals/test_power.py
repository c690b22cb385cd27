"""How many items are enough: the published vectors, and that the three ways of asking agree."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from align.evals.power import detectable, items_needed, power_of


@pytest.mark.parametrize(("n", "points"), [(100, 7.5), (250, 4.7), (500, 3.3), (1000, 2.4), (1508, 1.9)])
def test_what_so_many_items_detect(n: int, points: float) -> None:
    assert 100 * detectable(n, sd=0.3) == pytest.approx(points, abs=0.05)


@given(st.floats(0.005, 0.5), st.floats(0.05, 1), st.floats(0.001, 0.2), st.floats(0.5, 0.99))
def test_the_items_needed_detect_it_and_one_fewer_does_not(
    difference: float, sd: float, alpha: float, power: float
) -> None:
    n = items_needed(difference, sd=sd, alpha=alpha, power=power)
    assert detectable(n, sd=sd, alpha=alpha, power=power) <= difference * (1 + 1e-9)
    assert power_of(n, difference, sd=sd, alpha=alpha) >= power - 1e-9
    if n > 1:
        assert detectable(n - 1, sd=sd, alpha=alpha, power=power) >= difference * (1 - 1e-9)


def test_simulated_worlds_find_it_as_often_as_is_said() -> None:
    random = np.random.default_rng(0)
    n = items_needed(0.05, sd=0.3)
    means = random.normal(0.05, 0.3, size=(4000, n)).mean(axis=1)
    assert (means > 1.6449 * 0.3 / np.sqrt(n)).mean() == pytest.approx(0.8, abs=0.02)


def test_no_number_of_items_finds_nothing() -> None:
    with pytest.raises(ValueError, match="found by no number"):
        items_needed(0.0, sd=0.3)
    with pytest.raises(ValueError, match="detect nothing"):
        detectable(0, sd=0.3)
