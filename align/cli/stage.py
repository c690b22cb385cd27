"""`align STAGE --in … --out … --set …`: any stage alone, in one way for all."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from align import recipe as recipes
from align.configs import (
    AuditConfig,
    BenchmarkStep,
    DataConfig,
    DPOConfig,
    EvaluateStep,
    ExportConfig,
    GateConfig,
    GenerateStep,
    HarnessStep,
    LabelStep,
    ModelConfig,
    PairConfig,
    RewardConfig,
    RLHFConfig,
    RuntimeConfig,
    SFTConfig,
)  # fmt: skip
from align.configs.base import Config
from align.configs.mistakes import Lines
from align.errors import StoreError, UsageError
from align.plan import AUDITED, MEASURED, STAGES, Step, needed
from align.ports import Artifact
from align.runner.console import Console
from align.runner.keys import made_from
from align.runner.machine import resolved
from align.runner.make import make
from align.stages import gate
from align.store.artifacts import Store, making, opened, torn
from align.store.fingerprint import Digests, read_json

KNOBS: dict[str, type[Config]] = {
    "prepare": DataConfig, "base": ModelConfig, "sft": SFTConfig, "generate": GenerateStep, "label": LabelStep,
    "pair": PairConfig, "dpo": DPOConfig, "reward": RewardConfig, "rlhf": RLHFConfig, "benchmark": BenchmarkStep,
    "evaluate": EvaluateStep, "harness": HarnessStep, "audit": AuditConfig, "gate": GateConfig, "export": ExportConfig,
}  # fmt: skip
SECTIONS = {"prepare": "data", "base": "model"}


def stage(arguments: argparse.Namespace, name: str) -> int:
    """Run one stage from folders to a folder."""
    if arguments.out is None:
        raise UsageError(f"{name}: --out FOLDER is missing: where the result is to stand")
    out = Path(arguments.out)
    if out.exists():
        raise UsageError(f"{out}: exists already; name a folder that does not")
    config, seed, runtime = _config(arguments, name)
    inputs = _inputs(arguments.inputs, name, config)
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
    refusal = gate.refusal(read_json(out / "summary.json")) if name == "gate" else None
    if refusal is not None:
        raise refusal
    return 0


def _config(arguments: argparse.Namespace, name: str) -> tuple[Config, int, RuntimeConfig]:
    values: dict[str, Any] = {}
    lines: Lines = {}
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
    config = recipes.checked(KNOBS[name], values, lines, where=name, folder=Path.cwd())
    return config, arguments.seed if arguments.seed is not None else seed, resolved(runtime)


def _inputs(texts: Sequence[str], name: str, config: Config) -> dict[str, Artifact]:
    """What `--in` names, each once and each of use to the stage, with nothing missing that it needs."""
    stage, needs = STAGES[name], needed(name, config)
    known = {**stage.needs, **stage.takes}
    found: dict[str, Artifact] = {}
    for text in texts:
        given, equals, place = text.partition("=")
        if not equals or not given:
            raise UsageError(f"{name}: --in {text}: expected NAME=PATH")
        if given not in known and not any(
            _alike(given, pattern) for pattern in (MEASURED, AUDITED) if pattern in known
        ):
            near = get_close_matches(given, known, n=1)
            hint = f"did you mean `{near[0]}`?" if near else f"it reads: {', '.join(known) or 'nothing'}"
            raise UsageError(f"{name}: --in {given}: no such input; {hint}")
        if given in found:
            raise UsageError(f"{name}: --in {given}: given twice")
        found[given] = _opened(text, Path(place))
    for needed_name, what in needs.items():
        if needed_name not in found:
            raise UsageError(f"{name}: --in {needed_name}=PATH is missing ({what})")
    return found


def _alike(given: str, pattern: str) -> bool:
    """Whether an input is named as `evaluate/MODEL/INSTRUMENT` says."""
    return given.count("/") == pattern.count("/") and given.split("/")[0] == pattern.split("/")[0]


def _opened(text: str, path: Path) -> Artifact:
    """A whole artifact, or a plain folder such as one."""
    if not path.is_dir():
        raise UsageError(f"--in {text}: no such folder")
    if (path / "manifest.json").exists():
        artifact = opened(path)
        if problem := torn(artifact):
            raise StoreError(f"--in {text}: {problem}; make it again")
        return artifact
    digest = Digests(None).anything(path)
    return Artifact(path, digest, digest, {"files": []})
