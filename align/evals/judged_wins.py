"""Who wins when a judge has looked: raw win rates as AlpacaEval counts them, and win rates at equal length.

`win` of an item is 1 where the new model's answer was preferred, 0 where the other's, ½ for a tie, or anything between
where a judge gave a probability.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from align.evals import statistics
from align.evals.statistics import Clusters, Estimate

Floats = NDArray[np.float64]
LEAST_OVERLAP = 0.2
RIDGE = 1.0
"""Penalty on the length's slope (not on the intercept), in units of one item's curvature."""


@dataclass(frozen=True)
class Counts:
    """Of annotated rows."""

    wins: int
    losses: int
    ties: int
    unreadable: int
    """Rows whose judge gave no preference: in no rate, and never a tie."""


def alpaca_wins(preferences: Sequence[float | None]) -> tuple[list[float], Counts]:
    """Each readable row's win, from AlpacaEval's preference: 1 is the reference, 2 the new model, 0 or 1.5 a tie.

    A preference outside [1, 2] other than 0 is a tie too, as the authors count it; None is unreadable.
    """
    told = [p for p in preferences if p is not None and not np.isnan(p)]
    wins = [p - 1 if 1 <= p <= 2 else 0.5 for p in told]
    above, below = sum(w > 0.5 for w in wins), sum(w < 0.5 for w in wins)
    return wins, Counts(above, below, len(wins) - above - below, len(preferences) - len(told))


def raw(wins: ArrayLike, clusters: Clusters | None = None, *, level: float = 0.95) -> Estimate:
    """The mean win; its `se` is AlpacaEval's where items do not come in clusters."""
    return statistics.mean(wins, clusters, level=level, share=True)


def at_equal_length(
    wins: ArrayLike,
    new_length: ArrayLike,
    old_length: ArrayLike,
    clusters: Clusters | None = None,
    *,
    seed: int,
    n_draws: int = 1000,
    level: float = 0.95,
) -> Estimate | str:
    """The win rate where both answers are as long, or why there is none.

    logit P(win) = ψ + θ·tanh(Δ/sd Δ), Δ new minus old length (Dubois et al. 2024, arXiv:2404.04475, eq. 2, without its
    term for an instruction's difficulty, which needs many models' wins); θ has a ridge penalty; the rate is that at
    Δ = 0. Its interval comes from a bootstrap over items of the whole fit. Where less than 20 % of the items have a
    longer answer on either side, equal length is where there are no data, and there is no number.
    """
    y = np.asarray(wins, dtype=np.float64)
    longer = np.asarray(new_length, dtype=np.float64) - np.asarray(old_length, dtype=np.float64)
    shares = float((longer > 0).mean()), float((longer < 0).mean())
    if min(shares) < LEAST_OVERLAP:
        return (
            f"lengths do not overlap: the new answer is longer in {shares[0]:.0%} and shorter in {shares[1]:.0%} of "
            f"{y.size} items, and {LEAST_OVERLAP:.0%} of each are needed"
        )

    def rate(rows: Floats) -> float:
        return float(1 / (1 + np.exp(-fit(rows[:, 0], rows[:, 1])[0])))

    found = statistics.bootstrap(np.column_stack([y, longer]), rate, clusters, seed=seed, n_draws=n_draws, level=level)
    return Estimate(
        found.value, found.low, found.high, found.n, found.n_clusters, found.se, "at equal length, " + found.method
    )


def fit(y: Floats, longer: Floats) -> tuple[float, float]:
    """Intercept and slope on tanh(Δ/sd) of a logistic regression by Newton's steps; `y` may lie between 0 and 1."""
    spread = longer.std()
    x = np.tanh(longer / spread) if spread > 0 else np.zeros_like(longer)
    design = np.column_stack([np.ones_like(x), x])
    # a tiny weight on the intercept keeps it finite where every item is won
    penalty = np.diag([1e-3, RIDGE])
    beta = np.zeros(2)
    for _ in range(50):
        p = 1 / (1 + np.exp(-(design @ beta)))
        gradient = design.T @ (y - p) - penalty @ beta
        curvature = (design * (p * (1 - p))[:, None]).T @ design + penalty
        step = np.linalg.solve(curvature, gradient)
        beta = beta + np.clip(step, -2, 2)
        if float(np.abs(step).max()) < 1e-9:
            break
    return float(beta[0]), float(beta[1])
