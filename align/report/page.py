"""The report: one self-contained HTML file that a person reads from the verdict down to the digests."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from align.report import lineage, measures, numbers, plots, samples
from align.report.curves import Curve, curves, reading, shape_of
from align.report.headline import headline
from align.report.summaries import Table, tables
from align.report.view import RunView, StepView, pretty

TRAINED = {"base": "Pretraining", "sft": "Supervised fine-tuning", "dpo": "Preference tuning (DPO)"}
BESIDE_LOSS = ("rewards/accuracies", "rewards/margins", "mean_token_accuracy")
LEVELS = {"rewards/accuracies": 0.5, "rewards/margins": 0.0}
METRIC_NAMES = {
    "loss": "loss",
    "rewards/accuracies": "share of pairs ranked rightly",
    "rewards/margins": "reward margin (nats × beta)",
    "mean_token_accuracy": "share of tokens foreseen",
}


@dataclass(frozen=True)
class Training:
    """One training stage as the page shows it."""

    title: str
    step: StepView
    shape: str
    reading: str
    plots: tuple[tuple[str, str], ...]
    """Caption and SVG."""


def page(view: RunView) -> str:
    """The whole report as HTML: no script, no request, everything inside."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        num=numbers.number, duration=numbers.duration, memory=numbers.memory, count=numbers.count,
        short=numbers.short, words=measures.words, svg=Markup,
    )  # fmt: skip
    environment.globals.update(interval=numbers.interval, DASH=numbers.DASH, part_names=measures.PART_NAMES)
    return environment.get_template("page.html.j2").render(_contents(view))


def _contents(view: RunView) -> dict[str, Any]:
    panels = measures.panels(view.of_stage("evaluate"))
    made = [step for step in view.steps if step.manifest]
    return {
        "view": view,
        "headline": headline(view),
        "stations": lineage.stations(view),
        "trainings": trainings(view),
        "panels": [(panel, _panel_plot(panel)) for panel in panels],
        "compared": _compared(view),
        "verdicts": measures.verdicts(view),
        "samples": samples.samples(view),
        "people": [table for stage in ("label", "pair") for table in _told(view, stage)],
        "people_made": view.simulated or any(step.config.get("desk") == "simulated" for step in view.of_stage("label")),
        "data": _told(view, "prepare"),
        "chain": [(made, lineage.parents_said(made)) for made in lineage.chain(view)],
        "costs": made,
        "total_s": sum(step.manifest.get("seconds") or 0.0 for step in made) if made else None,
        "longest_s": max((step.manifest.get("seconds") or 0.0 for step in made), default=0.0) or 1.0,
        "notes": [(step.name, note) for step in made for note in step.manifest.get("notes") or ()],
        "versions": lineage.versions(view),
        "commits": lineage.commits(view),
        "recipe": pretty(view.recipe),
    }


def trainings(view: RunView) -> list[Training]:
    """Every training stage that left a log, with its curves and what they say."""
    found = []
    for step in view.steps:
        curve = curves(step.rows("log.jsonl")) if step.manifest else {}
        if "loss" not in curve:
            continue
        loss = curve["loss"]
        beside = [curve[metric] for metric in BESIDE_LOSS if metric in curve]
        found.append(
            Training(
                TRAINED.get(step.stage, step.name),
                step,
                shape_of(loss.train, loss.held_out),
                reading(loss.train, loss.held_out),
                tuple((METRIC_NAMES[c.metric], _curve_plot(step.name, c)) for c in (loss, *beside)),
            )
        )
    return found


def _curve_plot(step: str, curve: Curve) -> str:
    level = LEVELS.get(curve.metric)
    return plots.learning_curve(
        curve.train, curve.held_out, name=f"{step} {curve.metric}", metric=METRIC_NAMES[curve.metric], level=level
    )


def _panel_plot(panel: measures.Panel) -> str:
    rows = [
        plots.Whisker(name, part, m.value, m.low, m.high) if m else plots.Whisker(name, part, None, None, None)
        for part, m in panel.rows
        for name in [measures.PART_NAMES.get(part, part)]
    ]
    return plots.whiskers(rows, name=f"{panel.instrument} {panel.metric}", shares=panel.unit == "share")


def _compared(view: RunView) -> list[tuple[str, list[measures.Compared], str]]:
    """Comparisons of one sort (win rates; differences in one unit) share a plot."""
    groups: dict[tuple[bool, str], list[measures.Compared]] = {}
    for pair in measures.compared(view):
        groups.setdefault((not pair.is_win_rate, pair.measurement.unit), []).append(pair)
    return [
        (f"Differences, in {unit}" if differences else "Win rates", pairs, _compared_plot(pairs))
        for (differences, unit), pairs in sorted(groups.items())
    ]


def _compared_plot(pairs: list[measures.Compared]) -> str:
    rows = [
        plots.Whisker(_compared_label(pair), m.model, m.value, m.low, m.high)
        for pair in pairs
        for m in [pair.measurement]
    ]
    unit = pairs[0].measurement.unit
    return plots.whiskers(rows, name=f"compared {unit}", shares=unit == "share", null=pairs[0].null, label_inches=2.1)


def _compared_label(pair: measures.Compared) -> str:
    against = "" if pair.against is None else f", to {measures.PART_NAMES.get(pair.against, pair.against)}"
    return pair.title + against


def _told(view: RunView, stage: str) -> list[Table]:
    return [table for step in view.of_stage(stage) for table in tables(step.summary(), step.name)]
