"""`align check`: a recipe, its files, the store and this environment, looked at without running anything."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from align import recipe as recipes
from align.configs import DataConfig, LabelConfig, ModelConfig, RLHFConfig
from align.data import formats, rows
from align.errors import AlignError, RecordError, UsageError
from align.plan import Step, plan
from align.runner.keys import located
from align.runner.machine import packages, resolved
from align.stages.ready import KINDS, Ready, files
from align.store import jsonl
from align.store.artifacts import Store, torn
from align.store.fingerprint import Digests
from align.training.rollout_engine import refuse_vllm_without_gpu

Finding = tuple[str, str, str]
"""`ok | warn | fail`, what was looked at, what was found."""


def check(arguments: argparse.Namespace) -> int:
    """Print one line a finding; exit 2 if anything fails."""
    if arguments.conformance is not None:
        return _conformance(Path(arguments.conformance), as_json=arguments.json)
    findings = list(_environment())
    if arguments.recipe is not None:
        findings += _recipe(arguments.recipe, arguments.sets)
    findings += _store(Store(arguments.store), deep=arguments.deep)
    if arguments.json:
        print(json.dumps([{"state": s, "what": w, "found": f} for s, w, f in findings], indent=1))
    else:
        for state, what, found in findings:
            print(f"{state:<5} {what:<28} {found}")
    failed = sum(state == "fail" for state, _, _ in findings)
    if failed:
        print(f"align: {failed} of {len(findings)} checks failed", file=sys.stderr)
    return 2 if failed else 0


def _conformance(place: Path, *, as_json: bool) -> int:
    """A model under these versions, a line a comparison as it is made; exit 2 if one fails."""
    from align.runner.toolbox import conformance

    folder = place / "model" if (place / "model" / "config.json").exists() else place
    if not folder.is_dir():
        raise UsageError(
            f"--conformance {place}: no such folder; expected a model folder, or an artifact that holds one"
        )
    findings: list[Finding] = []
    for finding in conformance(folder):
        findings.append(finding)
        if not as_json:
            print(f"{finding[0]:<5} {finding[1]:<24} {finding[2]}", flush=True)
    if as_json:
        print(json.dumps([{"state": s, "what": w, "found": f} for s, w, f in findings], indent=1))
    failed = sum(state == "fail" for state, _, _ in findings)
    if failed:
        print(f"align: {failed} of {len(findings)} comparisons failed", file=sys.stderr)
    return 2 if failed else 0


def _environment() -> Iterator[Finding]:
    from importlib.util import find_spec

    from align.configs import RuntimeConfig

    found = packages()
    for name in ("torch", "transformers", "trl", "peft", "datasets", "accelerate"):
        yield (
            ("ok", name, found[name])
            if name in found
            else ("fail", name, "not installed; run: pip install align-prefs")
        )
    if "trl" in found and not found["trl"].startswith("1.16."):
        yield (
            "fail",
            "trl",
            f"{found['trl']}: this version of align is made for trl 1.16; run: pip install 'trl>=1.16,<1.17'",
        )
    if find_spec("torchvision") is not None and found.get("torch", "").endswith("+cpu"):
        yield (
            "warn",
            "torchvision",
            "beside a CPU build of torch it can break the import of TRL; if it does: pip uninstall torchvision",
        )
    runtime = resolved(RuntimeConfig())
    yield "ok", "machine", f"{runtime.device}, {runtime.dtype}, {runtime.threads} threads"


def _recipe(path: Path, sets: list[str]) -> Iterator[Finding]:
    try:
        recipe = recipes.load(path, sets)
        steps = plan(recipe)
    except AlignError as error:
        yield "fail", "recipe", str(error)
        return
    yield "ok", "recipe", f"{recipe.name}: {len(steps)} steps"
    digests = Digests(None)
    for step in steps:
        for file in located(step.config.keyed()):
            try:
                yield "ok", f"{step.name}: {file.name}", digests.anything(file)[:16] + "…"
            except AlignError as error:
                yield "fail", f"{step.name}: {file.name}", str(error)
        yield from _ready(step)
        if isinstance(step.config, LabelConfig) and step.config.desk == "argilla":
            yield from _argilla(step.name, step.config)
        if isinstance(step.config, RLHFConfig):
            yield _rollouts(step.name, step.config, resolved(recipe.runtime).device)
    if recipe.export.push_to is not None:
        try:
            recipes.secret(recipe.export.token)
            yield "ok", "hub token", f"{recipe.export.token} is set"
        except AlignError as error:
            yield "fail", "hub token", str(error)


def _ready(step: Step) -> Iterator[Finding]:
    """Whether what a step is given ready-made is of the kind that it takes; of records, the first row is read."""
    what = f"{step.name}: {'model' if step.stage == 'base' else 'ready'}"
    try:
        if isinstance(step.config, Ready):
            found = files(step.config)
            for name, path in found.items():
                if name in KINDS and next(jsonl.read(path, KINDS[name]), None) is None:
                    raise RecordError(f"{path}: 0 rows, expected {KINDS[name].__name__} records")
            yield "ok", what, f"{step.config.holds}: {', '.join(found)}"
        elif isinstance(step.config, ModelConfig) and step.config.folder and Path(step.config.folder).is_dir():
            from align.runner.toolbox import inspect_model

            yield "ok", what, inspect_model(Path(step.config.folder))
        elif isinstance(step.config, DataConfig) and step.name == "pair":
            for file in step.config.preferences:
                row = next(rows.read(file, lambda *_: ()), None)
                if row is None:
                    raise RecordError(f"{file.path}: 0 rows, expected preferences")
                formats.preference(row, formats.detect(row))
                yield "ok", what, f"preferences: {Path(str(file.path)).name}"
    except AlignError as error:
        yield "fail", what, str(error)


def _rollouts(name: str, config: RLHFConfig, device: str) -> Finding:
    """Whether the engine that draws a policy's answers can run on this machine."""
    try:
        refuse_vllm_without_gpu(config.engine, device)
    except AlignError as error:
        return "fail", f"{name}: engine", str(error)
    return "ok", f"{name}: engine", config.engine.name


def _argilla(name: str, config: LabelConfig) -> Iterator[Finding]:
    """Whether the server is there, whether it is one to be trusted with answers, and whether we may work on it."""
    from align.adapters.argilla.opening import open_server

    what, ours = f"{name}: argilla", config.argilla.url is None
    try:
        server, _ = open_server(config.argilla)
        with server:
            account, version = server.me(), server.version()
            if account["role"] == "annotator":
                yield "fail", what, f"{server.url}: the key is an annotator's; it takes an owner's, or an admin's"
            elif server.warning:
                yield "warn", what, server.warning
            else:
                yield "ok", what, f"{version} at {server.url}, as {account['role']}"
    except AlignError as error:
        yield "warn" if ours else "fail", what, str(error)


def _store(store: Store, *, deep: bool) -> Iterator[Finding]:
    folder = next(path for path in (store.root, *store.root.absolute().parents) if path.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        why = "cannot be written" if folder.is_dir() else f"{folder} is a file"
        yield "fail", "store", f"{store.root}: {why}; choose another with --store"
        return
    try:
        store.refuse_foreign()
    except AlignError as error:
        yield "fail", "store", str(error)
        return
    yield "ok", "store", f"{store.root}, {shutil.disk_usage(folder).free / 2**30:.1f} GiB free"
    for path in store.unreadable():
        yield "fail", path.parent.name, f"{path}: its manifest cannot be read; run its recipe again"
    for artifact in store.artifacts():
        if problem := torn(artifact, deep=Digests(None) if deep else None):
            yield (
                "fail",
                artifact.manifest["step"],
                f"{artifact.path}: {problem}; run its recipe with --redo {artifact.manifest['step']}",
            )
    if deep:
        yield "ok", "artifacts", f"{sum(1 for _ in store.artifacts())} read to the last byte"
