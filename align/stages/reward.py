"""Stage `reward`: a model learns to score answers as people rank them."""

from __future__ import annotations

from pathlib import Path

from align.configs import RewardConfig
from align.errors import RecordError
from align.ports import Inputs, Tools
from align.stages.sft import filled

VERSION = 1


def run(config: RewardConfig, inputs: Inputs, out: Path, tools: Tools) -> None:
    """Train a reward model that begins as `model` on the pairs and rankings of `data`; or take the one given."""
    if config.ready is not None:
        tools.trainer.reward(config, None, {}, {}, out, tools)
        return
    folder = inputs["data"].path
    train = {name: filled(folder / f"{name}.train.jsonl") for name in ("preferences", "rankings")}
    test = {name: filled(folder / f"{name}.test.jsonl") for name in ("preferences", "rankings")}
    if not any(train.values()):
        raise RecordError("data.preferences: stage `reward` learns from preferences or rankings, and there are none")
    tools.trainer.reward(config, inputs["model"].path / "model", train, test, out, tools)
