"""The items on which a model lost most against the one it is held against: to be read, and so folded away."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from align.evals.instruments import INSTRUMENTS
from align.records import Candidate, Item, ItemScore, Preference, Prompt
from align.report.measures import Compared, Panel, part, title
from align.report.view import RunView, StepView

MOST = 5
MOST_CHARACTERS = 1200


@dataclass(frozen=True)
class Lost:
    """One item, what both models scored on it, and what they said where they said something."""

    asked: str
    before: float
    after: float
    said: tuple[tuple[str, str], ...]
    """Each model's answer."""


@dataclass(frozen=True)
class Worst:
    """The items of one metric that one model lost most on."""

    title: str
    models: str
    items: tuple[Lost, ...]
    n_worse: int
    n: int


def worst(view: RunView, panels: Sequence[Panel]) -> list[Worst]:
    """For each of these metrics that has a better side and a difference, at most `MOST` items that became worse.

    Of equal losses those with the smallest id are shown, so that nobody picked them.
    """
    steps = {(part(step), step.name.split("/")[-1]): step for step in view.of_stage("evaluate")}
    found = []
    for panel in panels:
        if panel.better.startswith("neither"):
            continue
        for pair in panel.differences[:1]:
            new = steps.get((pair.measurement.model, panel.instrument))
            old = steps.get((str(pair.against), panel.instrument))
            if new is not None and old is not None:
                found.append(_worst(view, panel, pair, new, old))
    return [one for one in found if one.items]


def _worst(view: RunView, panel: Panel, pair: Compared, new: StepView, old: StepView) -> Worst:
    sign = 1 if panel.better.startswith("higher") else -1
    ours, theirs = (_scores(step, panel.metric) for step in (new, old))
    shared = sorted(ours.keys() & theirs.keys())
    lost = sorted((sign * (ours[i] - theirs[i]), i) for i in shared if sign * (ours[i] - theirs[i]) < 0)
    texts = _texts(view, new)
    answers = [(name, _answers(view, step)) for name, step in ((pair.measurement.model, new), (str(pair.against), old))]
    items = tuple(
        Lost(
            _short(texts.get(i, "")),
            theirs[i],
            ours[i],
            tuple((name, _short(of[i])) for name, of in answers if i in of),
        )
        for _, i in lost[:MOST]
        if i in texts
    )
    return Worst(title(panel.instrument, panel.metric), pair.models, items, len(lost), len(shared))


def _scores(step: StepView, metric: str) -> dict[str, float]:
    rows = step.records("scores.jsonl", ItemScore)
    return {row.item_id: row.value for row in rows if row.metric == metric and row.value is not None}


def _input(view: RunView, step: StepView, name: str) -> StepView | None:
    source = step.inputs.get(name)
    return view.step(str(source["step"])) if source and source.get("step") else None


def _texts(view: RunView, step: StepView) -> Mapping[str, str]:
    """What each item asks, by its id."""
    found: dict[str, str] = {}
    if (data := _input(view, step, "data")) is not None:
        found |= {item.id: _asked(item) for item in data.records("items.jsonl", Item)}
        found |= {p.id: "\n\n".join(m.content for m in p.messages) for p in data.records("test_prompts.jsonl", Prompt)}
    if (pairs := _input(view, step, "preferences")) is not None:
        for row in pairs.records("preferences.test.jsonl", Preference):
            found[row.id] = "\n\n".join(m.content for m in row.prompt)
    return found


def _asked(item: Item) -> str:
    marks = [f"{'✓' if i == item.gold else '·'} {choice.strip()}" for i, choice in enumerate(item.choices)]
    return "\n".join([item.context, *marks])


def _answers(view: RunView, step: StepView) -> Mapping[str, str]:
    """The first answer to each prompt, by the prompt's id."""
    if "answers" not in INSTRUMENTS[step.name.split("/")[-1]].needs:
        return {}
    answers = _input(view, step, "answers")
    found: dict[str, str] = {}
    for candidate in answers.records("candidates.jsonl", Candidate) if answers else ():
        if candidate.sample == 0:
            found.setdefault(candidate.prompt_id, candidate.text)
    return found


def _short(text: str) -> str:
    return text if len(text) <= MOST_CHARACTERS else text[:MOST_CHARACTERS] + " …"
