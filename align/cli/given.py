"""What a stage alone is given that is no artifact yet: a model folder as it lies there, or a file of rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from align import recipe as recipes
from align.configs import DataConfig, DataFile, ModelConfig, RuntimeConfig
from align.configs.base import Config
from align.configs.mistakes import Lines
from align.data import rows
from align.errors import UsageError
from align.plan import Step
from align.ports import Artifact
from align.runner.console import Console
from align.runner.keys import made_from
from align.runner.make import make
from align.store.artifacts import Store, making
from align.store.fingerprint import Digests

PARTS = {
    "sft": "demonstrations",
    "dpo": "preferences",
    "kto": "preferences",
    "reward": "preferences",
    "rlhf": "prompts",
    "generate": "prompts",
}
"""What the rows of a file are read as, by the stage that is given it as `data`."""
OF_DATA = "data."


def own_and_data(sets: Sequence[str]) -> tuple[list[str], list[str]]:
    """The stage's own knobs, and those of the file it is given (`data.test_share=0`), without their `data.`."""
    of_data = [one.removeprefix(OF_DATA) for one in sets if one.startswith(OF_DATA)]
    return [one for one in sets if not one.startswith(OF_DATA)], of_data


def config_of(name: str, path: Path, stage: str, sets: Sequence[str]) -> tuple[str, Config] | None:
    """The stage that makes an artifact of `path`, and its knobs; None where `path` is no plain model and no file."""
    values: dict[str, object]
    lines: Lines = {}
    models = ("model", "base", "sft") if stage == "generate" else ("model",)
    if name in models and (path / "config.json").is_file() and not (path / "manifest.json").exists():
        return "base", ModelConfig(folder=str(path.resolve()))
    if name == "data" and stage in PARTS and path.is_file():
        part = "rankings" if stage == "reward" and _ranked(path) else PARTS[stage]
        values = {part: [{"path": str(path.resolve())}]}
        for one in sets:
            if one.split("=")[0].split(".")[0] in ("testbed", "ready", "text", *PARTS.values(), "rankings"):
                raise UsageError(f"--set {OF_DATA}{one}: the data are the file that --in data names")
            recipes.put(values, lines, one)
        return "prepare", recipes.checked(DataConfig, values, lines, where="data", folder=Path.cwd())
    return None


def made(
    name: str, path: Path, stage: str, sets: Sequence[str], *, aside: Path, seed: int, runtime: RuntimeConfig
) -> Artifact | None:
    """An artifact made of what stands at `path`, in the folder `aside`; None where `path` is nothing of the kind."""
    found = config_of(name, path, stage, sets)
    if found is None:
        return None
    kind, config = found
    aside.mkdir(exist_ok=True)
    store = Store(aside)
    store.digests = Digests(None)
    step = Step(name, kind, config, {})
    document = made_from(step, {}, seed=seed, dtype=runtime.dtype, snapshot=None, digests=store.digests)
    out = aside / name
    with making(out, str(out), aside, lasting_lock=False) as place:
        return make(step, {}, place, document, seed=seed, runtime=runtime, store=store, console=Console())


def _ranked(path: Path) -> bool:
    first = next(iter(rows.read(DataFile(path=str(path.resolve())), _no_hub)), None)
    return first is not None and ("groups" in first.data or "completions" in first.data)


def _no_hub(*_: object) -> list[dict[str, object]]:
    return []
