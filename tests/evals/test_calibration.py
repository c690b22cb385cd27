"""Calibration: a model that is as right as it is sure has none to complain of; one that is surer has."""

from __future__ import annotations

import math
from random import Random

import pytest

from align.evals.calibration import ScoredPair, calibration, ece, held_out


def drawn(n: int, *, sharper: float = 1.0, seed: int = 0) -> list[ScoredPair]:
    """Pairs whose truth has leads of spread 2; the model reports them `sharper` times as large."""
    random = Random(seed)
    found = []
    for i in range(n):
        lead = random.gauss(0, 2)
        first_wins = random.random() < 1 / (1 + math.exp(-lead))
        lead = lead if first_wins else -lead
        found.append(ScoredPair(str(i), f"prompt {i // 2}", sharper * lead, 1.0, random.choice((-5, 0, 5))))
    return found


def test_a_model_that_is_as_right_as_it_is_sure_is_calibrated() -> None:
    found = calibration(drawn(4000))
    assert found["ece"]["value"] < 0.03
    assert found["ece"]["value"] < 2 * found["ece_if_calibrated"] + 0.005
    assert found["temperature"] == pytest.approx(1, abs=0.1)
    assert sum(row["n"] for row in found["bins"]) == 4000


def test_one_that_is_three_times_as_sure_is_found_out_and_cooled() -> None:
    found = calibration(drawn(4000, sharper=3.0))
    assert found["ece"]["low"] > 2 * found["ece_if_calibrated"]
    assert found["temperature"] == pytest.approx(3, rel=0.1)


def test_the_order_in_which_a_pair_is_written_decides_nothing() -> None:
    import numpy as np

    table = np.array([[0.3, 1.0], [-2.0, 0.8], [1.5, 0.6], [0.1, 1.0], [3.0, 1.0], [-0.2, 0.7]])
    swapped = np.column_stack([-table[:, 0], 1 - table[:, 1]])
    assert ece(table) == pytest.approx(ece(swapped))


def test_accuracy_stands_beside_the_longer_answers_and_their_paired_difference() -> None:
    pairs = [ScoredPair(str(i), str(i), 1.0 if i < 15 else -1.0, 1.0, 5 if i < 10 else -5) for i in range(20)]
    found = held_out(pairs)
    assert (found["accuracy"]["value"], found["longer"]["value"]) == (0.75, 0.5)
    assert found["over_longer"]["value"] == pytest.approx(0.25)
    assert found["over_longer"]["low"] < 0.25 < found["over_longer"]["high"]
    assert "accuracy_matched" not in found
    assert held_out([]) == {"n": 0}
