"""Stage `reward`: a model learns to score answers as people rank them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from align.configs import RewardConfig
from align.data.splits import opening_key, side
from align.errors import RecordError
from align.ports import Inputs, Tools
from align.records import Preference, Ranking
from align.stages.sft import filled
from align.store import jsonl

VERSION = 4


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
    wanted = {"pairs": "preferences"}.get(config.learns_from, config.learns_from)
    if wanted != "all":
        if train[wanted] is None:
            other = next(name for name, path in train.items() if path is not None)
            raise RecordError(
                f"reward.learns_from: {config.learns_from} are asked for, and {folder.name} holds {other} alone; "
                "set it to `all`"
            )
        train = {name: path if name == wanted else None for name, path in train.items()}
    if config.part != "whole":
        train = {name: half(path, KINDS[name], config.part, tools.work) for name, path in train.items()}
    tools.trainer.reward(config, inputs["model"].path / "model", train, test, out, tools)


KINDS: Mapping[str, type[Preference] | type[Ranking]] = {"preferences": Preference, "rankings": Ranking}


def half(path: Path | None, kind: type[Preference] | type[Ranking], part: str, work: Path) -> Path | None:
    """The rows of one half, by the hash of how a conversation opens: no prompt stands in both."""
    if path is None:
        return None
    own = [
        row
        for row in jsonl.read(path, kind)
        if (side(opening_key(row.prompt), test_share=0.5, salt="reward-part") == "test") == (part == "second")
    ]
    if not own:
        raise RecordError(f"{path}: no row falls into the {part} half; reward.part needs more conversations")
    jsonl.write(work / path.name, own)
    return work / path.name
