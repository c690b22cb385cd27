"""Ratios of sums, and means that lie between two limits: intervals that stay honest near their ends.

Precision, recall, F1 and the bias score of disambiguated questions are sums over sums: Σ y / Σ w over items. Their
error is that of the mean of the residuals y − R·w, clustered as the items are (Cochran 1977, section 6.5).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from align.evals import statistics
from align.evals.statistics import Clusters, Estimate

Floats = NDArray[np.float64]
Limits = tuple[float, float]


def ratio(
    y: ArrayLike, w: ArrayLike, clusters: Clusters | None = None, *, limits: Limits = (0.0, 1.0), level: float = 0.95
) -> Estimate:
    """Σ y / Σ w with its interval; ValueError where Σ w is 0. `n` counts the items, those of weight 0 too.

    A ratio without an upper limit gets Student's t over clusters.

    `limits` are the least and greatest value the ratio can have: the interval is Wilson's over as many items as the
    ratio's error is worth, stretched between them; a ratio at a limit gets the exact binomial interval over clusters.
    """
    y_, w_ = np.asarray(y, dtype=np.float64), np.asarray(w, dtype=np.float64)
    if not w_.sum() > 0:
        raise ValueError("no item counts here")
    if math.isinf(limits[1]):
        found = statistics.mean(residuals(y_, w_), clusters, level=level)
        r = float(y_.sum() / w_.sum())
        return Estimate(r, r + found.low, r + found.high, found.n, found.n_clusters, found.se, "ratio, " + found.method)
    least, width = limits[0], limits[1] - limits[0]
    share_y = (y_ - least * w_) / width
    counted = w_ > 0
    groups = np.unique(np.asarray(clusters if clusters is not None else np.arange(y_.size)), return_inverse=True)[1]
    n_clusters = int(np.unique(groups[counted]).size)
    share = float(share_y.sum() / w_.sum())
    low, high, se, method = 0.0, 1.0, float("inf"), "one cluster"
    if n_clusters > 1:
        # items that count for nothing carry no information: their clusters are not counted
        se = statistics.clustered_error(residuals(share_y, w_)[counted], groups[counted]) * counted.sum() / y_.size
        if se < 1e-12:
            low, high = statistics.clopper_pearson(round(share * n_clusters), n_clusters, level=level)
            low, high, method = min(low, share), max(high, share), "clopper-pearson over clusters"
        else:
            z = statistics.t_quantile(level, n_clusters - 1)
            low, high = score_limits(share, share * (1 - share) / se**2, z)
            method = "wilson, effective n"
    clustered = ", clustered" if n_clusters < counted.sum() and method != "one cluster" else ""
    return Estimate(
        least + width * share, least + width * low, least + width * high, y_.size, n_clusters, width * se,
        method + clustered,
    )  # fmt: skip


def paired(
    new: tuple[ArrayLike, ArrayLike],
    old: tuple[ArrayLike, ArrayLike],
    clusters: Clusters | None = None,
    *,
    level: float = 0.95,
) -> Estimate:
    """The difference of two ratios over the same items; each of `new` and `old` is (y, w)."""
    sides = [(np.asarray(y, dtype=np.float64), np.asarray(w, dtype=np.float64)) for y, w in (new, old)]
    if not all(w.sum() > 0 for _, w in sides):
        raise ValueError("no item counts here, of one of the two models")
    values = [float(y.sum() / w.sum()) for y, w in sides]
    d = residuals(*sides[0]) - residuals(*sides[1]) + (values[0] - values[1])
    found = statistics.mean(d, clusters, level=level)
    return Estimate(found.value, found.low, found.high, found.n, found.n_clusters, found.se, "ratio, " + found.method)


def residuals(y: Floats, w: Floats) -> Floats:
    """What each item adds to the ratio's error; their mean is 0."""
    return np.asarray((y - y.sum() / w.sum() * w) / w.mean())


def bounded_mean(y: ArrayLike, limits: Limits, clusters: Clusters | None = None, *, level: float = 0.95) -> Estimate:
    """The mean of values between `limits`: a share's interval, stretched between them."""
    y_ = np.asarray(y, dtype=np.float64)
    least, width = limits[0], limits[1] - limits[0]
    found = statistics.mean((y_ - least) / width, clusters, level=level, share=True)
    return Estimate(
        least + width * found.value, least + width * found.low, least + width * found.high, found.n, found.n_clusters,
        width * found.se, found.method,
    )  # fmt: skip


def score_limits(share: float, n: float, z: float) -> Limits:
    """Wilson 1927, for `n` items that need not be whole."""
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * float(np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))) / (1 + z**2 / n)
    return max(0.0, centre - half), min(1.0, centre + half)
