"""A reward model learns the order people gave, and what it is worth is read off the folder that was saved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from align.adapters.reward import TransformersRewarder
from align.configs import LoRA, RewardConfig, RuntimeConfig
from align.errors import ModelError
from align.preference.rewards import bradley_terry_loss
from align.records import Preference, Ranking
from align.store import jsonl
from align.training.trainer import TransformersTrainer
from tests.training.tiny import LIVES, Place, World, question, turn

RUNTIME = RuntimeConfig(device="cpu", dtype="float32", threads=1)
QUICK: dict[str, Any] = {"learning_rate": 3e-3, "batch_size": 4, "epochs": 6}


def train(
    config: RewardConfig, world: World, out: Path, *, rankings: Path | None = None, **place: Any
) -> dict[str, Any]:
    out.mkdir(parents=True, exist_ok=True)
    files = {"preferences": None if rankings else world.preferences, "rankings": rankings}
    test = {"preferences": world.preferences, "rankings": None}
    TransformersTrainer().reward(config, world.model, files, test, out, Place(out / "work", **place))
    return json.loads((out / "summary.json").read_text())


def rewards(folder: Path, conversations: list[Any]) -> list[float]:
    return list(TransformersRewarder(folder, RUNTIME).reward(conversations))


def sides(pairs: list[Preference]) -> tuple[list[Any], list[Any]]:
    return [(*p.prompt, *p.chosen) for p in pairs], [(*p.prompt, *p.rejected) for p in pairs]


@pytest.mark.parametrize("lora", [None, LoRA(rank=4, alpha=8)], ids=["full", "lora"])
def test_what_is_saved_ranks_the_pairs_and_gives_the_held_out_loss(
    lora: LoRA | None, world: World, tmp_path: Path
) -> None:
    rate = 3e-3 if lora is None else 2e-2
    config = RewardConfig(**QUICK | {"learning_rate": rate}, lora=lora, centre=0.0)
    summary = train(config, world, tmp_path)
    assert summary["accuracy"]["value"] > 0.9
    pairs = list(jsonl.read(world.preferences, Preference))
    chosen, rejected = (rewards(tmp_path / "model", side) for side in sides(pairs))
    leads = [c - r for c, r in zip(chosen, rejected, strict=True)]
    last = [row for _, row in jsonl.rows(tmp_path / "log.jsonl") if row["phase"] == "eval"][-1]
    assert last["eval_loss"] == pytest.approx(sum(map(bradley_terry_loss, leads)) / len(leads), abs=2e-5)
    held_out = {row["pair"]: row["lead"] for _, row in jsonl.rows(tmp_path / "held_out.jsonl")}
    assert held_out == pytest.approx({p.id: lead for p, lead in zip(pairs, leads, strict=True)}, abs=1e-5)
    assert (tmp_path / "adapter").exists() == (lora is not None)


def test_a_ranking_is_learnt_as_it_stands(world: World, tmp_path: Path) -> None:
    ranks = []
    for name, town in LIVES.items():
        ends = (", I think.", "!", ".", ", so what.")
        answers = tuple((turn("assistant", f"{name} lives in {town}{end}"),) for end in ends)
        ranks.append(Ranking(prompt=(question(name),), answers=answers, groups=((3,), (0,), (1, 2))))
    jsonl.write(tmp_path / "rankings.jsonl", ranks)
    train(RewardConfig(**QUICK | {"epochs": 12}), world, tmp_path, rankings=tmp_path / "rankings.jsonl")
    right = 0
    for one in ranks:
        found = rewards(tmp_path / "model", [(*one.prompt, *answer) for answer in one.answers])
        right += found[3] > found[0] > max(found[1], found[2])
    assert right >= 5


def test_a_reward_model_that_is_ready_is_taken_and_a_language_model_is_not(world: World, tmp_path: Path) -> None:
    train(RewardConfig(**QUICK | {"epochs": 1}), world, tmp_path / "made")
    out = tmp_path / "taken"
    out.mkdir()
    trainer, place = TransformersTrainer(), Place(tmp_path / "work")
    trainer.reward(RewardConfig(ready=str(tmp_path / "made")), None, {}, {}, out, place)
    asked = [(question("Ada"), turn("assistant", "Ada lives in Rome."))]
    assert rewards(out / "model", asked) == rewards(tmp_path / "made" / "model", asked)
    with pytest.raises(ModelError, match="no weights for a reward head"):
        trainer.reward(RewardConfig(ready=str(world.model)), None, {}, {}, out, place)
