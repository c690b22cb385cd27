"""`align STAGE --in … --out … --set …`: any stage alone, in one way for all."""

from __future__ import annotations

import argparse
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
from align.plan import Step
from align.ports import Artifact
from align.runner.console import Console
from align.runner.keys import made_from
from align.runner.machine import resolved
from align.runner.make import make
from align.store.artifacts import Store, making, opened
from align.store.fingerprint import Digests

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
    for source in inputs.values():
        if out.resolve().is_relative_to(source.path.resolve()):
            raise UsageError(f"--out {out}: stands inside the input {source.path}; name a folder elsewhere")
    store = Store(out.resolve().parent)
    store.digests = Digests(None)  # a cache beside the result would be litter
    step = Step(name, name, config, {key: key for key in inputs})
    document = made_from(step, inputs, seed=seed, dtype=runtime.dtype, snapshot=None, digests=store.digests)
    console = Console()
    with making(out, str(out), out.parent, lasting_lock=False) as place:
        make(step, inputs, place, document, seed=seed, runtime=runtime, store=store, console=console)
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
