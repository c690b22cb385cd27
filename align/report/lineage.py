"""From the exported model back to the data files: what was made from what, by digest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from align.report.numbers import short
from align.report.view import RunView, State, StepView

ORDER: tuple[State, ...] = ("failed", "waiting", "missing", "done", "reused")
GROUPED = {"answers": "answers", "evaluate": "measure"}


@dataclass(frozen=True)
class Made:
    """One artifact and what it stands on."""

    step: str
    digest: str
    parents: tuple[tuple[str, str], ...]
    """The step that made each input, and the input's digest."""
    files: tuple[tuple[str, str], ...]
    """Files and hub revisions from outside, and their digests."""

    @property
    def is_measurement(self) -> bool:
        return self.step.startswith("evaluate/")

    @property
    def said(self) -> str:
        """`sft 3fa8…, pair 91bc…`; many measurements are counted, not listed."""
        single = [f"{name} {digest}" for name, digest in self.parents if not name.startswith("evaluate/")]
        n = len(self.parents) - len(single)
        outside = [f"{name} {digest}" for name, digest in self.files]
        return ", ".join([*single, *outside, *([f"{n} measurements"] if n else [])])


@dataclass(frozen=True)
class Station:
    """One place in the picture of the pipeline: a step, or several of one sort."""

    name: str
    n: int
    state: State
    seconds: float | None
    """All of them together."""
    peak_mib: float | None
    """The most that any of them held in memory."""


def chain(view: RunView) -> list[Made]:
    """Every artifact that was made, the last first."""
    return [
        Made(
            step.name,
            short(step.digest),
            tuple((str(given.get("step", name)), short(given.get("digest"))) for name, given in step.inputs.items()),
            tuple(_outside(step.config)),
        )
        for step in reversed(view.steps)
        if step.manifest
    ]


def _outside(config: object) -> Iterator[tuple[str, str]]:
    """What a config names outside the store: files by their sha256, hub repositories by their revision."""
    if isinstance(config, Mapping):
        if {"file", "sha256"} <= set(config):
            yield str(config["file"]), short(str(config["sha256"]))
        elif config.get("revision") and (config.get("hub") or config.get("name")):
            yield str(config.get("hub") or config.get("name")), short(str(config["revision"]))
        else:
            for value in config.values():
                yield from _outside(value)
    elif isinstance(config, (list, tuple)):
        for value in config:
            yield from _outside(value)


def stations(view: RunView) -> list[Station]:
    """The pipeline as a line of stations, in the order of the plan."""
    groups: dict[str, list[StepView]] = {}
    for step in view.steps:
        groups.setdefault(GROUPED.get(step.name.split("/")[0], step.name), []).append(step)
    return [
        Station(
            name,
            len(steps),
            min((step.state for step in steps), key=ORDER.index),
            sum(times) if (times := _known(steps, "seconds")) else None,
            max(_known(steps, "peak_rss_mib"), default=None),
        )
        for name, steps in groups.items()
    ]


def _known(steps: list[StepView], name: str) -> list[float]:
    return [float(value) for step in steps if (value := step.manifest.get(name)) is not None]


def versions(view: RunView) -> dict[str, str]:
    """Package versions of the steps, each with how many steps had which where they differ."""
    counted: dict[str, Counter[str]] = {}
    for step in view.steps:
        for package, version in (step.manifest.get("packages") or {}).items():
            counted.setdefault(package, Counter())[str(version)] += 1
    return {
        package: next(iter(found))
        if len(found) == 1
        else ", ".join(f"{v} ({n} steps)" for v, n in sorted(found.items()))
        for package, found in sorted(counted.items())
    }


def commits(view: RunView) -> list[str]:
    """The commits that the steps were made at, in order of first use."""
    return list(dict.fromkeys(str(step.manifest["commit"]) for step in view.steps if step.manifest.get("commit")))
