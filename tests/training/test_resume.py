"""A training run killed at any moment ends, when it is run again, in the bytes of an unbroken one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from trl import DPOTrainer

from align.configs import DPOConfig, LoRA, ModelConfig, SFTConfig
from align.errors import TrainingError
from align.training.trainer import TransformersTrainer
from tests.training.tiny import TINY, Place, World, digests, killed

TRAINER = TransformersTrainer()


def train(method: str, world: World, out: Path, workshop: Place) -> None:
    out.mkdir(exist_ok=True)
    lora = LoRA(rank=2, dropout=0.1) if method.endswith("lora") else None
    if method.startswith("base"):
        TRAINER.base(ModelConfig(scratch=TINY), world.folder / "text.jsonl", out, workshop)
    elif method.startswith("sft"):
        config = SFTConfig(learning_rate=1e-3, epochs=1.6, batch_size=4, checkpoint_every=2, lora=lora)
        TRAINER.sft(config, world.model, world.demonstrations, world.demonstrations, out, workshop)
    else:
        config = DPOConfig(
            learning_rate=1e-3, epochs=2, batch_size=4, micro_batch_size=2, checkpoint_every=2, lora=lora
        )
        TRAINER.dpo(config, world.model, world.preferences, world.preferences, out, workshop)


@pytest.mark.parametrize(
    ("method", "dtype"),
    [
        ("sft", "float32"),
        ("dpo lora", "bfloat16"),
        *(
            pytest.param(method, dtype, marks=pytest.mark.slow)
            for method, dtype in (
                ("sft", "bfloat16"), ("sft lora", "float32"), ("sft lora", "bfloat16"),
                ("dpo", "float32"), ("dpo", "bfloat16"), ("dpo lora", "float32"),
            )
        ),
    ],
)  # fmt: skip
def test_a_run_killed_twice_ends_in_the_bytes_of_an_unbroken_one(
    method: str, dtype: str, world: World, tmp_path: Path
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "elsewhere" / "broken"
    broken.parent.mkdir()
    train(method, world, whole, Place(tmp_path / "work", dtype=dtype))
    for after in (3, 6):
        place = Place(tmp_path / "elsewhere" / "work", dtype=dtype, dies=(method.split()[0], after))
        assert killed(lambda place=place: train(method, world, broken, place))  # type: ignore[misc]
    train(method, world, broken, Place(tmp_path / "elsewhere" / "work", dtype=dtype))
    assert digests(broken) == digests(whole)


@pytest.mark.parametrize(
    "method", ["base", *(pytest.param(name, marks=pytest.mark.slow) for name in ("sft", "dpo lora"))]
)
def test_a_run_killed_between_its_last_step_and_its_saving_takes_no_step_more(
    method: str, world: World, tmp_path: Path
) -> None:
    train(method, world, tmp_path / "once", Place(tmp_path / "work"))
    train(method, world, tmp_path / "again", Place(tmp_path / "work"))
    assert digests(tmp_path / "again") == digests(tmp_path / "once")


def test_the_reference_pass_goes_on_where_it_was_killed(world: World, tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    train("dpo", world, whole, Place(tmp_path / "work"))
    place = Place(tmp_path / "work2", dies=("reference on train", 5))
    assert killed(lambda: train("dpo", world, broken, place))
    written = (tmp_path / "work2" / "reference.train.jsonl").read_bytes()
    train("dpo", world, broken, Place(tmp_path / "work2"))
    assert (tmp_path / "work2" / "reference.train.jsonl").read_bytes().startswith(written)
    assert written
    assert digests(broken) == digests(whole)


def test_a_lack_of_memory_in_mid_run_keeps_the_last_checkpoint_and_changes_no_batch(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train("dpo", world, tmp_path / "whole", Place(tmp_path / "work"))
    taken, step = [], DPOTrainer.training_step

    def some_steps(self: Any, model: Any, inputs: Any, *rest: Any) -> Any:
        taken.append(self.args.per_device_train_batch_size)
        if len(taken) == 7:
            raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 68719476736 bytes")
        return step(self, model, inputs, *rest)

    monkeypatch.setattr(DPOTrainer, "training_step", some_steps)
    place = Place(tmp_path / "work2")
    with pytest.raises(TrainingError, match=r"out of memory .*68719476736 bytes.* the last checkpoint is kept; lower"):
        train("dpo", world, tmp_path / "broken", place)
    assert not (tmp_path / "broken" / "model").exists()
    assert [path.name for path in (tmp_path / "work2").glob("**/checkpoint-*")] == ["checkpoint-2"]
    n_before = len(taken)
    train("dpo", world, tmp_path / "broken", place)
    assert set(taken) == {2}, "micro-batches of another size than the recipe's"
    assert len(taken) - n_before > 0
    assert digests(tmp_path / "broken") == digests(tmp_path / "whole")


@pytest.mark.parametrize("dtype", ["float32", pytest.param("bfloat16", marks=pytest.mark.slow)])
def test_pretraining_killed_ends_in_the_same_bytes(dtype: str, world: World, tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    train("base", world, whole, Place(tmp_path / "work", dtype=dtype))
    assert killed(lambda: train("base", world, broken, Place(tmp_path / "work2", dtype=dtype, dies=("pretraining", 7))))
    train("base", world, broken, Place(tmp_path / "work2", dtype=dtype))
    assert digests(broken) == digests(whole)


def test_optimizer_state_is_kept_only_when_asked_and_with_equal_bytes(world: World, tmp_path: Path) -> None:
    config = SFTConfig(learning_rate=1e-3, batch_size=8, keep_optimizer=True)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        place = Place(tmp_path / f"work {name}")
        TRAINER.sft(config, world.model, world.demonstrations, None, tmp_path / name, place)
    kept = digests(tmp_path / "a")
    assert "optimizer/optimizer.pt" in kept
    assert kept == digests(tmp_path / "b")
    assert not (world.base / "optimizer").exists()


def test_another_seed_gives_another_model(world: World, tmp_path: Path) -> None:
    train("sft", world, tmp_path / "a", Place(tmp_path / "work a", seed=0))
    train("sft", world, tmp_path / "b", Place(tmp_path / "work b", seed=1))
    a, b = digests(tmp_path / "a"), digests(tmp_path / "b")
    assert a["model/model.safetensors"] != b["model/model.safetensors"]
    assert a["model/tokenizer.json"] == b["model/tokenizer.json"]
