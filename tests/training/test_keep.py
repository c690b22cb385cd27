"""What holds a tuned model to its base: each knob does what its formula says, and the probe says what tuning cost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from align.configs import DPOConfig, Keep, LoRA, SFTConfig
from align.errors import RecordError, TrainingError
from align.models.chat import Chat
from align.models.load import end_ids, load_model, load_tokenizer
from align.ports import Kept
from align.store import jsonl
from align.training.keep import log_softmax, read
from align.training.trainer import TransformersTrainer
from tests.training.tiny import Place, World, killed

Free = tuple[list[dict[str, Any]], float]
HARD = {"learning_rate": 3e-3, "batch_size": 4, "epochs": 3.0, "eval_every": 3}


def tuned(world: World, out: Path, **knobs: Any) -> list[dict[str, Any]]:
    """The log of a DPO run pressed hard enough to forget, with the world's demonstrations kept."""
    out.mkdir(parents=True, exist_ok=True)
    config = DPOConfig.model_validate({**HARD, **knobs})
    TransformersTrainer().dpo(
        config, world.model, world.preferences, world.preferences, out, Place(out / "work"), Kept(world.demonstrations)
    )
    return [row for _, row in jsonl.rows(out / "log.jsonl")]


def kept_loss(log: list[dict[str, Any]]) -> list[float]:
    return [row["eval_kept_loss"] for row in log if "eval_kept_loss" in row]


def divergence(world: World, out: Path) -> float:
    """KL(base ‖ tuned) in nats a token, over the demonstrations' answers."""
    base, now = (load_model(folder, dtype="float32") for folder in (world.model, out / "model"))
    tokenizer = load_tokenizer(world.model)
    total, n = 0.0, 0
    for ids, places in read(world.demonstrations, Chat(tokenizer, end_ids(base, tokenizer)), most=128):
        with torch.no_grad():
            before, after = log_softmax(base, ids, places), log_softmax(now, ids, places)
        total += float((before.exp() * (before - after)).sum())
        n += len(places)
    return total / n


def moved(world: World, out: Path) -> float:
    """The distance of the weights from the base's."""
    base, now = (load_model(folder, dtype="float32").state_dict() for folder in (world.model, out / "model"))
    return float(torch.stack([(now[name] - base[name]).norm() ** 2 for name in base]).sum().sqrt())


@pytest.fixture(scope="module")
def free(world: World, tmp_path_factory: pytest.TempPathFactory) -> Free:
    out = tmp_path_factory.mktemp("free")
    return tuned(world, out), moved(world, out)


def test_the_probe_stands_in_the_log_from_before_the_first_step(free: Free) -> None:
    log, _ = free
    probed = [row["step"] for row in log if "eval_kept_loss" in row]
    assert probed == [row["step"] for row in log if "eval_loss" in row]
    assert probed[0] == 0


def test_replay_forgets_less(free: Free, world: World, tmp_path: Path) -> None:
    before, after = kept_loss(free[0])[0], kept_loss(free[0])[-1]
    held = kept_loss(tuned(world, tmp_path, keep={"replay": 1.0}))
    assert held[0] == pytest.approx(before)
    assert held[-1] < after - 0.02


def test_kl_holds_the_predictions(world: World, tmp_path: Path) -> None:
    tuned(world, tmp_path / "free")
    tuned(world, tmp_path / "held", keep={"kl": 30.0})
    assert divergence(world, tmp_path / "held") < 0.5 * divergence(world, tmp_path / "free")


@pytest.mark.parametrize("knob", [{"l2_sp": 30.0}, {"ewc": 30.0}])
def test_l2_sp_and_ewc_keep_the_weights_near(knob: dict[str, float], free: Free, world: World, tmp_path: Path) -> None:
    tuned(world, tmp_path, keep=knob)
    assert moved(world, tmp_path) < 0.9 * free[1]


def test_the_split_into_micro_batches_changes_nothing(world: World, tmp_path: Path) -> None:
    keep = {"replay": 0.5, "kl": 0.5, "l2_sp": 1.0}
    ends = [
        kept_loss(
            tuned(world, tmp_path / str(micro), keep=keep, epochs=1.0, learning_rate=1e-3, micro_batch_size=micro)
        )
        for micro in (4, 2)
    ]
    assert ends[0] == pytest.approx(ends[1], abs=2e-4)


def test_kl_holds_an_adapter_to_what_lies_beneath_it(world: World, tmp_path: Path) -> None:
    lora = LoRA(rank=4, alpha=8).model_dump()
    tuned(world, tmp_path / "free", lora=lora, learning_rate=2e-2)
    tuned(world, tmp_path / "held", lora=lora, learning_rate=2e-2, keep={"kl": 3.0})
    assert divergence(world, tmp_path / "held") < 0.5 * divergence(world, tmp_path / "free")


def test_sft_replays_text(world: World, tmp_path: Path) -> None:
    ends = []
    for name, keep in (("free", Keep()), ("held", Keep(replay=1.0))):
        out = tmp_path / name
        out.mkdir()
        config = SFTConfig(learning_rate=5e-3, batch_size=6, epochs=6, keep=keep, eval_every=6)
        TransformersTrainer().sft(
            config, world.model, world.demonstrations, world.demonstrations, out, Place(out / "work"),
            Kept(world.folder / "text.jsonl"),
        )  # fmt: skip
        ends.append(kept_loss([row for _, row in jsonl.rows(out / "log.jsonl")])[-1])
    assert ends[1] < ends[0] - 0.02


def test_what_cannot_be_held_is_refused(world: World, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="an adapter never moves"):
        tuned(world, tmp_path / "a", lora=LoRA(rank=2, alpha=4).model_dump(), keep={"ewc": 1.0})
    (tmp_path / "b").mkdir()
    config, work = DPOConfig(keep=Keep(kl=1.0)), Place(tmp_path / "b" / "work")
    with pytest.raises(RecordError, match="no rows to hold on to"):
        TransformersTrainer().dpo(config, world.model, world.preferences, None, tmp_path / "b", work)


def early(world: World, out: Path, *, dies: tuple[str, int] | None = None) -> None:
    out.mkdir(parents=True, exist_ok=True)
    config = SFTConfig(learning_rate=3e-2, batch_size=4, epochs=30, early_stopping=2, eval_every=2)
    jsonl.write(out / "few.jsonl", [row for _, row in jsonl.rows(world.demonstrations)][::4])
    TransformersTrainer().sft(
        config, world.model, out / "few.jsonl", world.demonstrations, out, Place(out / "work", dies=dies)
    )


def test_training_stops_at_the_lowest_held_out_loss_and_keeps_its_model(world: World, tmp_path: Path) -> None:
    early(world, tmp_path)
    log = [row for _, row in jsonl.rows(tmp_path / "log.jsonl")]
    held_out = {row["step"]: row["eval_loss"] for row in log if "eval_loss" in row}
    best = min((step for step in held_out if step), key=held_out.__getitem__)
    assert max(held_out) == best + 4 < 30 * 2  # two evaluations, of two steps each, without a lower one
    (tmp_path / "again").mkdir()
    TransformersTrainer().sft(
        SFTConfig(learning_rate=1e-9, batch_size=18), tmp_path / "model", world.demonstrations, world.demonstrations,
        tmp_path / "again", Place(tmp_path / "again" / "work"),
    )  # fmt: skip
    found = next(row["eval_loss"] for _, row in jsonl.rows(tmp_path / "again" / "log.jsonl") if "eval_loss" in row)
    assert found == pytest.approx(held_out[best], rel=0.02)


def test_early_stopping_needs_something_to_stop_by(world: World, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no held-out rows to stop by"):
        TransformersTrainer().sft(
            SFTConfig(early_stopping=1), world.model, world.demonstrations, None, tmp_path, Place(tmp_path / "work")
        )


def test_a_run_killed_on_its_way_stops_where_it_would_have(world: World, tmp_path: Path) -> None:
    early(world, tmp_path / "whole")
    assert killed(lambda: early(world, tmp_path / "killed", dies=("sft", 5)))
    early(world, tmp_path / "killed")
    whole, resumed = (
        {row["step"]: row["eval_loss"] for _, row in jsonl.rows(tmp_path / name / "log.jsonl") if "eval_loss" in row}
        for name in ("whole", "killed")
    )
    assert resumed == pytest.approx(whole, rel=1e-4)
