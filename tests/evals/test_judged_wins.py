"""Win rates against published leaderboards, and what length explains in worlds where that is known."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from align.data import published
from align.evals import judged_wins
from align.evals.statistics import Estimate
from tests.evals.published import folder

MODELS = ("alpaca-7b", "alpaca-farm-ppo-human", "gpt-3.5-turbo-1106", "llama-2-7b-chat-hf")
BOARDS = {
    "alpaca_eval_gpt4": "alpaca_eval_gpt4_leaderboard.csv",
    "weighted_alpaca_eval_gpt4_turbo": "weighted_alpaca_eval_gpt4_turbo_leaderboard.csv",
}
KEPT = [(m, b) for m in MODELS for b in BOARDS if (m, b) != ("llama-2-7b-chat-hf", "weighted_alpaca_eval_gpt4_turbo")]


def board(path: Path) -> dict[str, dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as stream:
        return {row[next(iter(row))]: row for row in csv.DictReader(stream)}


def wins(path: Path) -> tuple[list[float], judged_wins.Counts]:
    return judged_wins.alpaca_wins([row.data["preference"] for row in published.rows(path)])


@pytest.mark.parametrize(("model", "judge"), KEPT)
def test_alpaca_evals_leaderboard_is_met_to_four_decimals(model: str, judge: str) -> None:
    place = folder("preferences/alpaca_eval")
    found, counts = wins(place / f"{model}.{judge}.annotations.json.gz")
    told = board(place / BOARDS[judge])[model]
    estimate = judged_wins.raw(found)
    assert round(100 * estimate.value, 4) == round(float(told["win_rate"]), 4)
    assert round(100 * estimate.se, 4) == round(float(told["standard_error"]), 4)
    assert len(found) == int(told["n_total"])
    assert counts.wins + counts.losses + counts.ties == len(found)
    assert (counts.wins, counts.losses) == (int(told["n_wins"]), int(told["n_wins_base"]))
    assert counts.unreadable == (1 if len(found) == 804 else 0)


@pytest.mark.parametrize(
    ("file", "rate"),
    [("tulu-2-dpo-13b.0.vs_gpt-3.5-turbo-0613", 27.3137), ("tulu-2-dpo-13b.1.vs_gpt-3.5-turbo-0613", 28.6766),
     ("bon_by_reward-model-deberta-v3-large-v2", 33.3872)],
)  # fmt: skip
def test_the_best_of_sixteen_wins_as_often_as_its_authors_found(file: str, rate: float) -> None:
    found, _ = wins(folder("preferences/bon_tulu-2-dpo-13b") / f"{file}.annotations.json.gz")
    assert round(100 * judged_wins.raw(found).value, 4) == rate


def world(n: int, quality: float, length: float, shift: float, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Wins with a logit of `quality` at equal length and `length` a unit of tanh; the new answer `shift` sd longer."""
    random = np.random.default_rng(seed)
    old = random.normal(100, 10, n)
    new = old + random.normal(0, 20, n) + 20 * shift
    x = np.tanh((new - old) / (new - old).std())
    return (random.random(n) < 1 / (1 + np.exp(-(quality + length * x)))).astype(float), new, old


def test_a_model_that_wins_by_length_alone_wins_half_at_equal_length() -> None:
    held, n = 0, 60
    for seed in range(n):
        y, new, old = world(300, 0.0, 1.5, 0.4, seed)
        found = judged_wins.at_equal_length(y, new, old, seed=seed, n_draws=200)
        assert isinstance(found, Estimate)
        held += found.low <= 0.5 <= found.high
    assert held >= 0.88 * n, f"{held} of {n} intervals hold one half"
    assert judged_wins.raw(y).value > 0.55, "the raw rate is what length bought"


def test_a_better_model_is_still_better_at_equal_length() -> None:
    y, new, old = world(800, 1.0, 1.5, 0.4, 2)
    found = judged_wins.at_equal_length(y, new, old, seed=0, n_draws=300)
    assert isinstance(found, Estimate)
    assert found.low < 1 / (1 + np.exp(-1)) < found.high


def test_where_one_side_is_always_longer_there_is_no_rate_at_equal_length() -> None:
    y, _, old = world(100, 0, 1, 0, 0)
    found = judged_wins.at_equal_length(y, old + 50, old, seed=0)
    assert isinstance(found, str)
    assert "longer in 100% and shorter in 0%" in found


def test_an_unreadable_judgment_is_no_tie() -> None:
    found, counts = judged_wins.alpaca_wins([1.0, 2.0, None, float("nan"), 0.0, 1.5, 11.0])
    assert found == [0.0, 1.0, 0.5, 0.5, 0.5]
    assert counts == judged_wins.Counts(1, 1, 3, 2)


def test_a_fit_of_wins_alone_stays_finite() -> None:
    intercept, slope = judged_wins.fit(np.ones(50), np.linspace(-1, 1, 50))
    assert 3 < intercept < 20
    assert abs(slope) < 1
