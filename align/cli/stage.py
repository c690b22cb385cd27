"""`align STAGE --in … --out … --set …`: any stage alone, in one way for all."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from align import recipe as recipes
from align.cli import given
from align.configs import (
    AuditConfig,
    BenchmarkStep,
    BestOf,
    DataConfig,
    DPOConfig,
    EvaluateStep,
    ExportConfig,
    GateConfig,
    GenerateStep,
    HarnessStep,
    KTOConfig,
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
    "pair": PairConfig, "dpo": DPOConfig, "kto": KTOConfig, "reward": RewardConfig, "rlhf": RLHFConfig,
    "best_of": BestOf, "benchmark": BenchmarkStep, "evaluate": EvaluateStep, "harness": HarnessStep,
    "audit": AuditConfig, "gate": GateConfig, "export": ExportConfig,
}  # fmt: skip
SECTIONS = {"prepare": "data", "base": "model"}


def stage(arguments: argparse.Namespace, name: str) -> int:
    """Run one stage from folders to a folder."""
    if arguments.out is None:
        raise UsageError(f"{name}: --out FOLDER is missing: where the result is to stand")
    out = Path(arguments.out)
    if out.exists():
        raise UsageError(f"{out}: exists already; name a folder that does not")
    aside = out.resolve().parent / f".{out.name}.inputs"
    shutil.rmtree(aside, ignore_errors=True)  # what a killed run has left
    try:
        return _run(arguments, name, out, aside)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _run(arguments: argparse.Namespace, name: str, out: Path, aside: Path) -> int:
    own, of_data = given.own_and_data(arguments.sets) if name in given.PARTS else (arguments.sets, [])
    config, seed, runtime = settings(arguments, name, own)

    def make_input(one: str, path: Path) -> Artifact | None:
        aside.parent.mkdir(parents=True, exist_ok=True)
        return given.made(one, path, name, of_data, aside=aside, seed=seed, runtime=runtime)

    inputs = _inputs(arguments.inputs, name, config, make_input)
    if of_data and not any(text.startswith("data=") and Path(text[5:]).is_file() for text in arguments.inputs):
        raise UsageError(f"{name}: --set data.{of_data[0]}: is for a file of rows, and --in data names none")
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


def settings(arguments: argparse.Namespace, name: str, sets: Sequence[str]) -> tuple[Config, int, RuntimeConfig]:
    """The knobs of a stage, the seed, and the runtime with no `auto` left."""
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
    for assignment in sets:
        recipes.put(values, lines, assignment)
    config = recipes.checked(KNOBS[name], values, lines, where=name, folder=Path.cwd())
    return config, arguments.seed if arguments.seed is not None else seed, resolved(runtime)


def _inputs(
    texts: Sequence[str], name: str, config: Config, make_input: Callable[[str, Path], Artifact | None]
) -> dict[str, Artifact]:
    """What `--in` names, each once and each of use to the stage, with nothing missing that it needs."""
    stage, needs = STAGES[name], needed(name, config)
    known = {**stage.needs, **stage.takes}
    found: dict[str, Artifact] = {}
    asked: dict[str, str] = {}
    for text in texts:
        named, equals, place = text.partition("=")
        if not equals or not named:
            raise UsageError(f"{name}: --in {text}: expected NAME=PATH")
        if named not in known and not any(
            _alike(named, pattern) for pattern in (MEASURED, AUDITED) if pattern in known
        ):
            near = get_close_matches(named, known, n=1)
            hint = f"did you mean `{near[0]}`?" if near else f"it reads: {', '.join(known) or 'nothing'}"
            raise UsageError(f"{name}: --in {named}: no such input; {hint}")
        if named in asked:
            raise UsageError(f"{name}: --in {named}: given twice")
        asked[named] = place
        if not Path(place).exists():
            raise UsageError(f"--in {text}: no such folder")
    for needed_name, what in needs.items():
        if needed_name not in asked:
            raise UsageError(f"{name}: --in {needed_name}=PATH is missing ({what})")
    for named, place in asked.items():
        found[named] = make_input(named, Path(place)) or _opened(f"{named}={place}", Path(place))
    return found


def _alike(named: str, pattern: str) -> bool:
    """Whether an input is named as `evaluate/MODEL/INSTRUMENT` says."""
    return named.count("/") == pattern.count("/") and named.split("/")[0] == pattern.split("/")[0]


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
