"""The measurements of a run, brought together: each metric for base, SFT and tuned, and what was compared in pairs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from align.records import GateVerdict, Measurement
from align.report.view import PARTS, RunView, StepView

PART_NAMES = {"base": "base", "sft": "SFT", "tuned": "tuned"}
BETTER = {"higher": "higher is better", "lower": "lower is better", "neither": "neither way is better"}


@dataclass(frozen=True)
class Panel:
    """One metric, measured on one or more models."""

    instrument: str
    metric: str
    unit: str
    better: str
    rows: tuple[tuple[str, Measurement | None], ...]
    """Each model's part (`base`, `sft`, `tuned`) and its measurement; none where it was not measured."""
    simulated: bool

    @property
    def title(self) -> str:
        return title(self.instrument, self.metric)


@dataclass(frozen=True)
class Compared:
    """One paired comparison of two models."""

    measurement: Measurement
    against: str | None

    @property
    def title(self) -> str:
        return title(self.measurement.instrument, self.measurement.metric)

    @property
    def is_win_rate(self) -> bool:
        return "win" in self.measurement.metric or "win" in self.measurement.instrument

    @property
    def null(self) -> float:
        """The value that says there is no difference."""
        return 0.5 if self.is_win_rate else 0.0


def title(instrument: str, metric: str) -> str:
    """`facts · accuracy`; one word where both say the same."""
    return words(instrument) if metric == instrument else f"{words(instrument)} · {words(metric)}"


def words(name: str) -> str:
    """A name as it is read aloud: `win_rate` is `win rate`, `refusal.harmful` is `refusal, harmful`."""
    return name.replace("_", " ").replace(".", ", ").replace("/", ", ")


def part(step: StepView) -> str:
    """Which model an `evaluate/<model>/<instrument>` step measured."""
    return step.name.split("/")[1] if step.name.count("/") >= 2 else str(step.config.get("model") or step.name)


def panels(steps: Iterable[StepView]) -> list[Panel]:
    """One panel a metric, in the order in which the instruments stand in the plan."""
    found: dict[tuple[str, str], dict[str, Measurement]] = {}
    for step in steps:
        for measurement in step.records("measurements.jsonl", Measurement):
            found.setdefault((measurement.instrument, measurement.metric), {})[part(step)] = measurement
    present = {name for models in found.values() for name in models}
    shown = [name for name in PARTS if name in present] + sorted(present - set(PARTS))
    order = {instrument: place for place, (instrument, _) in reversed(list(enumerate(found)))}
    return [
        Panel(
            instrument=instrument,
            metric=metric,
            unit=first.unit,
            better=BETTER[first.better],
            rows=tuple((name, models.get(name)) for name in shown),
            simulated=any(m.provenance == "simulated" for m in models.values()),
        )
        for (instrument, metric), models in sorted(found.items(), key=lambda entry: order[entry[0][0]])
        for first in (next(iter(models.values())),)
    ]


def compared(view: RunView) -> list[Compared]:
    """The paired differences and win rates that the gate read."""
    return [
        Compared(measurement, _against(measurement))
        for step in view.of_stage("gate")
        for measurement in step.records("compared.jsonl", Measurement)
    ]


def _against(measurement: Measurement) -> str | None:
    against = measurement.meta.get("against")
    return str(against) if against is not None else None


def verdicts(view: RunView) -> list[GateVerdict]:
    """Each line of the gate, those that block first."""
    order = ("fail", "error", "inconclusive", "pass")
    lines = [line for step in view.of_stage("gate") for line in step.records("verdicts.jsonl", GateVerdict)]
    return sorted(lines, key=lambda line: order.index(line.verdict))


def first(view: RunView, found: Sequence[Panel]) -> list[Panel]:
    """The panels to show first: what the gate asked about, or each instrument's first metric where it asked nothing."""
    asked = {(line.instrument, line.metric) for line in verdicts(view)}
    chosen = [panel for panel in found if (panel.instrument, panel.metric) in asked]
    leading = {panel.instrument: panel for panel in reversed(found)}
    return chosen or [panel for panel in found if leading[panel.instrument] is panel]
