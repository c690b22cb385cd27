"""Stage `kto`: the policy learns from single answers that were called good or bad."""

from __future__ import annotations

from pathlib import Path

from align.configs import KTOConfig
from align.errors import RecordError
from align.ports import Inputs, Tools
from align.stages.dpo import kept
from align.stages.sft import filled

VERSION = 2


def run(config: KTOConfig, inputs: Inputs, out: Path, tools: Tools) -> None:
    """Tune `model` on the flags of the recipe and on the pairs of `data`, taken apart; the reference is `model`."""
    folder = inputs["data"].path if "data" in inputs else None
    train = filled(folder / "preferences.train.jsonl") if folder else None
    test = filled(folder / "preferences.test.jsonl") if folder else None
    if train is None and config.flags is None:
        raise RecordError("kto: there is nothing to learn from; give kto.flags, or preferences, which are taken apart")
    tools.trainer.kto(config, inputs["model"].path / "model", train, test, out, tools, kept(config, inputs))
