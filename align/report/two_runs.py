"""Two runs side by side: what their tuned models score on the same items, and whose answers are worth more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from align.errors import UsageError
from align.evals.comparisons import Measured, between
from align.evals.statistics import holm
from align.records import ItemScore, Measurement
from align.report.measures import title
from align.report.numbers import DASH, interval, number
from align.report.view import RunView

if TYPE_CHECKING:
    from rich.table import Table

TUNED = "tuned"


@dataclass(frozen=True)
class Line:
    """One metric of both runs."""

    found: Measurement
    """The difference, second minus first, or the second's win rate over the first."""
    first: Measurement | None
    second: Measurement | None
    significant: bool
    """Whether zero (or one half) stays outside after Holm's correction over all lines."""

    @property
    def is_win_rate(self) -> bool:
        return self.found.meta.get("statistic") == "win_rate"

    def told(self) -> dict[str, Any]:
        """As JSON, nothing rounded."""
        m = self.found
        return {
            "metric": f"{m.instrument}.{m.metric}", "statistic": m.meta.get("statistic"), "value": m.value,
            "low": m.low, "high": m.high, "n": m.n, "n_unscored": m.n_unscored, "significant": self.significant,
            "first": None if self.first is None else self.first.value,
            "second": None if self.second is None else self.second.value,
        }  # fmt: skip


def lines(first: RunView, second: RunView) -> list[Line]:
    """Every metric that both runs measured of their tuned model; UsageError where there is none."""
    ours, theirs = measured(first), measured(second)
    shared = [name for name in ours if name in theirs]
    if not shared:
        raise UsageError(
            f"{first.name} and {second.name} have measured nothing of their tuned models by the same instruments; "
            "give both the same evaluate.instruments, and run them"
        )
    found = [m for name in shared for m in between(theirs[name][0], ours[name][0])]
    if all(m.n == 0 for m in found):
        raise UsageError(f"{first.name} and {second.name} were measured on different items; give both the same data")
    kept = significant(found)
    single = [{(m.instrument, m.metric): m for m in side[name][1]} for side in (ours, theirs) for name in shared]
    firsts = {key: m for one in single[: len(shared)] for key, m in one.items()}
    seconds = {key: m for one in single[len(shared) :] for key, m in one.items()}
    return [
        Line(m, firsts.get((m.instrument, m.metric)), seconds.get((m.instrument, m.metric)), keep)
        for m, keep in zip(found, kept, strict=True)
    ]


def measured(view: RunView) -> dict[str, tuple[Measured, list[Measurement]]]:
    """What each instrument left of the tuned model."""
    found = {}
    for step in view.of_stage("evaluate"):
        _, model, instrument = step.name.split("/", 2)
        measurements = step.records("measurements.jsonl", Measurement)
        if model != TUNED or not measurements:
            continue
        rows = step.records("scores.jsonl", ItemScore)
        outputs = measurements[0].meta.get("outputs")
        one = Measured(view.name, instrument, rows, str(outputs) if outputs else None, measurements[0].provenance)
        found[instrument] = one, measurements
    return found


def significant(found: Sequence[Measurement]) -> list[bool]:
    """By the p that each interval implies (normal), corrected together after Holm."""
    from scipy.stats import norm

    ps = []
    for m in found:
        if m.value is None or m.low is None or m.high is None or not m.high > m.low:
            ps.append(1.0)
            continue
        null = 0.5 if m.meta.get("statistic") == "win_rate" else 0.0
        error = (m.high - m.low) / (2 * norm.ppf(0.5 + m.level / 2))
        ps.append(float(2 * norm.sf(abs(m.value - null) / error)))
    return [p < 0.05 for p in holm(ps)]


def same_labels(first: RunView, second: RunView) -> str:
    """Whether both learnt from the same judgments, in a sentence."""
    digests = []
    for view in (first, second):
        step = view.step("pair") or view.step("prepare")
        digests.append(step.digest if step else None)
    if digests[0] is not None and digests[0] == digests[1]:
        return "Both learnt from the same labels."
    return "They learnt from different labels, so what differs between them is not the method alone."


def table(first: RunView, second: RunView, found: Sequence[Line]) -> Table:
    """A line a metric."""
    from rich.table import Table

    made = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("", first.name, second.name, "second − first", "n"):
        made.add_column(name, justify="left" if not name else "right")
    for line in found:
        m = line.found
        cells = [number(one.value, one.unit) if one else DASH for one in (line.first, line.second)]
        value = f"{number(m.value, m.unit, signed=not line.is_win_rate)} "
        value += interval(m.low, m.high, m.unit, signed=not line.is_win_rate)
        what = (
            f"{second.name} wins: {m.metric.replace('_', ' ')}" if line.is_win_rate else title(m.instrument, m.metric)
        )
        made.add_row(what, *cells, value + (" *" if line.significant else ""), f"{m.n:,}")
    made.caption = "* after Holm's correction over all lines, at 5 %; differences are paired, on the same items"
    return made
