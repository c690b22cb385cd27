"""Coefficients and their intervals: known vectors, other implementations, and how often an interval holds the truth."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest

from align.preference.agreement import agreement, alpha, krippendorff_alpha, ordinal_alpha
from align.preference.resampled import intervals, ordinal_interval

# Krippendorff's own example of four observers and twelve units (Computing Krippendorff's Alpha-Reliability, 2011)
CANONICAL = [
    [1, 1, None, 1], [2, 2, 3, 2], [3, 3, 3, 3], [3, 3, 3, 3], [2, 2, 2, 2], [1, 2, 3, 4],
    [4, 4, 4, 4], [1, 1, 2, 1], [2, 2, 2, 2], [None, 5, 5, 5], [None, None, 1, 1], [None, None, 3, None],
]  # fmt: skip
UNITS = [[label for label in unit if label is not None] for unit in CANONICAL]


@pytest.mark.parametrize(
    ("found", "known"),
    [
        (krippendorff_alpha(UNITS), 0.743),
        (ordinal_alpha(UNITS), 0.815),
        (alpha(UNITS, lambda a, b, _: (a - b) ** 2), 0.849),
        (alpha(UNITS, lambda a, b, _: ((a - b) / (a + b)) ** 2), 0.797),
    ],
)
def test_alpha_of_the_canonical_example(found: float | None, known: float) -> None:
    assert found == pytest.approx(known, abs=5e-4)


def test_an_order_makes_near_labels_agree_more_than_far_ones() -> None:
    near = [[1, 2], [2, 3], [3, 3], [1, 1], [2, 2], [3, 2]]
    far = [[1, 3], [3, 1], [3, 3], [1, 1], [2, 2], [1, 3]]
    assert ordinal_alpha(near) > ordinal_alpha(far)  # type: ignore[operator]
    assert ordinal_alpha([[2, 2], [2, 2]]) is None
    assert ordinal_alpha([[1], [2]]) is None


def drawn(rng: Random, n: int, care: float) -> list[dict[str, int]]:
    """`n` things of two kinds, each labelled by three people who are right with probability `care`."""
    made = []
    for _ in range(n):
        truth = rng.randrange(2)
        made.append({name: truth if rng.random() < care else 1 - truth for name in ("ana", "ben", "cyd")})
    return made


def test_an_interval_of_each_coefficient_holds_it_and_shrinks_with_more() -> None:
    few, many = drawn(Random(1), 40, 0.85), drawn(Random(1), 640, 0.85)
    for units in (few, many):
        whole, found = agreement(units), intervals(units)
        assert set(found) == {"raw", "krippendorff_alpha", "fleiss_kappa", "cohen_kappa"}
        for name, (low, high) in found.items():
            assert low < getattr(whole, name) < high
    assert intervals(many)["cohen_kappa"] == pytest.approx(intervals(many)["krippendorff_alpha"], abs=0.01)
    width = {n: high - low for n, (low, high) in ((1, intervals(few)["raw"]), (2, intervals(many)["raw"]))}
    assert 2.5 < width[1] / width[2] < 6


def test_the_interval_of_alpha_holds_the_truth_as_often_as_it_says() -> None:
    """People right 4 times in 5: any two agree on .8² + .2² = .68 of things of even kinds, so alpha is .36."""
    held = 0
    for seed in range(100):
        low, high = intervals(drawn(Random(seed), 80, 0.8), seed=seed)["krippendorff_alpha"]
        held += low <= 0.36 <= high
    assert 88 <= held <= 100, f"{held} of 100"


def test_the_ordinal_interval_holds_alpha_and_equals_drawing_by_hand() -> None:
    rng = Random(4)
    ranks = [[(truth := rng.randrange(-3, 4)) + rng.choice((0, 0, 0, 1)), truth, truth] for _ in range(60)]
    found = ordinal_interval(ranks, seed=3)
    whole = ordinal_alpha(ranks)
    assert found is not None
    assert whole is not None
    assert found[0] < whole < found[1]
    weights = np.random.default_rng(3).multinomial(60, np.full(60, 1 / 60), size=1000)
    by_hand = [ordinal_alpha([ranks[i] for i in np.repeat(np.arange(60), row)]) for row in weights]
    assert found == pytest.approx(tuple(np.quantile(by_hand, [0.025, 0.975])))
    assert ordinal_interval([[1, 1]] * 20) is None
    assert ordinal_interval([[1], [2]] * 20) is None


def test_where_nothing_was_labelled_twice_or_all_is_one_label_there_is_no_interval() -> None:
    assert intervals([{"ana": 1}] * 50) == {}
    assert intervals([{"ana": 1, "ben": 1}] * 4) == {}
    assert "krippendorff_alpha" not in intervals([{"ana": 1, "ben": 1}] * 50)
    assert intervals([{"ana": 1, "ben": 1}] * 50)["raw"] == (1.0, 1.0)


def test_equal_inputs_give_equal_intervals_whatever_the_order_of_people() -> None:
    units = drawn(Random(3), 60, 0.7)
    turned = [dict(reversed(list(unit.items()))) for unit in units]
    assert intervals(units) == intervals(turned)
    assert np.isfinite(list(intervals(units).values())).all()
