"""The trainers' own numbers against formulas worked out one float at a time, from another reading of the models."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from align.adapters.transformers import TransformersScorer
from align.configs import DPOConfig, RuntimeConfig, SFTConfig
from align.ports import ScoreRequest
from align.preference.objectives import dpo_loss, ipo_loss, rdpo_loss, reward_margin
from align.records import Demonstration, Message, Preference
from align.store import jsonl
from align.training.trainer import TransformersTrainer
from tests.training.tiny import Place, World

RUNTIME = RuntimeConfig(device="cpu", dtype="float32", threads=1)
TRAINER = TransformersTrainer()


def logps(model: Path, turns: list[tuple[tuple[Message, ...], Message]]) -> list[tuple[float, int]]:
    requests = [ScoreRequest(context, answer.content) for context, answer in turns]
    return [(score.logp, score.n_tokens) for score in TransformersScorer(model, RUNTIME).score(requests)]


def last_eval(out: Path) -> dict[str, float]:
    return [row for _, row in jsonl.rows(out / "log.jsonl") if row["phase"] == "eval"][-1]


@pytest.mark.parametrize("config", [
    DPOConfig(beta=0.3, learning_rate=2e-3, batch_size=4, micro_batch_size=2),
    DPOConfig(beta=0.3, learning_rate=2e-3, batch_size=4, loss="robust", label_smoothing=0.2),
    DPOConfig(beta=0.3, learning_rate=2e-3, batch_size=4, loss="ipo"),
], ids=lambda config: config.loss)  # fmt: skip
def test_the_held_out_dpo_loss_is_the_papers(config: DPOConfig, world: World, tmp_path: Path) -> None:
    TRAINER.dpo(config, world.model, world.preferences, world.preferences, tmp_path, Place(tmp_path / "work"))
    pairs = list(jsonl.read(world.preferences, Preference))
    chosen, rejected = ([(p.prompt, getattr(p, side)[0]) for p in pairs] for side in ("chosen", "rejected"))
    now = zip(logps(tmp_path / "model", chosen), logps(tmp_path / "model", rejected), strict=True)
    before = zip(logps(world.model, chosen), logps(world.model, rejected), strict=True)
    losses, right = [], []
    for ((c, n_c), (r, n_r)), ((ref_c, _), (ref_r, _)) in zip(now, before, strict=True):
        z = reward_margin(c, r, ref_c, ref_r, beta=config.beta)
        # TRL averages the log-ratios of IPO over the tokens of each answer
        per_token = (c - ref_c) / n_c - (r - ref_r) / n_r
        of = {
            "sigmoid": lambda z=z: dpo_loss(z),
            "robust": lambda z=z: rdpo_loss(z, epsilon=0.2),
            "ipo": lambda x=per_token: ipo_loss(x, beta=config.beta),
        }
        losses.append(of[config.loss]())
        right.append(z > 0)
    row = last_eval(tmp_path)
    assert row["eval_loss"] == pytest.approx(sum(losses) / len(losses), rel=2e-4, abs=2e-4)
    assert row["eval_rewards/accuracies"] == pytest.approx(sum(right) / len(right), abs=1e-6)


def test_the_held_out_sft_loss_is_the_mean_surprise_of_an_answers_token(world: World, tmp_path: Path) -> None:
    config = SFTConfig(learning_rate=2e-3, batch_size=18)
    TRAINER.sft(config, world.model, world.demonstrations, world.demonstrations, tmp_path, Place(tmp_path / "work"))
    rows = list(jsonl.read(world.demonstrations, Demonstration))
    found = logps(tmp_path / "model", [(row.messages[:-1], row.messages[-1]) for row in rows])
    expected = -sum(logp for logp, _ in found) / sum(n for _, n in found)
    assert last_eval(tmp_path)["eval_loss"] == pytest.approx(expected, rel=2e-4)
    assert expected < math.log(340)


def test_adding_up_micro_batches_is_the_whole_batch(world: World, tmp_path: Path) -> None:
    ends = []
    for micro in (2, 4):
        out = tmp_path / str(micro)
        out.mkdir()
        config = DPOConfig(learning_rate=1e-3, batch_size=4, micro_batch_size=micro, epochs=2)
        TRAINER.dpo(config, world.model, world.preferences, world.preferences, out, Place(out / "work"))
        ends.append(last_eval(out)["eval_loss"])
    assert ends[0] == pytest.approx(ends[1], abs=1e-4)
