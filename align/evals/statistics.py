"""Intervals and paired tests: how far a number may be trusted.

Every function takes plain numbers. Levels are two-sided: 0.95 leaves 0.025 on either side; a gate with a one-sided
error rate `alpha` asks for the level `1 - 2 * alpha`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Clusters = Sequence[str] | Sequence[int]
"""The cluster of each item."""
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
    values: ArrayLike,
    clusters: Clusters | None = None,
    *,
    level: float = 0.95,
    share: bool = False,
) -> Estimate:
    """The mean of `values`; `share` says that they lie between 0 and 1.

    A share gets Wilson's score interval, over as many items as its error is worth (all of them, for zeros and ones that
    do not come in clusters); where items come in clusters, the exact binomial interval over that many. Anything else
    gets Student's t, over clusters where some hold several items. A share that does not vary at all gets the exact
    binomial interval over clusters: none of n is not zero.
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
    z = t_quantile(level, n_clusters - 1)
    clustered = "" if n_clusters == y.size else ", clustered"
    if share and clustered:
        low, high = korn_graubard(m, min(y.size, m * (1 - m) / se**2), n_clusters, level=level)
        return Estimate(m, low, high, y.size, n_clusters, se, "clopper-pearson, effective n, clustered")
    if share:
        low, high = _score_limits(m, m * (1 - m) / se**2, z)
        return Estimate(m, low, high, y.size, n_clusters, se, f"wilson, effective n{clustered}")
    return Estimate(m, m - z * se, m + z * se, y.size, n_clusters, se, f"student t{clustered}")


def _unvaried_share(value: float, n: int, level: float) -> tuple[float, float]:
    hits = round(value * n)
    low, high = clopper_pearson(hits, n, level=level)
    return min(low, value), max(high, value)


def slope(x: ArrayLike, y: ArrayLike, clusters: Clusters | None = None, *, level: float = 0.95) -> Estimate:
    """The least-squares slope of `y` on `x` with an intercept, its error by leaving out one cluster at a time.

    The cluster jackknife (CV3 of MacKinnon, Nielsen & Webb 2023, arXiv:2301.04527) with Student's t at C − 1 stays
    honest with twenty clusters, where the usual sandwich is too sure. Linear in `y`: the slope of a difference is the
    difference of the slopes, so paired comparisons use it unchanged.
    """
    x_, y_ = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    groups = _groups(clusters, y_.size)
    n_clusters = int(groups.max()) + 1 if y_.size else 0
    if n_clusters < 3:
        raise ValueError(f"a slope over {n_clusters} clusters")
    x_, y_ = x_ - x_.mean(), y_ - y_.mean()
    parts = np.array([np.bincount(groups, weights=w) for w in (np.ones_like(x_), x_, y_, x_ * x_, x_ * y_)])
    whole = parts.sum(axis=1)
    rest = whole[:, None] - parts
    spread = rest[3] - rest[1] ** 2 / rest[0]
    if spread.min() <= 1e-12 * max(1.0, float(whole[3])):
        raise ValueError("a slope at one place")
    without = (rest[4] - rest[1] * rest[2] / rest[0]) / spread
    b = float(whole[4] / whole[3])
    se = float(np.sqrt((n_clusters - 1) / n_clusters * ((without - b) ** 2).sum()))
    half = t_quantile(level, n_clusters - 1) * se
    return Estimate(b, b - half, b + half, y_.size, n_clusters, se, "least squares, cluster jackknife")


def paired(new: ArrayLike, old: ArrayLike, clusters: Clusters | None = None, *, level: float = 0.95) -> Estimate:
    """The mean of `new − old` over the same items.

    Zeros and ones in both get Tango's score interval, which stays honest when few items changed, over as many items as
    the design effect of their clusters leaves (Rao & Scott 1992); anything else Student's t on the differences.
    """
    a, b = np.asarray(new, dtype=np.float64), np.asarray(old, dtype=np.float64)
    if a.shape != b.shape or a.size == 0:
        raise ValueError(f"{a.size} against {b.size} items")
    d = a - b
    groups = _groups(clusters, d.size)
    n_clusters = int(groups.max()) + 1
    binary = bool(np.isin(a, LIMITS).all() and np.isin(b, LIMITS).all())
    if not binary or n_clusters < 2:
        return mean(d, clusters, level=level)
    gained, lost = int((d > 0).sum()), int((d < 0).sum())
    if n_clusters == d.size:
        low, high = tango(gained, lost, d.size, level=level)
        return Estimate(float(d.mean()), float(low), float(high), d.size, n_clusters, standard_error(d), "tango")
    se, alone = clustered_error(d, groups), standard_error(d)
    effect = max(1.0, (se / alone) ** 2) if alone else d.size / n_clusters
    # a t quantile of very few clusters is beyond what a normal level can say in floats
    wide = min(2 * NormalDist().cdf(t_quantile(level, n_clusters - 1)) - 1, 1 - 1e-12)
    low, high = tango(gained / effect, lost / effect, d.size / effect, level=wide)
    return Estimate(float(d.mean()), float(low), float(high), d.size, n_clusters, se, "tango, effective n, clustered")


def tango(gained: ArrayLike, lost: ArrayLike, n: ArrayLike, *, level: float = 0.95) -> tuple[Any, Any]:
    """Score interval of (gained − lost) / n for paired yes/no outcomes; arrays give arrays.

    Tango 1998, Statistics in Medicine 17:891: the limits are where the score statistic equals ±z, with
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


def clustered_error(values: ArrayLike, clusters: Clusters | NDArray[np.int64], *, corrected: bool = True) -> float:
    """Of the mean of clustered values: Miller 2024 (arXiv:2411.00640), variance times C/(C−1) if `corrected`."""
    y = np.asarray(values, dtype=np.float64)
    groups = _groups(clusters, y.size)
    sums = np.bincount(groups, weights=y - y.mean())
    factor = sums.size / (sums.size - 1) if corrected else 1.0
    return float(np.sqrt(factor * (sums @ sums)) / y.size)


def _score_limits(share: float, n: float, z: float) -> tuple[float, float]:
    """Wilson 1927, for `n` items that need not be whole."""
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * float(np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))) / (1 + z**2 / n)
    return max(0.0, centre - half), min(1.0, centre + half)


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


def korn_graubard(share: float, n: float, n_clusters: int, *, level: float = 0.95) -> tuple[float, float]:
    """Exact interval of a share over `n` effective items, fewer for the clusters' degrees of freedom.

    Korn & Graubard 1998, Survey Methodology 24:193. Near 0 and 1 with few clusters a score interval over the effective
    n covers 90 to 94 %, for clusters that hold no event hide how much they differ; this covers 92 to 96 %.
    """
    from scipy.special import betaincinv

    n *= (z_quantile(level) / t_quantile(level, n_clusters - 1)) ** 2
    hits, tail = share * n, (1 - level) / 2
    low = float(betaincinv(hits, n - hits + 1, tail)) if hits > 0 else 0.0
    high = float(betaincinv(hits + 1, n - hits, 1 - tail)) if hits < n else 1.0
    return low, high


def mcnemar(gained: int, lost: int) -> float:
    """Exact two-sided p-value of as many items gained as lost."""
    from scipy.stats import binomtest

    return float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0


def p_value(found: Estimate) -> float | None:
    """Two-sided, that the true value is 0: Student's t over clusters; None where the error is not known."""
    from scipy.special import stdtr

    if not np.isfinite(found.se) or found.n_clusters < 2:
        return None
    if found.se < 1e-12:
        return 1.0 if abs(found.value) < 1e-12 else None
    return float(2 * stdtr(found.n_clusters - 1, -abs(found.value) / found.se))


def bootstrap(
    values: ArrayLike,
    statistic: Callable[[Floats], float],
    clusters: Clusters | None = None,
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


def z_quantile(level: float) -> float:
    """The normal deviate that leaves (1 − level)/2 above it."""
    return NormalDist().inv_cdf((1 + level) / 2)


def t_quantile(level: float, df: int) -> float:
    """Student's deviate that leaves (1 − level)/2 above it."""
    from scipy.special import stdtrit

    return float(stdtrit(df, (1 + level) / 2))


def _groups(clusters: Clusters | NDArray[np.int64] | None, n: int) -> NDArray[np.int64]:
    if clusters is None:
        return np.arange(n, dtype=np.int64)
    if len(clusters) != n:
        raise ValueError(f"{len(clusters)} clusters for {n} items")
    return np.unique(np.asarray(clusters), return_inverse=True)[1].astype(np.int64)


def _put_back(values: Floats, order: NDArray[np.intp]) -> Floats:
    result = np.empty_like(values)
    result[order] = values
    return result
