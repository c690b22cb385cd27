"""The report: one self-contained HTML file that a person reads from the verdict down to the digests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from align.records import GateVerdict, Measurement
from align.report import categories, changes, lineage, measures, numbers, plots, rewards, samples, worst
from align.report.card import knobs_said
from align.report.curves import KEPT, Curve, curves, price, reading, shape_of
from align.report.headline import headline
from align.report.overoptimisation import drift
from align.report.people import People, Rated, people, rated
from align.report.summaries import cell, tables
from align.report.view import RunView, StepView, pretty

TRAINED = {
    "base": "Pretraining",
    "sft": "Supervised fine-tuning",
    "dpo": "Preference tuning (DPO)",
    "kto": "Preference tuning on single answers (KTO)",
    "reward": "Reward model",
    "rlhf": "Reinforcement learning from rewards",
}
REWARDS = ("rewards/accuracies", "rewards/margins")
SCORES = ("accuracy", "margin")
TOKENS = ("mean_token_accuracy",)
WITH_OTHERS = "Share of judgments that agree with the majority of the others"
FIRST_SHOWN = "Share won by the answer shown first; half if the side means nothing"
CONSISTENT = "Share of pairs shown again, sides swapped, on which they said the same"
GOLD = "Share of known answers that they found"
AGREEMENT = "How far people agree; 0 is chance for all but raw agreement"
MOST_PEOPLE = 40
"""More annotators than this are told in sentences and a table alone."""
LEVELS = {"rewards/accuracies": 0.5, "rewards/margins": 0.0, "accuracy": 0.5, "margin": 0.0}
METRIC_NAMES = {
    "loss": "loss",
    "rewards/accuracies": "share of pairs ranked rightly",
    "rewards/margins": "reward margin (nats × beta)",
    "accuracy": "share of pairs ranked rightly",
    "margin": "reward of the better answer over the other",
    KEPT: "loss on what it knew before",
    "mean_token_accuracy": "share of tokens foreseen",
}


@dataclass(frozen=True)
class Training:
    """One training stage as the page shows it."""

    title: str
    step: StepView
    shape: str
    reading: str
    price: str
    """What tuning gained and what it cost; empty where that was not looked at."""
    plots: tuple[tuple[str, str], ...]
    """Caption and SVG."""
    knobs: tuple[tuple[str, str], ...]
    told: tuple[tuple[str, str], ...]
    """What the stage counted: rows, steps, what was cut off."""
    worth: tuple[str, ...] = ()
    """What a reward model is worth on held-out pairs."""


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
        words=measures.words, rated=rated, cell=cell, short=numbers.short,
        prompts=_prompts, svg=Markup,
    )  # fmt: skip
    environment.globals.update(interval=numbers.interval, DASH=numbers.DASH, part_names=measures.PART_NAMES)
    contents = _contents(view)
    environment.globals["colour"] = lambda part: contents["colours"].get(part, part)
    return environment.get_template("page.html.j2").render(contents)


def _contents(view: RunView) -> dict[str, Any]:
    panels = measures.panels(view)
    of_categories = categories.groups(panels)
    single = categories.others(panels, of_categories)
    leading = measures.leading(view, single)
    colours = measures.colours(panels, plots.MODEL_COLOURS)
    judged = people(view)
    chain = lineage.chain(view)
    prepared = list(view.of_stage("prepare"))
    stations = lineage.stations(view)
    costs = [station for station in stations if station.seconds is not None]
    made = [step for step in view.steps if step.manifest]
    return {
        "view": view,
        "colours": colours,
        "headline": headline(view),
        "stations": stations,
        "verdicts": [(line, _strip(line)) for line in measures.verdicts(view)],
        "audits": measures.audits(view),
        "leading": [(panel, _panel_plot(panel, colours)) for panel in leading],
        "further": [(panel, _panel_plot(panel, colours)) for panel in single if panel not in leading],
        "categories": [(group, _group_plot(group, colours)) for group in of_categories],
        "changes": [(changes.title(one.models), one) for one in changes.changes(panels)],
        "worst": worst.worst(view, leading),
        "blind_spots": measures.blind_spots(panels),
        "wins": [(models, pairs, _wins_plot(models, pairs)) for models, pairs in measures.wins(view).items()],
        "samples": samples.samples(view),
        "trainings": trainings(view),
        "drift": drift(
            *(next((step for step in view.steps if step.stage == stage), None) for stage in ("rlhf", "best_of"))
        ),
        "people": judged,
        "people_plots": _people_plots(judged) if judged else [],
        "sources": [source for step in prepared for source in step.summary().get("sources", ())],
        "data": [table for step in prepared for table in tables(_but_sources(step), "counts")],
        "chain": [one for one in chain if not one.is_measurement],
        "measured_chain": [one for one in chain if one.is_measurement],
        "costs": costs,
        "total_s": sum(station.seconds or 0.0 for station in costs),
        "longest_s": max((station.seconds or 0.0 for station in costs), default=0.0) or 1.0,
        "notes": [(step.name, note) for step in made for note in step.manifest.get("notes") or ()],
        "versions": lineage.versions(view),
        "commits": lineage.commits(view),
        "recipe": pretty(view.recipe),
    }


def _but_sources(step: StepView) -> dict[str, Any]:
    return {name: value for name, value in step.summary().items() if name != "sources" and value != {}}


def trainings(view: RunView) -> list[Training]:
    """Every training stage that left a log, with its curves and what they say."""
    found = []
    for step in view.steps:
        curve = curves(step.rows("log.jsonl")) if step.manifest else {}
        if "loss" not in curve:
            continue
        loss = curve["loss"]
        known = next((names for names in (REWARDS, SCORES) if names[0] in curve), TOKENS)
        beside = [curve[metric] for metric in known if metric in curve]
        summary = step.summary()
        lost = [curve[KEPT]] if KEPT in curve else []
        found.append(
            Training(
                TRAINED.get(step.stage, step.name),
                step,
                shape_of(loss.train, loss.held_out),
                reading(loss.train, loss.held_out),
                price(loss, *lost) if lost else "",
                tuple((METRIC_NAMES[c.metric], _curve_plot(step.name, c)) for c in (loss, *beside, *lost))
                + tuple(rewards.drawn(step.name, summary)),
                tuple(knobs_said(step.config)),
                tuple((measures.words(name), cell(value)) for name, value in _plain(summary)),
                rewards.said(summary),
            )
        )
    return found


def _plain(summary: dict[str, Any]) -> list[tuple[str, Any]]:
    """What is told in a line of small print; what a reward model is worth is told above it."""
    hidden = rewards.WORTH if "calibration" in summary else ()
    return [(name, value) for name, value in summary.items() if value != {} and name not in hidden]


def _curve_plot(step: str, curve: Curve) -> str:
    level = LEVELS.get(curve.metric)
    return plots.learning_curve(
        curve.train, curve.held_out, name=f"{step} {curve.metric}", metric=METRIC_NAMES[curve.metric], level=level
    )


def _panel_plot(panel: measures.Panel, colours: Mapping[str, str]) -> str:
    rows = [plots.Whisker(measures.PART_NAMES.get(part, part), colours[part], *_limits(m)) for part, m in panel.rows]
    room = max(0.62, 0.075 * max((len(row.label) for row in rows), default=0))
    name = f"{panel.instrument} {panel.metric}"
    return plots.whiskers(rows, name=name, shares=panel.unit == "share", label_inches=min(room, 2.0))


def _limits(m: Measurement | None) -> tuple[float | None, float | None, float | None]:
    return (m.value, m.low, m.high) if m else (None, None, None)


def _group_plot(group: categories.Group, colours: Mapping[str, str]) -> str:
    rows = {
        part: [
            plots.Whisker(measures.PART_NAMES.get(part, part), colours[part], *_limits(dict(panel.rows).get(part)))
            for panel in group.panels
        ]
        for part in group.models
    }
    labels = [group.label(panel) for panel in group.panels]
    signed = any((one.low or 0) < 0 for of in rows.values() for one in of)
    shares = not signed and all(panel.unit == "share" for panel in group.panels)
    name = f"{group.instrument} {group.metric} by category"
    return plots.grouped(labels, rows, name=name, shares=shares, null=0.0 if signed else None)


def _wins_plot(models: str, pairs: list[measures.Compared]) -> str:
    rows = [plots.Whisker(_prompts(m.metric), m.model, m.value, m.low, m.high) for p in pairs for m in [p.measurement]]
    return plots.whiskers(rows, name=f"wins {models}", shares=True, null=0.5, label_inches=1.1)


def _prompts(metric: str) -> str:
    """Which prompts a win rate is over."""
    return "all prompts" if metric == "raw" else measures.words(metric)


def _people_plots(judged: People) -> list[tuple[str, str]]:
    """How often each annotator is with the others, and how often the answer shown first won."""
    if not judged.annotators or len(judged.annotators) > MOST_PEOPLE:
        return []
    asked: tuple[tuple[str, float | None, list[tuple[str, Rated]]], ...] = (
        (WITH_OTHERS, None, [(one.name, one.with_others) for one in judged.annotators]),
        (FIRST_SHOWN, 0.5, [(one.name, one.first_shown) for one in judged.annotators]),
        (CONSISTENT, None, [(one.name, one.consistent) for one in judged.annotators]),
        (GOLD, None, [(one.name, one.gold) for one in judged.annotators]),
        (AGREEMENT, 0.0, [(one.name, one.rated) for one in judged.coefficients]),
    )
    return [
        (caption, plots.whiskers([plots.Whisker(name, "ink", *rated) for name, rated in rows], name=caption,
                                 shares=True, null=null, label_inches=1.9 if caption == AGREEMENT else 1.1))
        for caption, null, rows in asked
        if any(rated[0] is not None for _, rated in rows)
    ]  # fmt: skip


def _strip(line: GateVerdict) -> str:
    # the gate says a loss in the metric's unit, to be under the margin, or a distance to a bound, to be under zero
    edge = line.margin if line.why.startswith("worse by") else 0.0
    return plots.margin_strip(line.difference, line.low, line.high, edge=edge)
