"""Adapters that lie in folders: merged in their order they are what was trained, and what does not fit is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from align.configs import DPOConfig, LoRA, ModelConfig, Scratch, SFTConfig
from align.errors import ModelError
from align.models.load import load_model
from align.training.trainer import TransformersTrainer
from tests.training.tiny import TINY, Place, World

TRAINER = TransformersTrainer()


@pytest.fixture(scope="module")
def tuned(world: World, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """sft with an adapter, then dpo with another on what came out."""
    sft, dpo = (tmp_path_factory.mktemp(name) for name in ("sft", "dpo"))
    lora = LoRA(rank=4, alpha=8)
    first = SFTConfig(learning_rate=1e-2, batch_size=6, lora=lora)
    second = DPOConfig(learning_rate=1e-2, batch_size=6, lora=lora)
    TRAINER.sft(first, world.model, world.demonstrations, None, sft, Place(sft / "work"))
    TRAINER.dpo(second, sft / "model", world.preferences, None, dpo, Place(dpo / "work"))
    return sft, dpo


def take(out: Path, **origin: Any) -> Any:
    out.mkdir()
    TRAINER.base(ModelConfig(**origin), None, out, Place(out / "work"))
    return load_model(out / "model")


def test_two_adapters_merged_in_their_order_are_the_model_that_was_trained(
    world: World, tuned: tuple[Path, Path], tmp_path: Path
) -> None:
    sft, dpo = tuned
    found = take(tmp_path / "out", folder=str(world.model), adapters=(str(sft / "adapter"), str(dpo / "adapter")))
    expected = load_model(dpo / "model").state_dict()
    for name, tensor in found.state_dict().items():
        assert torch.allclose(tensor, expected[name], atol=1e-6), name
    told = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert told["adapter"] == "2 merged, in their order"


def edited(adapter: Path, place: Path, **settings: Any) -> Path:
    shutil.copytree(adapter, place)
    path = place / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))
    return place


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"r": 0}, "r 0 found, expected a rank of at least 1"),
        ({"lora_alpha": float("nan")}, "lora_alpha nan found, expected a number"),
        ({"peft_type": "PROMPT_TUNING"}, "which no weights can be merged with"),
        ({"target_modules": ["nothing"]}, "does not fit this model"),
    ],
)
def test_an_adapter_with_settings_that_mean_nothing_is_refused(
    settings: dict[str, Any], said: str, world: World, tuned: tuple[Path, Path], tmp_path: Path
) -> None:
    adapter = edited(tuned[0] / "adapter", tmp_path / "edited", **settings)
    with pytest.raises(ModelError, match=said):
        take(tmp_path / "out", folder=str(world.model), adapter=str(adapter))


def test_an_adapter_that_was_never_trained_or_belongs_to_another_model_is_refused(
    world: World, tuned: tuple[Path, Path], tmp_path: Path
) -> None:
    idle = edited(tuned[0] / "adapter", tmp_path / "idle")
    weights = load_file(idle / "adapter_model.safetensors")
    save_file({n: t * (0 if "lora_B" in n else 1) for n, t in weights.items()}, idle / "adapter_model.safetensors")
    with pytest.raises(ModelError, match="changes none of this model's weights"):
        take(tmp_path / "out", folder=str(world.model), adapter=str(idle))
    other = tmp_path / "other"
    other.mkdir()
    wider = Scratch.model_validate({**TINY.model_dump(), "width": 48, "steps": 1})
    TRAINER.base(ModelConfig(scratch=wider), world.folder / "text.jsonl", other, Place(other / "work"))
    with pytest.raises(ModelError, match="does not fit this model"):
        take(tmp_path / "out2", folder=str(other / "model"), adapter=str(tuned[0] / "adapter"))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"base_model_name_or_path": "somebody/else"}, "trained on somebody/else, and the model is a/model"),
        ({"base_model_name_or_path": "A/Model", "revision": "b" * 40}, "trained on revision bbbbbbbb… of a/model"),
        ({"base_model_name_or_path": "a/model", "revision": "a" * 40}, None),
        ({"base_model_name_or_path": "/somewhere/else", "revision": "main"}, None),
        ({"base_model_name_or_path": None, "revision": None}, None),
    ],
)
def test_an_adapter_of_another_hub_model_or_of_another_commit_of_it_is_refused(
    settings: dict[str, Any],
    said: str | None,
    world: World,
    tuned: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("align.training.origin.snapshot", lambda *_, **__: world.model)
    adapter = edited(tuned[0] / "adapter", tmp_path / "edited", **settings)
    origin = {"name": "a/model", "revision": "a" * 40, "adapter": str(adapter)}
    if said is None:
        take(tmp_path / "out", **origin)
        return
    with pytest.raises(ModelError, match=said):
        take(tmp_path / "out", **origin)
    assert not (tmp_path / "out" / "model").exists()


def test_one_and_several_do_not_stand_together() -> None:
    with pytest.raises(ValidationError, match="adapters: stands beside adapter"):
        ModelConfig(folder="m", adapter="a", adapters=("b",))
