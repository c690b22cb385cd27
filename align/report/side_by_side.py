"""Many models in one table and one plot: each number with its interval, and what others read results in."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from align.evals.instruments import INSTRUMENTS
from align.records import Measurement
from align.report.measures import PART_NAMES, panels
from align.report.numbers import DASH, interval, number
from align.report.view import RunView

if TYPE_CHECKING:
    from rich.table import Table

COLUMNS = ("instrument", "metric", "model", "value", "low", "high", "level", "n", "n_unscored", "n_clusters", "unit",
           "better", "method", "provenance", "data", "licence")  # fmt: skip


@dataclass(frozen=True)
class SideRow:
    """One metric of all models."""

    instrument: str
    metric: str
    unit: str
    better: str
    measured: dict[str, Measurement]
    """By model."""

    @property
    def name(self) -> str:
        return f"{self.instrument}.{self.metric}"

    def told(self) -> dict[str, Any]:
        """As JSON, nothing rounded."""
        return {
            "metric": self.name,
            "better": self.better,
            "unit": self.unit,
            "models": {
                model: {"value": m.value, "low": m.low, "high": m.high, "n": m.n, "n_unscored": m.n_unscored}
                for model, m in self.measured.items()
            },
        }


def rows_of(view: RunView) -> list[SideRow]:
    """Every metric that was measured, in the order of the report."""
    return [
        SideRow(
            panel.instrument,
            panel.metric,
            panel.unit,
            next(m.better for _, m in panel.rows if m is not None),
            {name: m for name, m in panel.rows if m is not None},
        )
        for panel in panels(view)
    ]


def models_of(rows: Sequence[SideRow]) -> list[str]:
    """Every model that has a number, once."""
    return list(dict.fromkeys(model for row in rows for model in row.measured))


def leading(rows: Sequence[SideRow]) -> list[SideRow]:
    """The first metric of each instrument: what a table of many instruments has room for."""
    first: dict[str, SideRow] = {}
    for row in rows:
        first.setdefault(row.instrument, row)
    return list(first.values())


def table(rows: Sequence[SideRow], *, every: bool = False) -> Table:
    """A line a metric, a column a model; the first metric of each instrument alone unless `every`."""
    from rich.table import Table

    shown = list(rows) if every or len(rows) <= 24 else leading(rows)
    models = models_of(rows)
    made = Table(box=None, pad_edge=False, header_style="bold")
    made.add_column("metric", no_wrap=True)
    made.add_column("n", justify="right")
    for model in models:
        made.add_column(PART_NAMES.get(model, model), justify="right")
    arrows = {"higher": " ↑", "lower": " ↓", "neither": ""}
    for row in shown:
        n = max((m.n for m in row.measured.values()), default=0)
        cells = [_cell(row.measured.get(model), row.unit) for model in models]
        made.add_row(row.name + arrows[row.better], f"{n:,}", *cells)
    if len(shown) < len(rows):
        made.caption = f"{len(shown)} of {len(rows)} metrics; all of them in the report"
    return made


def _cell(m: Measurement | None, unit: str) -> str:
    if m is None or m.value is None:
        return DASH
    return f"{number(m.value, unit)} {interval(m.low, m.high, unit)}"


def write_csv(rows: Sequence[SideRow], path: Path) -> None:
    """A line a model and metric; an absent number is an empty field."""
    with open(path, "w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(COLUMNS)
        for row in rows:
            for model, m in row.measured.items():
                data = [source for source in m.sources if source.licence]
                writer.writerow(
                    [row.instrument, row.metric, model, m.value, m.low, m.high, m.level, m.n, m.n_unscored,
                     m.n_clusters, m.unit, m.better, m.method, m.provenance, "; ".join(source.name for source in data),
                     "; ".join(sorted({source.licence for source in data if source.licence}))]
                )  # fmt: skip


def harness_json(rows: Sequence[SideRow]) -> dict[str, Any]:
    """The shape of lm-eval's results file, one set of results a model; `stderr` is read off the interval.

    A metric without a number is left out, as lm-eval has no word for it; `n-samples` says how many items counted.
    """
    return {"models": {model: _results(model, rows) for model in models_of(rows)}}


def _results(model: str, rows: Sequence[SideRow]) -> dict[str, Any]:
    results: dict[str, dict[str, Any]] = {}
    higher: dict[str, dict[str, bool]] = {}
    samples: dict[str, dict[str, int]] = {}
    for row in rows:
        m = row.measured.get(model)
        if m is None or m.value is None:
            continue
        of = results.setdefault(row.instrument, {"alias": row.instrument})
        of[f"{row.metric},none"] = m.value
        if m.low is not None and m.high is not None:
            of[f"{row.metric}_stderr,none"] = (m.high - m.low) / (2 * 1.959964)
        higher.setdefault(row.instrument, {})[row.metric] = row.better == "higher"
        most = samples.setdefault(row.instrument, {"original": 0, "effective": 0})
        most["original"] = max(most["original"], m.n + m.n_unscored)
        most["effective"] = max(most["effective"], m.n)
    known = {name: INSTRUMENTS[name].measures for name in results if name in INSTRUMENTS}
    return {
        "results": results,
        "higher_is_better": higher,
        "n-samples": samples,
        "versions": dict.fromkeys(results, 1),
        "configs": {name: {"task": name, "description": says} for name, says in known.items()},
        "config": {"model": "align", "model_args": model},
        "model_name": model,
    }
