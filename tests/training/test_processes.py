"""The same stage in two processes: the losses of one, a checkpoint that is whole, and a count that is looked at."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from accelerate import skip_first_batches
from accelerate.data_loader import BatchSamplerShard, DataLoaderShard
from torch.utils.data import BatchSampler

from align.configs import DPOConfig, LoRA, RuntimeConfig, SFTConfig
from align.errors import TrainingError
from align.models.load import load_model
from align.store import jsonl
from align.training.order import StepwiseByLength, balanced, tell_epoch
from align.training.sharding import spread
from align.training.trainer import TransformersTrainer
from tests.training.tiny import Place, World, killed

TRAINER = TransformersTrainer()


def logged(
    world: World,
    folder: Path,
    config: Any,
    *,
    processes: int,
    sharding: str = "none",
    dies: tuple[str, int] | None = None,
) -> list[dict[str, Any]]:
    out = folder / f"out{processes}"
    out.mkdir(parents=True, exist_ok=True)
    place = Place(folder / f"work{processes}", dies=dies)
    place.runtime = RuntimeConfig.model_validate(
        {"device": "cpu", "dtype": "float32", "threads": 1, "processes": processes, "sharding": sharding}
    )
    if isinstance(config, SFTConfig):
        TRAINER.sft(config, world.model, world.demonstrations, None, out, place)
    else:
        TRAINER.dpo(config, world.model, world.preferences, None, out, place)
    assert (out / "model" / "model.safetensors").is_file()
    return [row for _, row in jsonl.rows(out / "log.jsonl")]


@pytest.mark.parametrize(
    "config",
    [
        DPOConfig(learning_rate=1e-3, batch_size=4, micro_batch_size=1, epochs=1, loss="sigmoid", sft_weight=0.0),
        pytest.param(DPOConfig(learning_rate=1e-2, batch_size=4, epochs=2, lora=LoRA(rank=4)), marks=pytest.mark.slow),
        pytest.param(SFTConfig(learning_rate=1e-3, batch_size=6, epochs=1), marks=pytest.mark.slow),
    ],
    ids=["dpo", "dpo lora", "sft"],
)
def test_two_processes_log_the_losses_of_one(config: Any, world: World, tmp_path: Path) -> None:
    one = logged(world, tmp_path, config, processes=1)
    two = logged(world, tmp_path, config, processes=2)
    assert [row["step"] for row in one] == [row["step"] for row in two]
    full = len([row for row in one if "loss" in row]) - 1  # an epoch's last step may be filled up with other rows
    for ours, theirs in list(zip(two, one, strict=True))[:full]:
        for name in ("loss", "grad_norm", "rewards/margins", "logps/chosen", "mean_token_accuracy"):
            if name in theirs:
                assert ours[name] == pytest.approx(theirs[name], rel=2e-4, abs=2e-5), name


def test_a_batch_that_cannot_be_shared_is_refused_before_anything_starts(world: World, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="3 does not divide batch_size 4"):
        logged(world, tmp_path, DPOConfig(batch_size=4), processes=3)


def test_another_number_of_processes_than_was_asked_for_is_noticed(tmp_path: Path) -> None:
    job = tmp_path / "job.json"
    runtime = RuntimeConfig(device="cpu", dtype="float32", threads=1, processes=2)
    job.write_text(json.dumps({"seed": 0, "runtime": runtime.model_dump(mode="json"), "work": str(tmp_path)}), "utf-8")
    alone = subprocess.run(
        [sys.executable, "-m", "align.training.one_of_many", str(job)], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
    )  # fmt: skip
    assert alone.returncode == 1
    assert "2 were asked for and 1 are there; nothing is trained" in alone.stdout


def test_a_run_of_two_processes_that_goes_on_within_an_epoch_takes_the_rows_of_that_epoch() -> None:
    sampler = StepwiseByLength([5, 9, 2, 7, 1, 8, 3, 6, 4, 10, 12, 11], step_rows=4, seed=3, micro=2)

    def loader() -> Any:
        batches = BatchSampler(sampler, batch_size=2, drop_last=False)
        shard = BatchSamplerShard(batches, num_processes=2, process_index=1)
        return DataLoaderShard(list(range(12)), batch_sampler=shard)

    unbroken = loader()
    unbroken.set_epoch(2)
    whole = [batch.tolist() for batch in unbroken]
    sampler.set_epoch(0)
    assert [batch.tolist() for batch in loader()] != whole
    # as transformers does it: callbacks are told of the epoch, then two of its three steps are skipped
    plain = loader()
    tell_epoch(plain, 2 * 3 + 2)
    rest = skip_first_batches(plain, 2)
    rest.set_epoch(2)
    assert [batch.tolist() for batch in rest] == whole[2:]


def test_batches_are_balanced_by_tokens_and_every_row_is_in_one() -> None:
    random = Random(0)
    lengths = [random.randint(10, 500) for _ in range(64)]
    order = balanced(range(64), lengths, size=8)
    assert sorted(order) == list(range(64))
    sums = [sum(lengths[i] for i in order[start : start + 8]) for start in range(0, 64, 8)]
    assert max(sums) < 1.1 * min(sums)
    assert sorted(balanced(range(10), lengths, size=4)) == list(range(10))


@pytest.mark.slow
@pytest.mark.parametrize("sharding", ["zero2", "zero3"])
@pytest.mark.parametrize(
    "config",
    [
        DPOConfig(learning_rate=1e-3, batch_size=4, epochs=1),
        DPOConfig(learning_rate=1e-2, batch_size=4, epochs=1, lora=LoRA(rank=4)),
        SFTConfig(learning_rate=1e-3, batch_size=6, epochs=1),
    ],
    ids=["dpo", "dpo lora", "sft"],
)
def test_zero_logs_the_losses_of_one_process_and_saves_what_was_trained(
    config: Any, sharding: str, world: World, tmp_path: Path
) -> None:
    pytest.importorskip("deepspeed", reason="pip install 'align-prefs[deepspeed]'")
    one = logged(world, tmp_path / "one", config, processes=1)
    two = logged(world, tmp_path / "two", config, processes=2, sharding=sharding)
    full = len([row for row in one if "loss" in row]) - 1
    assert full > 0
    for ours, theirs in list(zip(two, one, strict=True))[:full]:
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=2e-3)
    before, after = (load_model(folder).state_dict() for folder in (world.model, tmp_path / "two" / "out2" / "model"))
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    assert (tmp_path / "two" / "out2" / "adapter").exists() == (config.lora is not None)


def test_sharding_that_would_be_left_out_in_silence_is_refused(world: World, tmp_path: Path) -> None:
    for sharding, processes, says in (("fsdp2", 1, "there is 1 process"), ("zero2", 1, "there is 1 process")):
        with pytest.raises(TrainingError, match=says):
            logged(world, tmp_path / sharding, DPOConfig(batch_size=4), processes=processes, sharding=sharding)


def test_fsdp_on_a_cpu_is_refused_for_transformers_would_train_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    runtime = {"device": "cpu", "dtype": "float32", "processes": 2, "sharding": "fsdp2"}
    with pytest.raises(TrainingError, match="on a CPU transformers trains without sharding and says nothing"):
        spread(RuntimeConfig.model_validate(runtime))
    assert spread(RuntimeConfig.model_validate({**runtime, "device": "cuda"}))["fsdp_config"]["fsdp_version"] == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    "config",
    [
        DPOConfig(learning_rate=1e-3, batch_size=4, epochs=10, checkpoint_every=4),
        DPOConfig(learning_rate=1e-2, batch_size=4, epochs=5, checkpoint_every=4, lora=LoRA(rank=4, dropout=0.1)),
        SFTConfig(learning_rate=1e-3, batch_size=6, micro_batch_size=1, epochs=5, checkpoint_every=4),
    ],
    ids=["dpo", "dpo lora", "sft"],
)
def test_a_run_in_two_processes_that_is_killed_goes_on_from_its_last_whole_checkpoint(
    config: Any, world: World, tmp_path: Path
) -> None:
    whole = logged(world, tmp_path / "whole", config, processes=2)
    broken, kind = tmp_path / "broken", "sft" if isinstance(config, SFTConfig) else "dpo"
    assert killed(lambda: logged(world, broken, config, processes=2, dies=(kind, 5)))
    # three steps an epoch: whichever checkpoint is the last one, it lies within an epoch that is not the first.
    # The ranks end with the process that launched them, a step or two later
    assert any((broken / "work2" / "checkpoints").glob("checkpoint-*/whole.json"))
    assert not (broken / "out2" / "model").exists()
    again = logged(world, broken, config, processes=2)
    assert again == whole
