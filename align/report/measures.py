"""The measurements of a run, brought together: each metric for base, SFT and tuned, how they differ, and who won."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from align.evals import people_win_rate
from align.evals.instruments import INSTRUMENTS, metrics
from align.records import GateVerdict, Measurement
from align.report.numbers import interval, number
from align.report.view import PARTS, RunView, StepView

PART_NAMES = {"base": "base", "sft": "SFT", "tuned": "tuned", "best_of_n": "best of n"}
JUDGED_BY = {"human": "people", "simulated": "made people", "judge": "a judge"}
BETTER = {"higher": "higher is better", "lower": "lower is better", "neither": "neither way is better"}


@dataclass(frozen=True)
class Compared:
    """One paired comparison of two models over the same items."""

    measurement: Measurement
    against: str | None

    @property
    def title(self) -> str:
        return title(self.measurement.instrument, self.measurement.metric)

    @property
    def models(self) -> str:
        """`tuned over SFT` for a win rate, `tuned − SFT` for a difference."""
        model, against = self.measurement.model, self.against or "?"
        between = "over" if self.is_win_rate else "−"
        judges = f", judged by {self.judged_by}" if self.judged_by else ""
        return f"{PART_NAMES.get(model, model)} {between} {PART_NAMES.get(against, against)}{judges}"

    @property
    def is_win_rate(self) -> bool:
        return self.measurement.meta.get("statistic") == "win_rate"

    @property
    def judged_by(self) -> str:
        """Who sat at the desk where it was won; empty for a win by a utility."""
        if self.measurement.instrument != people_win_rate.NAME:
            return ""
        return JUDGED_BY.get(self.measurement.provenance or "human", "rules")


@dataclass(frozen=True)
class Panel:
    """One metric, measured on one or more models."""

    instrument: str
    metric: str
    unit: str
    better: str
    rows: tuple[tuple[str, Measurement | None], ...]
    """Each model's part (`base`, `sft`, `tuned`) and its measurement; none where it was not measured."""
    differences: tuple[Compared, ...]
    """New minus old, item by item."""
    simulated: bool

    @property
    def title(self) -> str:
        return title(self.instrument, self.metric)

    @property
    def says(self) -> str:
        """What the number is, in a phrase; empty for an instrument that is not ours."""
        known = metrics().get(f"{self.instrument}.{self.metric}")
        return known.says if known else ""


def title(instrument: str, metric: str) -> str:
    """`facts · accuracy`; one word where both say the same."""
    return words(instrument) if metric == instrument else f"{words(instrument)} · {words(metric)}"


def words(name: str) -> str:
    """A name as it is read aloud: `win_rate` is `win rate`, `preferences.train.jsonl` is `preferences, train`."""
    return name.removesuffix(".jsonl").replace("_", " ").replace(".", ", ").replace("/", ", ")


def part(step: StepView) -> str:
    """Which model an `evaluate/<model>/<instrument>` step measured."""
    return step.name.split("/")[1] if step.name.count("/") >= 2 else str(step.config.get("model") or step.name)


def panels(view: RunView) -> list[Panel]:
    """One panel a metric, in the order of the table of instruments; those that are not ours at the end."""
    found: dict[str, dict[str, dict[str, Measurement]]] = {}
    for step in (*view.of_stage("evaluate"), *view.of_stage("harness")):
        for measurement in step.records("measurements.jsonl", Measurement):
            if measurement.meta.get("statistic") == "win_rate":
                continue
            found.setdefault(measurement.instrument, {}).setdefault(measurement.metric, {})[part(step)] = measurement
    present = {name for by_metric in found.values() for models in by_metric.values() for name in models}
    shown = [name for name in PARTS if name in present] + sorted(present - set(PARTS))
    differences = [pair for pair in compared(view) if not pair.is_win_rate]
    known = list(INSTRUMENTS)
    return [
        Panel(
            instrument=instrument,
            metric=metric,
            unit=one.unit,
            better=BETTER[one.better],
            rows=tuple((name, models.get(name)) for name in shown),
            differences=tuple(
                pair
                for pair in differences
                if (pair.measurement.instrument, pair.measurement.metric) == (instrument, metric)
            ),
            simulated=view.simulated or any(m.provenance == "simulated" for m in models.values()),
        )
        for instrument, by_metric in sorted(
            found.items(), key=lambda entry: known.index(entry[0]) if entry[0] in known else 99
        )
        for metric, models in by_metric.items()
        for one in [next(iter(models.values()))]
    ]


def colours(found: Iterable[Panel], n: int) -> dict[str, str]:
    """A colour for every model: a part of a run has its own, others take turns with `n`."""
    models = dict.fromkeys(name for panel in found for name, _ in panel.rows)
    strange = [name for name in models if name not in PART_NAMES]
    return {name: name if name in PART_NAMES else f"model{strange.index(name) % n}" for name in models}


def leading(view: RunView, found: Sequence[Panel]) -> list[Panel]:
    """The panels to show first: what the gate asked about, or each instrument's first metric where it asked nothing."""
    asked = {(line.instrument, line.metric) for line in verdicts(view)}
    chosen = [panel for panel in found if (panel.instrument, panel.metric) in asked]
    first = {panel.instrument: panel for panel in reversed(found)}
    return chosen or [panel for panel in found if first[panel.instrument] is panel]


def compared(view: RunView) -> list[Compared]:
    """Paired differences and win rates, what was tuned against what it came from before anything else."""
    found = [
        Compared(
            measurement.model_copy(update={"model": named.get(measurement.model, measurement.model)}),
            None if against is None else named.get(str(against), str(against)),
        )
        for step in view.of_stage("gate")
        for named in [called(step)]
        for measurement in step.records("compared.jsonl", Measurement)
        for against in [measurement.meta.get("against")]
    ]
    found += [
        Compared(measurement, str(measurement.meta["against"]))
        for step in view.of_stage("evaluate")
        for measurement in step.records("measurements.jsonl", Measurement)
        if measurement.meta.get("statistic") == "win_rate"
    ]
    # what people said before what was worked out
    return sorted(
        found, key=lambda pair: (pair.measurement.model != "tuned", pair.against != "sft", not pair.judged_by)
    )


def called(step: StepView) -> dict[str, str]:
    """What the models that a gate knows by their parts are called in the run: `tuned` may be any model."""
    return {
        name.split("/")[1]: str(source["step"]).split("/")[1]
        for name, source in step.inputs.items()
        if name.count("/") == 2 and str(source.get("step", "")).count("/") == 2
    }


def wins(view: RunView) -> dict[str, list[Compared]]:
    """Win rates by the models compared: `tuned over SFT` first."""
    found: dict[str, list[Compared]] = {}
    for pair in compared(view):
        if pair.is_win_rate:
            found.setdefault(pair.models, []).append(pair)
    return found


def verdicts(view: RunView) -> list[GateVerdict]:
    """Each line of the gate, those that block first."""
    order = ("fail", "error", "inconclusive", "pass")
    lines = [
        line.model_copy(
            update={
                "model": named.get(line.model, line.model),
                "against": None if line.against is None else named.get(line.against, line.against),
            }
        )
        for step in view.of_stage("gate")
        for named in [called(step)]
        for line in step.records("verdicts.jsonl", GateVerdict)
    ]
    return sorted(lines, key=lambda line: order.index(line.verdict))


def audits(view: RunView) -> list[str]:
    """What people's labels said of the detector of refusals, a sentence a model."""
    said = []
    for step in view.of_stage("audit"):
        summary = step.summary()
        if not summary.get("n"):
            continue
        name = PART_NAMES.get(step.name.split("/")[-1], step.name.split("/")[-1])
        who = "people" if summary.get("provenance") == "human" else f"`{summary.get('provenance')}` labels"
        found = summary["kappa"]["opening"]
        agreed = (
            f"agree with it with kappa {number(found['value'], digits=2)} "
            f"{interval(found['low'], found['high'], 'share')}"
            if found["value"] is not None
            else "all say what it says"
            if found["unanimous"]
            else "do not all say what it says, and are of one kind"
        )
        said.append(
            f"The detector of refusals on {name}: {summary['n']:,} answers were read, {summary['n_refused']:,} of them "
            f"refusals; {who} {agreed}."
        )
    return said


def blind_spots(found: Iterable[Panel]) -> list[tuple[str, str, tuple[str, ...]]]:
    """What each instrument that was used measures, and what it cannot see."""
    used = dict.fromkeys(panel.instrument for panel in found)
    return [(words(name), INSTRUMENTS[name].measures, INSTRUMENTS[name].flaws) for name in used if name in INSTRUMENTS]
