"""From item scores to measurements: one number with its interval, and how many items it stands on."""

from __future__ import annotations

import math
from collections.abc import Sequence

from align.evals import judged_wins, ratios, statistics
from align.evals.evidence import Instrument, Metric
from align.evals.statistics import Estimate
from align.records import ItemScore, Measurement, Meta, Provenance, Source

LEVEL = 0.95
LEAST_COVERAGE = 0.98
"""Of a public benchmark: a score over fewer of its items is no score of it."""


def measurements(
    instrument: Instrument,
    scores: Sequence[ItemScore],
    *,
    model: str,
    provenance: Provenance | None = None,
    sources: tuple[Source, ...] = (),
    meta: Meta | None = None,
) -> list[Measurement]:
    """One a metric that has items, in the order of the instrument's table."""
    made = []
    for metric in instrument.metrics:
        rows = [row for row in scores if row.metric == metric.name]
        if rows:
            n_unscored = sum(row.value is None for row in rows)
            found = estimate(metric, rows)
            if instrument.published is not None and 0 < n_unscored < len(rows):
                found = _covered(found, len(rows) - n_unscored, len(rows))
            made.append(
                measurement(
                    instrument.name, metric, found, n_unscored,
                    model=model, provenance=provenance, sources=sources, meta=meta,
                )
            )  # fmt: skip
    return made


def _covered(found: Estimate | str, n_scored: int, n: int) -> Estimate | str:
    if n_scored >= LEAST_COVERAGE * n:
        return found
    return f"only {n_scored} of {n} items could be scored, {LEAST_COVERAGE:.0%} are needed"


def measurement(
    instrument: str,
    metric: Metric,
    found: Estimate | str,
    n_unscored: int,
    *,
    model: str,
    provenance: Provenance | None,
    sources: tuple[Source, ...],
    meta: Meta | None,
) -> Measurement:
    """`found` as a record; a string says why there is no number."""
    known = found if isinstance(found, Estimate) else None
    bounded = known is not None and math.isfinite(known.low) and math.isfinite(known.high)
    return Measurement(
        instrument=instrument,
        metric=metric.name,
        model=model,
        value=known.value if known else None,
        low=known.low if known and bounded else None,
        high=known.high if known and bounded else None,
        level=LEVEL,
        n=known.n if known else 0,
        n_unscored=n_unscored,
        n_clusters=known.n_clusters if known else None,
        better=metric.better,
        unit=metric.unit,
        method=known.method if known else str(found),
        provenance=provenance,
        sources=sources,
        meta=meta or {},
    )


def estimate(metric: Metric, rows: Sequence[ItemScore], *, level: float = LEVEL) -> Estimate | str:
    """The metric over the scored rows, whatever their order; a string says why there is none."""
    scored = sorted((row for row in rows if row.value is not None), key=lambda row: row.item_id)
    values = [row.value for row in scored if row.value is not None]
    if not values:
        return "no item could be scored"
    clusters = cluster_names(scored)
    if metric.estimator == "slope":
        return slope_of(values, scored, clusters, level)
    if metric.estimator == "ratio":
        return ratio_of(metric, scored, level)
    if metric.estimator == "equal_length":
        longer = [float(str(row.meta["longer"])) for row in scored]
        return judged_wins.at_equal_length(values, longer, [0.0] * len(longer), clusters, seed=0, level=level)
    if metric.limits is not None:
        return ratios.bounded_mean(values, metric.limits, clusters, level=level)
    return statistics.mean(values, clusters, level=level, share=metric.unit == "share")


def slope_of(
    values: Sequence[float], rows: Sequence[ItemScore], clusters: Sequence[str], level: float
) -> Estimate | str:
    """The slope of `values` on each row's `meta.x`."""
    x = [float(str(row.meta["x"])) for row in rows]
    try:
        return statistics.slope(x, values, clusters, level=level)
    except ValueError as error:
        return str(error)


def ratio_of(metric: Metric, rows: Sequence[ItemScore], level: float) -> Estimate | str:
    """The ratio of the rows' values to their `meta.weight`."""
    y, w = ratio_parts(rows)
    try:
        return ratios.ratio(y, w, cluster_names(rows), limits=metric.limits or (0.0, 1.0), level=level)
    except ValueError as error:
        return str(error)


def ratio_parts(rows: Sequence[ItemScore]) -> tuple[list[float], list[float]]:
    """Values and weights of scored rows."""
    return [row.value for row in rows if row.value is not None], [float(str(row.meta["weight"])) for row in rows]


def cluster_names(rows: Sequence[ItemScore]) -> list[str]:
    """A row without a cluster is one of its own."""
    return [row.cluster if row.cluster is not None else f"item {row.item_id}" for row in rows]
