"""Stage `dpo`: the policy learns which answers people prefer."""

from __future__ import annotations

from pathlib import Path

from align.configs import DPOConfig, TrainingConfig
from align.errors import RecordError
from align.ports import Inputs, Kept, Tools
from align.stages.sft import filled

VERSION = 7


def run(config: DPOConfig, inputs: Inputs, out: Path, tools: Tools) -> None:
    """Tune `model` on the pairs of `data`; the reference is `model` itself."""
    folder = inputs["data"].path
    train, test = folder / "preferences.train.jsonl", folder / "preferences.test.jsonl"
    if not train.exists():
        raise RecordError("data.preferences: stage `dpo` learns from preferences, and there are none")
    tools.trainer.dpo(config, inputs["model"].path / "model", train, filled(test), out, tools, kept(config, inputs))


def kept(config: TrainingConfig, inputs: Inputs) -> Kept:
    """What the model was taught before: the recipe's demonstrations, unless `keep.rows` names others."""
    known = inputs["kept"].path if "kept" in inputs else None
    rows = config.keep.rows or (filled(known / "demonstrations.train.jsonl") if known else None)
    probe = filled(known / "demonstrations.test.jsonl") if known else None
    return Kept(Path(rows) if rows else None, probe)
