"""Stage `export`: what the gate lets through, as a folder that transformers and vLLM load, with a card."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from align.configs import ExportConfig
from align.errors import BackendError, RecordError
from align.ports import Inputs, Tools
from align.recipe import secret
from align.records import Measurement
from align.report.card import card
from align.report.view import RunView, StepView, Verdict, in_order
from align.stages import gate
from align.store import delivery, jsonl

VERSION = 1


def run(config: ExportConfig, inputs: Inputs, out: Path, tools: Tools) -> None:
    """Write `model/` or `adapter/`, and `README.md`; then copy and push it where the recipe says."""
    verdict = _gate(inputs)
    _sendable(config, tools)
    tools.trainer.export(config, inputs["model"].path / "model", out, tools)
    made = {artifact.key: StepView.of(name, artifact) for name, artifact in inputs.items()}
    steps = in_order(made.values())
    view = RunView("export", None, {}, steps, verdict, simulated(steps))
    (out / "README.md").write_text(card(view, config), encoding="utf-8")
    send(config, out, tools)


def send(config: ExportConfig, out: Path, tools: Tools) -> None:
    """Copy an export to `config.folder` and push it to `config.push_to`; what is already there is left as it is.

    Neither knob changes what is exported, so this stands for itself: it also serves an export that is reused.
    """
    token = _sendable(config, tools)
    if config.folder is None and config.push_to is None:
        return
    folder = loadable(out, tools.work / "loadable")
    if config.folder is not None:
        delivery.deliver(folder, Path(config.folder))
        tools.note("copied to export.folder")
    if config.push_to is not None:
        tools.note(f"pushed: {tools.push(folder, config.push_to, private=config.private, token=token)}")


def simulated(steps: Sequence[StepView]) -> bool:
    """Whether the truth or the people behind any of these artifacts are made."""
    return any(
        step.config.get("testbed") is not None
        or "simulated" in (step.summary().get("provenance") or ())
        or any(m.provenance == "simulated" for m in step.records("measurements.jsonl", Measurement))
        for step in steps
    )


def loadable(out: Path, folder: Path) -> Path:
    """`folder`, filled with an export as others want it: the card beside the weights, nothing above them."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for part in ("model", "adapter"):
        if (out / part).is_dir():
            shutil.copytree(out / part, folder, copy_function=_link, dirs_exist_ok=True)
    shutil.copyfile(out / "README.md", folder / "README.md")
    return folder


def _gate(inputs: Inputs) -> Verdict | None:
    if "gate" not in inputs:
        return None
    path = inputs["gate"].path / "summary.json"
    try:
        summary = jsonl.parse(path.read_bytes(), str(path))
        refusal = gate.refusal(summary)
    except (OSError, KeyError, TypeError) as error:
        raise RecordError(
            f"{path}: cannot be read as a gate's summary ({error}); expected one made by stage `gate`"
        ) from error
    if refusal is not None:
        raise refusal
    verdict: Verdict = summary["verdict"]
    return verdict


def _sendable(config: ExportConfig, tools: Tools) -> str:
    """The hub token, if one will be needed; whatever would stop the copy or the push is said before the work."""
    if config.folder is not None:
        delivery.refuse(Path(config.folder))
    if config.push_to is None:
        return ""
    if tools.runtime.offline:
        raise BackendError(
            f"export.push_to: {config.push_to}: runtime.offline forbids the network; leave one of them out"
        )
    return secret(config.token)


def _link(source: str, target: str) -> None:
    """A hard link where the file system has them: weights are big."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
