"""Two models side by side: one metric's difference over the same items, and who wins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from align.evals import harness, ratios, statistics, summary, win_rate
from align.evals.evidence import Metric
from align.evals.instruments import COMPARISONS, INSTRUMENTS
from align.evals.statistics import Estimate
from align.records import ItemScore, Measurement, Provenance, Source

COMPARATORS = ("base", "sft", "previous")


@dataclass(frozen=True)
class Measured:
    """What one evaluation left: a model's rows for one instrument."""

    model: str
    instrument: str
    rows: Sequence[ItemScore]
    outputs: str | None = None
    """Digest of all that the model said or scored; equal for two models that cannot be told apart."""
    provenance: Provenance | None = None
    source: Source | None = None

    foreign: Mapping[str, Metric] = field(default_factory=dict)
    """Metrics that no instrument of ours names, by name."""

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """What it may hold, in the order of the instrument's table."""
        known = INSTRUMENTS.get(self.instrument)
        return tuple(self.foreign.values()) if known is None else known.metrics

    def of(self, metric: str) -> list[ItemScore]:
        return [row for row in self.rows if row.metric == metric]


Results = Mapping[tuple[str, str], Measured]
"""By model and instrument."""


@dataclass(frozen=True)
class Paired:
    """One metric of two models over the same items."""

    metric: Metric
    difference: Estimate | str
    """New minus old."""
    n_unscored: int
    p: float | None = None
    """Two-sided, that there is no difference; None where nothing can be said."""

    @property
    def coverage(self) -> float:
        n = self.difference.n if isinstance(self.difference, Estimate) else 0
        return n / (n + self.n_unscored) if n else 0.0


def paired(metric: Metric, new: Sequence[ItemScore], old: Sequence[ItemScore], *, level: float) -> Paired:
    """The metric's difference over the items that both models were scored on; the others are counted."""
    ours = {row.item_id: row for row in new}
    theirs = {row.item_id: row for row in old}
    shared = sorted(i for i in ours.keys() & theirs.keys() if ours[i].value is not None and theirs[i].value is not None)
    n_unscored = len(ours.keys() | theirs.keys()) - len(shared)
    if not shared:
        return Paired(metric, "no item could be scored of both models", n_unscored)
    rows = [ours[i] for i in shared]
    a = [row.value for row in rows if row.value is not None]
    b = [value for i in shared if (value := theirs[i].value) is not None]
    clusters = summary.cluster_names(rows)
    if metric.estimator == "slope":
        differences = [x - y for x, y in zip(a, b, strict=True)]
        return _tested(metric, summary.slope_of(differences, rows, clusters, level), n_unscored)
    if metric.estimator == "ratio":
        return _tested(metric, _ratios(rows, [theirs[i] for i in shared], clusters, level), n_unscored)
    found = statistics.paired(a, b, clusters, level=level)
    if found.method == "tango":
        p = statistics.mcnemar(
            sum(x > y for x, y in zip(a, b, strict=True)), sum(x < y for x, y in zip(a, b, strict=True))
        )
        return Paired(metric, found, n_unscored, p)
    return _tested(metric, found, n_unscored)


def _tested(metric: Metric, found: Estimate | str, n_unscored: int) -> Paired:
    return Paired(metric, found, n_unscored, None if isinstance(found, str) else statistics.p_value(found))


def _ratios(
    new: Sequence[ItemScore], old: Sequence[ItemScore], clusters: Sequence[str], level: float
) -> Estimate | str:
    try:
        return ratios.paired(summary.ratio_parts(new), summary.ratio_parts(old), clusters, level=level)
    except ValueError as error:
        return str(error)


def wins(model: str, against: str, results: Results) -> dict[str, list[ItemScore]]:
    """Rows of `win_rate`, by metric."""
    source = COMPARISONS[win_rate.NAME][0]
    return win_rate.against(results[model, source].of("mean"), results[against, source].of("mean"))


def compared(results: Results) -> list[Measurement]:
    """Every shared metric of each model against base and SFT: differences (new minus old), and win rates."""
    made = []
    for model in sorted({m for m, _ in results}):
        for against in COMPARATORS:
            if against == model or model == "previous" or (against, model) == ("sft", "base"):
                continue
            for name in (*INSTRUMENTS, harness.NAME):
                new, old = results.get((model, name)), results.get((against, name))
                if new and old:
                    made.extend(between(new, old))
    return made


def between(new: Measured, old: Measured) -> list[Measurement]:
    """Every shared metric of two models by one instrument: differences (new minus old), and win rates."""
    made = _differences(new, old)
    return made + _win_rates(new, old) if new.instrument == COMPARISONS[win_rate.NAME][0] else made


def _differences(new: Measured, old: Measured) -> list[Measurement]:
    made = []
    for metric in new.metrics:
        ours, theirs = new.of(metric.name), old.of(metric.name)
        if ours and theirs:
            pair = paired(metric, ours, theirs, level=summary.LEVEL)
            made.append(
                _comparison(new, old, new.instrument, metric, pair.difference, pair.n_unscored, "difference", pair.p)
            )
    return made


def _win_rates(new: Measured, old: Measured) -> list[Measurement]:
    rows = win_rate.against(new.of("mean"), old.of("mean"))
    return [
        _comparison(
            new, old, win_rate.NAME, metric, summary.estimate(metric, rows[metric.name]),
            sum(row.value is None for row in rows[metric.name]), "win_rate",
        )
        for metric in win_rate.METRICS
        if metric.name in rows
    ]  # fmt: skip


def _comparison(
    new: Measured,
    old: Measured,
    instrument: str,
    metric: Metric,
    found: Estimate | str,
    n_unscored: int,
    statistic: str,
    p: float | None = None,
) -> Measurement:
    return summary.measurement(
        instrument, metric, found, n_unscored,
        model=new.model,
        provenance=new.provenance,
        sources=tuple(source for source in (new.source, old.source) if source),
        meta={"against": old.model, "statistic": statistic, **({} if p is None else {"p": p})},
    )  # fmt: skip
