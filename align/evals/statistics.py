"""Intervals, paired tests and sample sizes: how far a number may be trusted.

Every function takes plain numbers. Levels are two-sided: 0.95 leaves 0.025 on either side; a gate with a one-sided
error rate `alpha` asks for the level `1 - 2 * alpha`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
LIMITS = (0.0, 1.0)


@dataclass(frozen=True)
class Estimate:
    """A number with its interval."""

    value: float
    low: float
    high: float
    n: int
    n_clusters: int
    se: float
    method: str


def mean(
    values: ArrayLike, clusters: Sequence[Hashable] | None = None, *, level: float = 0.95, share: bool = False
) -> Estimate:
    """The mean of `values`; `share` says that they lie between 0 and 1.

    Zeros and ones alone get Wilson's interval; anything else Student's t, over clusters where some hold several items.
    Where nothing varies, a share at 0 or 1 gets the exact binomial interval over clusters: none of n is not zero.
    """
    y = np.asarray(values, dtype=np.float64)
    if y.size == 0:
        raise ValueError("the mean of no items")
    groups = _groups(clusters, y.size)
    n_clusters = int(groups.max()) + 1
    m = float(y.mean())
    if n_clusters == y.size and share and bool(np.isin(y, LIMITS).all()):
        low, high = wilson(int(y.sum()), y.size, level=level)
        return Estimate(m, low, high, y.size, n_clusters, standard_error(y), "wilson")
    if n_clusters < 2:
        low, high = LIMITS if share else (-np.inf, np.inf)
        return Estimate(m, low, high, y.size, n_clusters, np.inf, "one cluster")
    se = clustered_error(y, groups)
    if share and se < 1e-12:
        low, high = _unvaried_share(m, n_clusters, level)
        return Estimate(m, low, high, y.size, n_clusters, se, "clopper-pearson over clusters")
    half = t_quantile(level, n_clusters - 1) * se
    low, high = (max(0.0, m - half), min(1.0, m + half)) if share else (m - half, m + half)
    return Estimate(
        m, low, high, y.size, n_clusters, se, "student t" if n_clusters == y.size else "student t, clustered"
    )


def _unvaried_share(value: float, n: int, level: float) -> tuple[float, float]:
    hits = round(value * n)
    low, high = clopper_pearson(hits, n, level=level)
    return min(low, value), max(high, value)


def slope(x: ArrayLike, y: ArrayLike, clusters: Sequence[Hashable] | None = None, *, level: float = 0.95) -> Estimate:
    """The least-squares slope of `y` on `x` with an intercept, and its cluster-robust interval (CR1, t with C − 2).

    Linear in `y`: the slope of a difference is the difference of the slopes, so paired comparisons use it unchanged.
    """
    x_, y_ = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    groups = _groups(clusters, y_.size)
    n_clusters = int(groups.max()) + 1 if y_.size else 0
    dx = x_ - x_.mean() if x_.size else x_
    spread = float(dx @ dx)
    if n_clusters < 3 or spread == 0:
        raise ValueError(f"a slope over {n_clusters} clusters" + ("" if spread else " at one place"))
    b = float(dx @ y_) / spread
    residual = (y_ - y_.mean()) - b * dx
    sums = np.bincount(groups, weights=dx * residual)
    n = y_.size
    correction = n_clusters / (n_clusters - 1) * (n - 1) / (n - 2)
    se = float(np.sqrt(correction * (sums @ sums))) / spread
    half = t_quantile(level, n_clusters - 2) * se
    return Estimate(b, b - half, b + half, n, n_clusters, se, "least squares, clustered")


def paired(
    new: ArrayLike, old: ArrayLike, clusters: Sequence[Hashable] | None = None, *, level: float = 0.95
) -> Estimate:
    """The mean of `new − old` over the same items.

    Zeros and ones in both, unclustered, get Tango's score interval, which stays honest when few items changed;
    anything else Student's t on the differences, over clusters.
    """
    a, b = np.asarray(new, dtype=np.float64), np.asarray(old, dtype=np.float64)
    if a.shape != b.shape or a.size == 0:
        raise ValueError(f"{a.size} against {b.size} items")
    d = a - b
    groups = _groups(clusters, d.size)
    n_clusters = int(groups.max()) + 1
    binary = bool(np.isin(a, LIMITS).all() and np.isin(b, LIMITS).all())
    if binary and n_clusters == d.size:
        low, high = tango(int((d > 0).sum()), int((d < 0).sum()), d.size, level=level)
        return Estimate(float(d.mean()), float(low), float(high), d.size, n_clusters, standard_error(d), "tango")
    estimate = mean(d, clusters, level=level)
    if binary and estimate.se < 1e-12 and n_clusters > 1:
        low, high = tango(0, 0, n_clusters, level=level)
        return Estimate(estimate.value, float(low), float(high), d.size, n_clusters, 0.0, "tango over clusters")
    return estimate


def tango(gained: ArrayLike, lost: ArrayLike, n: ArrayLike, *, level: float = 0.95) -> tuple[Any, Any]:
    """Score interval of (gained − lost) / n for paired yes/no outcomes; arrays give arrays.

    Tango 1998, Statistics in Medicine 17:891, eq. 6 to 8: the limits are where the score statistic equals ±z, with
    the nuisance share at its maximum-likelihood value under that difference. Found by bisection.
    """
    b, c, m = np.broadcast_arrays(*(np.asarray(v, dtype=np.float64) for v in (gained, lost, n)))
    z = z_quantile(level)
    centre = (b - c) / m
    return (
        _bisect(lambda d: _score(b, c, m, d) - z, np.full_like(centre, -1.0), centre),
        _bisect(lambda d: _score(b, c, m, d) + z, centre, np.ones_like(centre)),
    )


def _score(b: Floats, c: Floats, n: Floats, d: Floats) -> Floats:
    """Falls from plus to minus infinity as `d` rises from −1 to 1."""
    linear = b + c - (2 * n - b + c) * d
    q = (linear + np.sqrt(np.maximum(linear**2 + 8 * n * c * d * (1 - d), 0))) / (4 * n)
    variance = np.maximum(n * (2 * q + d * (1 - d)), 1e-12)
    return np.asarray((b - c - n * d) / np.sqrt(variance))


def _bisect(f: Callable[[Floats], Floats], low: Floats, high: Floats) -> Floats:
    for _ in range(50):
        middle = (low + high) / 2
        above = f(middle) > 0
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return (low + high) / 2


def standard_error(values: ArrayLike) -> float:
    """Of the mean of independent values; infinite for fewer than two."""
    y = np.asarray(values, dtype=np.float64)
    return float(y.std(ddof=1) / np.sqrt(y.size)) if y.size > 1 else float("inf")


def clustered_error(
    values: ArrayLike, clusters: Sequence[Hashable] | NDArray[np.int64], *, corrected: bool = True
) -> float:
    """Of the mean of clustered values: Miller 2024 (arXiv:2411.00640) eq. 4, variance times C/(C−1) if `corrected`."""
    y = np.asarray(values, dtype=np.float64)
    groups = _groups(clusters, y.size)
    sums = np.bincount(groups, weights=y - y.mean())
    factor = sums.size / (sums.size - 1) if corrected else 1.0
    return float(np.sqrt(factor * (sums @ sums)) / y.size)


def wilson(hits: int, n: int, *, level: float = 0.95) -> tuple[float, float]:
    """Score interval of a share."""
    from scipy.stats import binomtest

    found = binomtest(hits, n).proportion_ci(level, method="wilson")
    return float(found.low), float(found.high)


def clopper_pearson(hits: int, n: int, *, level: float = 0.95) -> tuple[float, float]:
    """Exact interval of a share, never too narrow."""
    from scipy.stats import binomtest

    found = binomtest(hits, n).proportion_ci(level, method="exact")
    return float(found.low), float(found.high)


def mcnemar(gained: int, lost: int) -> float:
    """Exact two-sided p-value of as many items gained as lost."""
    from scipy.stats import binomtest

    return float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0


def bootstrap(
    values: ArrayLike,
    statistic: Callable[[Floats], float],
    clusters: Sequence[Hashable] | None = None,
    *,
    seed: int,
    n_draws: int = 10_000,
    level: float = 0.95,
) -> Estimate:
    """Percentile interval of any statistic of rows, whole clusters drawn with replacement."""
    y = np.asarray(values, dtype=np.float64)
    groups = _groups(clusters, len(y))
    members = [np.flatnonzero(groups == g) for g in range(int(groups.max()) + 1)]
    random = np.random.default_rng(seed)
    drawn = np.empty(n_draws)
    for i in range(n_draws):
        chosen = random.integers(len(members), size=len(members))
        drawn[i] = statistic(y[np.concatenate([members[c] for c in chosen])])
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    method = f"bootstrap over clusters, {n_draws} draws, seed {seed}"
    return Estimate(
        float(statistic(y)), float(low), float(high), len(y), len(members), float(drawn.std(ddof=1)), method
    )


def holm(p_values: ArrayLike) -> Floats:
    """p-values adjusted so that any false alarm among them is as rare as the level says (Holm 1979)."""
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    adjusted = np.minimum(np.maximum.accumulate(p[order] * (p.size - np.arange(p.size))), 1)
    return _put_back(adjusted, order)


def benjamini_hochberg(p_values: ArrayLike) -> Floats:
    """p-values adjusted so that at most the level's share of alarms is false (Benjamini & Hochberg 1995)."""
    from scipy.stats import false_discovery_control

    return np.asarray(false_discovery_control(np.asarray(p_values, dtype=np.float64)))


def items_needed(sd: float, margin: float, *, alpha: float = 0.05, power: float = 0.8) -> int:
    """Items for a one-sided test to see `margin` in paired differences that spread by `sd` (Miller 2024, eq. 9)."""
    z = NormalDist().inv_cdf(1 - alpha) + NormalDist().inv_cdf(power)
    return int(np.ceil((z * sd / margin) ** 2))


def detectable(sd: float, n: int, *, alpha: float = 0.05, power: float = 0.8) -> float:
    """The smallest difference that `n` items can show."""
    return (NormalDist().inv_cdf(1 - alpha) + NormalDist().inv_cdf(power)) * sd / float(np.sqrt(n))


def z_quantile(level: float) -> float:
    """The normal deviate that leaves (1 − level)/2 above it."""
    return NormalDist().inv_cdf((1 + level) / 2)


def t_quantile(level: float, df: int) -> float:
    """Student's deviate that leaves (1 − level)/2 above it."""
    from scipy.special import stdtrit

    return float(stdtrit(df, (1 + level) / 2))


def _groups(clusters: Sequence[Hashable] | NDArray[np.int64] | None, n: int) -> NDArray[np.int64]:
    if clusters is None:
        return np.arange(n, dtype=np.int64)
    if len(clusters) != n:
        raise ValueError(f"{len(clusters)} clusters for {n} items")
    names: dict[Hashable, int] = {}
    return np.array([names.setdefault(c, len(names)) for c in clusters], dtype=np.int64)


def _put_back(values: Floats, order: NDArray[np.intp]) -> Floats:
    result = np.empty_like(values)
    result[order] = values
    return result
