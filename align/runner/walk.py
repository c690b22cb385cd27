"""Walk a plan: for each step reuse its artifact, run it, or wait for people, and say why."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from align.configs import Recipe, RLHFConfig, Survey
from align.errors import (
    AlignError,
    UsageError,
    Waiting,
)
from align.evals import gates
from align.plan import Step, plan
from align.ports import Artifact
from align.runner import survey
from align.runner.console import Console
from align.runner.keys import differences, made_from
from align.runner.machine import packages, resolved
from align.runner.make import make
from align.runner.toolbox import Toolbox
from align.stages import export, gate
from align.store.artifacts import Store
from align.store.fingerprint import key_of, read_json, replace
from align.training.rollout_engine import refuse_vllm_without_gpu

Action = Literal["reuse", "run", "wait"]
EARLIER = 5
"""Variants of a recipe, made with other knobs, whose artifacts `clean` keeps unless it is told not to."""


@dataclass(frozen=True)
class Outlook:
    """What will be done with a step, and why."""

    name: str
    action: Action
    why: tuple[str, ...] = ()
    artifact: Artifact | None = None


@dataclass(frozen=True)
class Result:
    """What a run came to."""

    recipe: Recipe | Survey
    artifacts: Mapping[str, Artifact]
    verdict: str | None
    report: Path | None
    ran: tuple[str, ...] = ()

    @property
    def model(self) -> Path:
        """The tuned model's folder; UsageError where the run stopped before there was one."""
        tuned = self.recipe.method if isinstance(self.recipe, Recipe) else "dpo"
        if tuned not in self.artifacts:
            raise UsageError(
                f"the run stopped before `{tuned}`, so there is no tuned model; run it with a later `until`"
            )
        return self.artifacts[tuned].path / "model"


@dataclass
class Runner:
    """One recipe, or one survey of models, over one store."""

    recipe: Recipe | Survey
    store: Store
    console: Console = field(default_factory=Console)
    until: str | None = None
    redo: Sequence[str] = ()
    refresh: Sequence[str] = ()

    def __post_init__(self) -> None:
        self.steps = plan(self.recipe) if isinstance(self.recipe, Recipe) else survey.steps(self.recipe)
        self.store.refuse_foreign()
        self.runtime = resolved(self.recipe.runtime)
        self.name = self.recipe.name or "recipe"
        for asked in (*self.redo, *self.refresh, *([self.until] if self.until else [])):
            if not self._meant(asked):
                known = ", ".join(dict.fromkeys(step.name.partition("/")[0] for step in self.steps))
                raise UsageError(f"{asked}: no such step in this recipe; there are: {known}")
        self.state = self.store.remembered().get(self.name, {})
        self.snapshots: dict[str, int] = dict(self.state.get("snapshots", {}))
        if self.until:
            wanted = self._meant(self.until)
            for step in reversed(self.steps):
                wanted |= set(step.inputs.values()) if step.name in wanted else set()
            self.steps = tuple(step for step in self.steps if step.name in wanted)

    def outlook(self) -> list[Outlook]:
        """What `run` would do now; nothing is locked or written."""
        found: dict[str, Outlook] = {}
        for step in self.steps:
            found[step.name] = self._outlook(step, found)
        return list(found.values())

    def run(self) -> Result:
        """Make what is missing. Raises Waiting, or the gate's refusal, once everything that can be done is done.

        UsageError before the first step where a later one cannot run on this machine.
        """
        self._refuse_what_cannot_run_here()
        found: dict[str, Outlook] = {}
        ran = []
        refusal: AlignError | None = None
        waiting: Waiting | None = None
        for step in self.steps:
            if any(step.name in self._meant(asked) for asked in self.refresh):
                self._next_snapshot(step, found)
            if step.stage == "export" and refusal is not None:
                self.console.line(step.name, "blocked", "by the gate")
                self._remember(found, without=step.name)
                continue
            seen = self._outlook(step, found)
            if seen.action == "reuse" and not self._redone(step):
                self.console.line(step.name, "reuse", "; ".join(seen.why))
                if step.stage == "export" and seen.artifact is not None:
                    self._deliver(seen.artifact)
            elif self._held_up(step, found):
                self.console.line(step.name, "wait", "; ".join(seen.why))
            else:
                why = "; ".join(("--redo", *seen.why) if self._redone(step) else seen.why)
                try:
                    seen = Outlook(step.name, "reuse", seen.why, self._make(step, found, why))
                    ran.append(step.name)
                except Waiting as said:
                    self.console.line(step.name, "wait", str(said))
                    seen, waiting = Outlook(step.name, "wait", (str(said),)), waiting or said
            found[step.name] = seen
            if step.stage == "gate" and seen.artifact is not None:
                refusal = refusal or gate.refusal(read_json(seen.artifact.path / "summary.json"))
            self._remember(found)
        if waiting is not None:
            self.store.digests.save()
            raise waiting
        artifacts = {name: seen.artifact for name, seen in found.items() if seen.artifact is not None}
        judged = [artifacts[step.name].path for step in self.steps if step.stage == "gate" and step.name in artifacts]
        verdict = gates.gravest([read_json(path / "summary.json")["verdict"] for path in judged]) if judged else None
        told = judged or (isinstance(self.recipe, Survey) and not self.until)
        report = self._report(bool(ran)) if told else None
        self.store.digests.save()
        if refusal is not None:
            raise refusal
        return Result(self.recipe, artifacts, verdict, report, tuple(ran))

    def _refuse_what_cannot_run_here(self) -> None:
        if not any(isinstance(step.config, RLHFConfig) for step in self.steps):
            return
        for step, seen in zip(self.steps, self.outlook(), strict=True):
            to_be_made = seen.action == "run" or self._redone(step) or bool(self.refresh)
            if isinstance(step.config, RLHFConfig) and to_be_made:
                refuse_vllm_without_gpu(step.config.engine, self.runtime.device)

    def _deliver(self, artifact: Artifact) -> None:
        """Copy and push a reused export where the recipe now says; what is already there is left as it is."""
        assert isinstance(self.recipe, Recipe), "a survey exports nothing"
        config = self.recipe.export
        pushed = any(str(note).startswith("pushed: ") for note in artifact.manifest.get("notes", ()))
        if config.folder is None and (config.push_to is None or pushed):
            return
        with tempfile.TemporaryDirectory() as work:
            tools = Toolbox("export", seed=0, runtime=self.runtime, work=Path(work), console=self.console)
            export.send(config.model_copy(update={"push_to": None}) if pushed else config, artifact.path, tools)

    def _next_snapshot(self, step: Step, found: Mapping[str, Outlook]) -> None:
        """Number the step's snapshot so that it is pulled, whoever numbered snapshots in this store before."""
        self.snapshots[step.name] = self.snapshots.get(step.name, 1) + 1
        if any(found[name].artifact is None for name in step.inputs.values()):
            return
        while self.store.find(step.stage, key_of(self._made_from(step, found))) is not None:
            self.snapshots[step.name] += 1

    def _redone(self, step: Step) -> bool:
        return any(step.name in self._meant(asked) for asked in self.redo)

    def _meant(self, asked: str) -> set[str]:
        """The step of this name, or where there is none, every step of the stage."""
        named = {step.name for step in self.steps if step.name == asked}
        return named or {step.name for step in self.steps if step.stage == asked}

    def _outlook(self, step: Step, found: Mapping[str, Outlook]) -> Outlook:
        if held_up := self._held_up(step, found):
            return Outlook(step.name, "wait", tuple(f"its input `{name}` waits for people" for name in held_up[:3]))
        anew = [name for name in dict.fromkeys(step.inputs.values()) if found[name].artifact is None]
        if anew:
            return Outlook(step.name, "run", tuple(f"its input `{name}` is made anew" for name in anew[:3]))
        document = self._made_from(step, found)
        key = key_of(document)
        artifact = self.store.find(step.stage, key)
        if artifact is not None:
            return Outlook(step.name, "reuse", tuple(_drift(artifact)), artifact)
        waiting = self.store.place(step.stage, key).with_name(key[:16] + ".partial") / "work" / "waiting.txt"
        if waiting.exists():
            return Outlook(step.name, "wait", (waiting.read_text(encoding="utf-8").strip(),))
        return Outlook(step.name, "run", tuple(self._why(step, document, key)))

    def _held_up(self, step: Step, found: Mapping[str, Outlook]) -> list[str]:
        return [name for name in dict.fromkeys(step.inputs.values()) if found[name].action == "wait"]

    def _why(self, step: Step, document: Mapping[str, Any], key: str) -> list[str]:
        if problem := self.store.problem(step.stage, key):
            return [problem]
        before = self.state.get("steps", {}).get(step.name)
        if before is None:
            return ["not made yet"]
        return differences(before["made_from"], document, step) or ["its artifact is gone from the store"]

    def _made_from(self, step: Step, found: Mapping[str, Outlook]) -> dict[str, Any]:
        snapshot = self.snapshots.get(step.name, 1) if step.stage in ("label", "audit") else None
        return made_from(step, self._inputs(step, found), seed=self.recipe.seed, dtype=self.runtime.dtype,
                         snapshot=snapshot, digests=self.store.digests)  # fmt: skip

    def _inputs(self, step: Step, found: Mapping[str, Outlook]) -> dict[str, Artifact]:
        artifacts = {name: found[source].artifact for name, source in step.inputs.items()}
        return {name: artifact for name, artifact in artifacts.items() if artifact is not None}

    def _make(self, step: Step, found: Mapping[str, Outlook], why: str) -> Artifact:
        inputs = self._inputs(step, found)
        document = self._made_from(step, found)
        key = key_of(document)
        self._remember(found, unfinished={step.name: {"stage": step.stage, "key": key}})
        with self.store.making(step.stage, key, step.name) as making:
            made = self.store.find(step.stage, key)
            if made is not None and not self._redone(step):  # by another run, between our look and our lock
                shutil.rmtree(making.out.parent)
                return made
            self.console.line(step.name, "run", why)
            start = time.monotonic()
            try:
                artifact = make(step, inputs, making, document, seed=self.recipe.seed, runtime=self.runtime,
                                store=self.store, console=self.console, shared=not self._redone(step))  # fmt: skip
            except Waiting as waiting:
                (making.work / "waiting.txt").write_text(str(waiting), encoding="utf-8")
                raise
        self.console.line(step.name, "done", f"{time.monotonic() - start:.1f} s")
        return artifact

    def _remember(
        self, found: Mapping[str, Outlook], *, unfinished: Mapping[str, Any] | None = None, without: str = ""
    ) -> None:
        """Write down what the recipe stands on now, and what is begun: `clean` keeps both."""
        steps = dict(self.state.get("steps", {})) if self.until else {}
        snapshots = dict(self.state.get("snapshots", {}))
        begun = {**self.state.get("unfinished", {}), **(unfinished or {})}
        for step in self.steps:
            artifact = found[step.name].artifact if step.name in found else None
            if step.name == without:
                steps.pop(step.name, None)
            elif artifact is not None:
                begun.pop(step.name, None)
                if "snapshot" in artifact.manifest["made_from"]:
                    snapshots[step.name] = artifact.manifest["made_from"]["snapshot"]
                steps[step.name] = {"stage": step.stage, "key": artifact.key, "digest": artifact.digest,
                                    "made_from": artifact.manifest["made_from"]}  # fmt: skip
            elif step.name in self.state.get("steps", {}):
                steps[step.name] = self.state["steps"][step.name]
        shown = _shown(self.recipe)
        earlier = list(self.state.get("earlier", []))
        if self.state and self.state["recipe"] != shown:
            earlier = [{"recipe": self.state["recipe"], "steps": self.state["steps"]}, *earlier]
            earlier = [variant for variant in earlier if variant["recipe"] != shown][:EARLIER]
        state = {"schema": 1, "name": self.name, "title": self.recipe.title, "steps": steps,
                 "unfinished": begun, "snapshots": snapshots, "recipe": shown, "earlier": earlier}  # fmt: skip
        if state != self.state:
            self.store.remember(self.name, state)
            self.state = state

    def _report(self, changed: bool) -> Path:
        from align.runner.views import run_view

        path = self.store.root / "reports" / f"{self.name}.html"
        if changed or not path.exists():
            from align.report.page import page

            path.parent.mkdir(parents=True, exist_ok=True)
            replace(path, page(run_view(self.store, self.state)))
        return path


def _drift(artifact: Artifact) -> list[str]:
    made, now = artifact.manifest.get("packages", {}), packages()
    return [f"made with {name} {old}, now {now[name]}" for name, old in made.items() if now.get(name, old) != old]


def _shown(recipe: Recipe | Survey) -> dict[str, Any]:
    """The recipe as it may be kept: files by name, never by place."""
    shown = recipe.keyed()
    return {name: _named(value) for name, value in shown.items()}


def _named(value: Any) -> Any:
    from align.configs.base import Located

    if isinstance(value, Located):
        return Path(value).name
    if isinstance(value, dict):
        return {key: _named(item) for key, item in value.items()}
    return [_named(item) for item in value] if isinstance(value, list) else value
