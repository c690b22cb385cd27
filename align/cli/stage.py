"""`align STAGE --in … --out … --set …`: any stage alone, in one way for all."""

from __future__ import annotations

import argparse
import resource
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from align import recipe as recipes
from align.configs import (
    DataConfig,
    DPOConfig,
    EvaluateStep,
    ExportConfig,
    GateConfig,
    GenerateStep,
    LabelConfig,
    ModelConfig,
    PairConfig,
    RuntimeConfig,
    SFTConfig,
)  # fmt: skip
from align.configs.base import Config
from align.errors import UsageError
from align.plan import STAGES, Step
from align.ports import Artifact
from align.runner.console import Console
from align.runner.keys import made_from
from align.runner.machine import commit, packages, resolved
from align.runner.toolbox import Toolbox
from align.store.artifacts import Making, Store, opened
from align.store.fingerprint import Digests, fingerprint, seed_for

KNOBS: dict[str, type[Config]] = {
    "prepare": DataConfig, "base": ModelConfig, "sft": SFTConfig, "generate": GenerateStep, "label": LabelConfig,
    "pair": PairConfig, "dpo": DPOConfig, "evaluate": EvaluateStep, "gate": GateConfig, "export": ExportConfig,
}  # fmt: skip
SECTIONS = {"prepare": "data", "base": "model"}


def stage(arguments: argparse.Namespace, name: str) -> int:
    """Run one stage from folders to a folder."""
    if getattr(arguments, "list", False):
        from align.evals import listing

        for row in listing():
            print(f"{row['name']:<14} {row['measures']}\n{'':<14} needs {row['needs']}; {row['last_run']}")
            print(f"{'':<14} {row['metrics']}")
        return 0
    if arguments.out is None:
        raise UsageError(f"align {name}: --out FOLDER is missing: where the result is to stand")
    out = Path(arguments.out)
    if out.exists():
        raise UsageError(f"{out}: exists already; name a folder that does not")
    config, seed, runtime = _config(arguments, name)
    inputs = dict(_input(text) for text in arguments.inputs)
    store = Store(out.resolve().parent)
    store.digests = Digests(None)  # a cache beside the result would be litter
    step = Step(name, name, config, {key: key for key in inputs})
    document = made_from(step, inputs, seed=seed, dtype=runtime.dtype, snapshot=None, digests=store.digests)
    partial = out.with_name(out.name + ".partial")
    making = Making(out, partial / "out", partial / "work")
    shutil.rmtree(making.out, ignore_errors=True)
    making.out.mkdir(parents=True)
    making.work.mkdir(exist_ok=True)
    console = Console()
    tools = Toolbox(name, seed=seed_for(seed, name), runtime=runtime, work=making.work, console=console)
    began, start = datetime.now(UTC), time.monotonic()
    try:
        STAGES[name].module.run(config, inputs, making.out, tools)
    finally:
        tools.close()
    store.seal(making, {
        "schema": 1, "stage": name, "step": name, "key": fingerprint(document), "made_from": document,
        "config": document["config"], "notes": tools.notes, "packages": packages(), "commit": commit(),
        "inputs": {key: {"step": key, "key": a.key, "digest": a.digest} for key, a in inputs.items()},
        "created": began.isoformat(timespec="seconds"), "seconds": round(time.monotonic() - start, 3),
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "runtime": runtime.model_dump(mode="json"),
    })  # fmt: skip
    console.line(name, "done", str(out))
    return 0


def _config(arguments: argparse.Namespace, name: str) -> tuple[Config, int, RuntimeConfig]:
    values: dict[str, Any] = {}
    lines: recipes.Lines = {}
    seed, runtime = 0, RuntimeConfig()
    if arguments.recipe is not None:
        whole = recipes.load(arguments.recipe)
        seed, runtime = whole.seed, whole.runtime
        section = getattr(whole, SECTIONS.get(name, name))
        if section is None:
            raise UsageError(f"{arguments.recipe}: has no section `{SECTIONS.get(name, name)}`")
        values = {k: v for k, v in section.model_dump(exclude_unset=True).items() if k in KNOBS[name].model_fields}
    for assignment in arguments.sets:
        recipes.put(values, lines, assignment)
    config = recipes.checked(KNOBS[name], values, lines, where=f"align {name}", folder=Path.cwd())
    return config, arguments.seed if arguments.seed is not None else seed, resolved(runtime)


def _input(text: str) -> tuple[str, Artifact]:
    """`name=path`: an artifact, or a plain folder such as one."""
    name, equals, place = text.partition("=")
    path = Path(place)
    if not equals or not name:
        raise UsageError(f"--in {text}: expected NAME=PATH")
    if not path.is_dir():
        raise UsageError(f"--in {text}: no such folder")
    if (path / "manifest.json").exists():
        return name, opened(path)
    digest = Store(path.parent).digests.anything(path)
    return name, Artifact(path, digest, digest, {"step": name, "files": []})
