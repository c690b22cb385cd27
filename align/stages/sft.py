"""Stage `sft`: the base model learns to answer as the demonstrations do."""

from __future__ import annotations

from pathlib import Path

from align.configs import SFTConfig
from align.errors import RecordError
from align.ports import Inputs, Kept, Tools

VERSION = 5


def run(config: SFTConfig, inputs: Inputs, out: Path, tools: Tools) -> None:
    """Fine-tune `model` on the demonstrations of `data`."""
    folder = inputs["data"].path
    train, test = folder / "demonstrations.train.jsonl", folder / "demonstrations.test.jsonl"
    if not train.exists():
        raise RecordError(
            "data.demonstrations: stage `sft` learns from demonstrations, and this recipe's data has none"
        )
    rows = Path(config.keep.rows) if config.keep.rows else filled(folder / "text.jsonl")
    tools.trainer.sft(config, inputs["model"].path / "model", train, filled(test), out, tools, Kept(rows))


def filled(path: Path) -> Path | None:
    """The file, if it exists and has a row."""
    return path if path.exists() and path.stat().st_size else None
