"""How far a coefficient of agreement may be trusted: its interval, by drawing the judged things again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from align.preference.agreement import Unit

Floats = NDArray[np.float64]
N_DRAWS = 1000
FEWEST = 5
"""Things that must have been labelled twice before an interval is given: fewer draws would mostly repeat each other."""
MOST_PAIRS = 64
"""Pairs of annotators beyond which the interval of their mean κ is not worth its time."""
Interval = tuple[float, float]


def intervals(units: Sequence[Unit], *, seed: int = 0, level: float = 0.95) -> dict[str, Interval]:
    """Percentile intervals of `raw`, `krippendorff_alpha`, `fleiss_kappa` and `cohen_kappa`, whole units drawn anew.

    A coefficient that is undefined in more than one draw in twenty has none. Every coefficient is a function of sums
    over units, so a draw is a row of weights.
    """
    shared = [unit for unit in units if len(unit) >= 2]
    if len(shared) < FEWEST:
        return {}
    names = sorted({label for unit in shared for label in unit.values()}, key=repr)
    counts = np.array([[Counter(unit.values())[name] for name in names] for unit in shared], dtype=np.float64)
    random = np.random.default_rng(seed)
    weights = random.multinomial(len(shared), np.full(len(shared), 1 / len(shared)), size=N_DRAWS).astype(np.float64)
    sizes = counts.sum(axis=1)
    equal, pairs = (counts * (counts - 1)).sum(axis=1), sizes * (sizes - 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        total = weights @ counts
        n = total.sum(axis=1)
        apart = weights @ ((sizes**2 - (counts**2).sum(axis=1)) / (sizes - 1)) / n
        chance = (n**2 - (total**2).sum(axis=1)) / (n * (n - 1))
        found = {"raw": weights @ equal / (weights @ pairs), "krippendorff_alpha": 1 - apart / chance}
        if len(set(sizes)) == 1:
            expected = ((total / n[:, None]) ** 2).sum(axis=1)
            observed = weights @ (equal / pairs) / len(shared)
            found["fleiss_kappa"] = (observed - expected) / (1 - expected)
        kappa = _cohen(shared, [repr(name) for name in names], weights)
        if kappa is not None:
            found["cohen_kappa"] = kappa
    return {name: limits for name, draws in found.items() if (limits := percentile(draws, level)) is not None}


def ordinal_interval(ranks: Sequence[Sequence[float]], *, seed: int = 0, level: float = 0.95) -> Interval | None:
    """The same for α of labels that have an order; None where there are too few things or no contrast."""
    shared = [unit for unit in ranks if len(unit) >= 2]
    if len(shared) < FEWEST:
        return None
    values = sorted({value for unit in shared for value in unit})
    counts = np.array([[unit.count(value) for value in values] for unit in shared], dtype=np.float64)
    sizes = counts.sum(axis=1)
    together = counts[:, :, None] * counts[:, None, :] / (sizes - 1)[:, None, None]
    random = np.random.default_rng(seed)
    weights = random.multinomial(len(shared), np.full(len(shared), 1 / len(shared)), size=N_DRAWS).astype(np.float64)
    total = weights @ counts
    n = total.sum(axis=1)
    middle = np.cumsum(total, axis=1) - total / 2
    far = (middle[:, :, None] - middle[:, None, :]) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        observed = (np.tensordot(weights, together, axes=1) * far).sum(axis=(1, 2)) / n
        expected = (total[:, :, None] * total[:, None, :] * far).sum(axis=(1, 2)) / (n * (n - 1))
        return percentile(1 - observed / expected, level)


def percentile(draws: Floats, level: float) -> Interval | None:
    """The middle `level` of the draws that are finite; None where too few are."""
    finite = draws[np.isfinite(draws)]
    if finite.size < 0.95 * draws.size:
        return None
    low, high = np.quantile(finite, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _cohen(units: Sequence[Unit], names: Sequence[str], weights: Floats) -> Floats | None:
    """The mean κ over pairs of annotators, in every draw."""
    people = sorted({who for unit in units for who in unit})
    pairs = list(combinations(people, 2))
    if len(pairs) > MOST_PAIRS:
        return None
    place = {name: i for i, name in enumerate(names)}
    top, bottom = np.zeros(len(weights)), np.zeros(len(weights))
    for a, b in pairs:
        rows = [i for i, unit in enumerate(units) if a in unit and b in unit]
        if not rows:
            continue
        one = np.eye(len(names))[[place[repr(units[i][a])] for i in rows]]
        two = np.eye(len(names))[[place[repr(units[i][b])] for i in rows]]
        drawn = weights[:, rows]
        n = drawn.sum(axis=1)
        same = drawn @ (one * two).sum(axis=1) / n
        expected = ((drawn @ one) * (drawn @ two)).sum(axis=1) / n**2
        kappa = (same - expected) / (1 - expected)
        defined = np.isfinite(kappa) & (expected < 1 - 1e-12)
        top += np.where(defined, kappa * n, 0)
        bottom += np.where(defined, n, 0)
    return top / bottom
