"""What the report is given: a run as its steps, each with its folder and its manifest."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from align.ports import Artifact
from align.records import Record
from align.store import jsonl

R = TypeVar("R", bound=Record)
State = Literal["done", "reused", "waiting", "failed", "missing"]
Verdict = Literal["pass", "fail", "inconclusive", "error"]
PARTS = ("base", "sft", "tuned")
"""The models a run compares, in the order in which they are shown."""


STAGES = (
    "ready",
    "prepare",
    "base",
    "sft",
    "generate",
    "label",
    "pair",
    "dpo",
    "reward",
    "kto",
    "rlhf",
    "benchmark",
    "answers",
    "evaluate",
    "harness",
    "audit",
    "gate",
    "export",
)


@dataclass(frozen=True)
class StepView:
    """One step of a run. A step that was never made has an empty manifest."""

    name: str
    """`sft`, `answers/base`, `evaluate/tuned/facts`, …"""
    stage: str
    path: Path
    manifest: Mapping[str, Any]
    state: State = "done"

    @classmethod
    def of(cls, name: str, artifact: Artifact) -> StepView:
        """The view of an artifact that a stage was given under `name`: a step's name, or a part such as `model`."""
        manifest = artifact.manifest
        step = name if "/" in name else str(manifest.get("step") or name)
        return cls(step, str(manifest.get("stage") or name), artifact.path, {**manifest, "digest": artifact.digest})

    @property
    def config(self) -> Mapping[str, Any]:
        """The knobs it was made with."""
        return self.manifest.get("config") or {}

    @property
    def inputs(self) -> Mapping[str, Mapping[str, str]]:
        """What it was made from: key and digest by name."""
        return self.manifest.get("inputs") or {}

    @property
    def digest(self) -> str | None:
        return self.manifest.get("digest")

    def records(self, file: str, kind: type[R]) -> list[R]:
        """The records of one of its files; none if it has no such file."""
        path = self.path / file
        return list(jsonl.read(path, kind)) if path.is_file() else []

    def rows(self, file: str) -> list[dict[str, Any]]:
        """The rows of one of its files; none if it has no such file."""
        path = self.path / file
        return [row for _, row in jsonl.rows(path)] if path.is_file() else []

    def summary(self) -> dict[str, Any]:
        """What the stage said of its own work; empty if it said nothing."""
        path = self.path / "summary.json"
        return jsonl.parse(path.read_bytes(), str(path)) if path.is_file() else {}


@dataclass(frozen=True)
class RunView:
    """A run, whole or in part."""

    name: str
    title: str | None
    recipe: Mapping[str, Any]
    """As the user wrote it, with secrets left as `${env:NAME}`."""
    steps: tuple[StepView, ...]
    """As the pipeline goes; see `in_order`."""
    verdict: Verdict | None
    """What the gate said; none without a gate."""
    simulated: bool
    """Whether people, or the truth itself, are made."""

    def step(self, name: str) -> StepView | None:
        """The step of that name, if it was made."""
        return next((step for step in self.steps if step.name == name and step.manifest), None)

    def of_stage(self, stage: str) -> Iterator[StepView]:
        """The steps of one stage that were made."""
        return (step for step in self.steps if step.stage == stage and step.manifest)


def in_order(steps: Iterable[StepView]) -> tuple[StepView, ...]:
    """Steps as the pipeline goes, however they were kept: by stage, then model by model."""

    def place(step: StepView) -> tuple[int, int, str]:
        family, *rest = step.name.split("/")
        model = PARTS.index(rest[0]) if rest and rest[0] in PARTS else len(PARTS)
        stage = next((STAGES.index(name) for name in (family, step.stage) if name in STAGES), len(STAGES))
        return stage, model, step.name

    return tuple(sorted(steps, key=place))


def pretty(value: object) -> str:
    """JSON for people: indented, in the order it was written."""
    return json.dumps(value, indent=2, ensure_ascii=False, default=str)
