"""The alarm for a reward that is learnt instead of what it stands for, and the curves around it."""

from __future__ import annotations

import math
from random import Random
from statistics import fmean

import pytest

from align.preference.overoptimisation import Look, alarm, best_of_n_kl, distinct, gao, self_similarity


def run(n_looks: int, *, drift: float, noise: float, seed: int, n: int = 64) -> list[Look]:
    """Looks whose true held-out mean changes by `drift` a look, with prompts' own levels and noise at each look."""
    rng = Random(seed)
    levels = [rng.gauss(0, 1) for _ in range(n)]
    return [
        Look(10 * t, tuple(0.1 * t + rng.gauss(0, 0.01) for _ in levels),
             tuple(level + drift * t + rng.gauss(0, noise) for level in levels), kl=0.5 * t)
        for t in range(n_looks)
    ]  # fmt: skip


def test_a_fall_on_the_same_prompts_raises_it() -> None:
    looks = [*run(3, drift=0.3, noise=0.2, seed=1)]
    fallen = Look(99, tuple(x + 1 for x in looks[-1].proxy), tuple(x - 0.5 for x in looks[-1].held_out), 3.0)
    found = alarm([*looks, fallen])
    assert found is not None
    assert (found.step, found.best) == (99, 20)
    assert found.fall == pytest.approx(0.5)


def test_a_fall_of_both_is_no_over_optimisation() -> None:
    looks = run(3, drift=0.3, noise=0.2, seed=1)
    fallen = Look(99, tuple(x - 1 for x in looks[-1].proxy), tuple(x - 0.5 for x in looks[-1].held_out), 3.0)
    assert alarm([*looks, fallen]) is None


def test_nothing_is_said_without_a_judge_or_of_one_look() -> None:
    looks = run(1, drift=0, noise=0, seed=0)
    assert alarm(looks) is None
    assert alarm([Look(i, (float(i),), (), 0.0) for i in range(4)]) is None


@pytest.mark.parametrize(("standard_errors", "low", "high"), [(3.0, 0.03, 0.14), (2.5, 0.12, 0.3), (2.0, 0.4, 0.62)])
def test_how_often_it_fires_on_flat_noise(standard_errors: float, low: float, high: float) -> None:
    """Of 200 runs of ten looks after the first: the rates that the rule's documentation states, give or take 3 SE."""
    assert low <= fired([run(11, drift=0.0, noise=1.0, seed=seed) for seed in range(200)], standard_errors) <= high


def test_how_often_it_fires_where_looks_share_most_of_their_noise() -> None:
    def changing(seed: int, n: int = 64) -> list[Look]:
        rng = Random(seed)
        levels = [rng.gauss(0, 1) for _ in range(n)]
        now = [level + rng.gauss(0, 0.8) for level in levels]
        looks = []
        for t in range(11):
            looks.append(Look(10 * t, tuple(0.1 * t for _ in levels), tuple(now), 0.5 * t))
            now = [levels[i] + rng.gauss(0, 0.8) if rng.random() < 0.15 else x for i, x in enumerate(now)]
        return looks

    assert 0.02 <= fired([changing(seed) for seed in range(200)], 2.5) <= 0.14


def fired(runs: list[list[Look]], standard_errors: float) -> float:
    """The share of runs in which the alarm was raised at some look."""
    return sum(any(alarm(looks[: k + 1], standard_errors) for k in range(1, 11)) for looks in runs) / len(runs)


def test_two_falls_in_a_row_are_no_rule() -> None:
    runs = [[fmean(look.held_out) for look in run(11, drift=0.0, noise=1.0, seed=s)] for s in range(200)]
    fired = sum(any(means[i] > means[i + 1] > means[i + 2] for i in range(9)) for means in runs)
    assert fired / 200 > 0.5


def test_the_curve_of_gao_is_found_again() -> None:
    points = [(kl, math.sqrt(kl) * (1.5 - 0.6 * math.log(math.sqrt(kl)))) for kl in (0.5, 1, 2, 4, 8, 16, 32)]
    found = gao(points)
    assert found is not None
    assert (found.alpha, found.beta) == (pytest.approx(1.5), pytest.approx(0.6))
    assert found.residual == pytest.approx(0, abs=1e-9)
    assert found.peak is not None
    assert found.at(found.peak) >= max(found.at(found.peak * 1.1), found.at(found.peak * 0.9))
    assert gao(points[:4]) is None
    assert gao([(1.0, 1.0)] * 6) is None


@pytest.mark.parametrize(("n", "kl"), [(1, 0.0), (2, 0.1931), (4, 0.6363), (16, 1.8351), (64, 3.1745)])
def test_what_choosing_the_best_can_cost(n: int, kl: float) -> None:
    assert best_of_n_kl(n) == pytest.approx(kl, abs=5e-5)


def test_diversity() -> None:
    assert distinct(["a b c", "a b d"]) == pytest.approx(3 / 4)
    assert math.isnan(distinct(["one", ""]))
    assert self_similarity(["a b c", "a b c"]) == 1.0
    assert self_similarity(["a b", "c d"]) == 0.0
    assert self_similarity(["yes", "yes"]) == 1.0
