"""Stage `dpo`: the policy learns which answers people prefer."""

from __future__ import annotations

from pathlib import Path

from align.configs import DPOConfig
from align.errors import RecordError
from align.ports import Inputs, Tools
from align.stages.sft import filled

VERSION = 1


def run(config: DPOConfig, inputs: Inputs, out: Path, tools: Tools) -> None:
    """Tune `model` on the pairs of `data`; the reference is `model` itself."""
    folder = inputs["data"].path
    train, test = folder / "preferences.train.jsonl", folder / "preferences.test.jsonl"
    if not train.exists():
        raise RecordError("data.preferences: stage `dpo` learns from preferences, and there are none")
    tools.trainer.dpo(config, inputs["model"].path / "model", train, filled(test), out, tools)
