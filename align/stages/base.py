"""Stage `base`: the model that everything starts from."""

from __future__ import annotations

from pathlib import Path

from align.configs import ModelConfig
from align.errors import RecordError
from align.ports import Inputs, Tools
from align.records import canonical

VERSION = 2


def run(config: ModelConfig, inputs: Inputs, out: Path, tools: Tools) -> None:
    """Take the model, or make it from the text of `data`, into `out/model`."""
    if config.served is not None:
        (out / "model").mkdir()
        (out / "model" / "served.json").write_text(canonical({"served": config.served}) + "\n", encoding="utf-8")
        tools.note("served elsewhere: nothing here says that the same model stands behind its name tomorrow")
        return
    text = None
    if config.scratch is not None:
        text = inputs["data"].path / "text.jsonl"
        if not text.exists():
            raise RecordError("data.text: a scratch model needs text to learn from, and this recipe's data has none")
    tools.trainer.base(config, text, out, tools)
