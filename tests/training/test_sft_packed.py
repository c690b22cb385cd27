from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from align.configs import LoRA, SFTConfig
from align.store import jsonl
from align.training.sft import sft
from tests.training.tiny import Place, World


def logged(world: World, folder: Path, config: SFTConfig) -> tuple[list[dict[str, Any]], list[str]]:
    out = folder / "out"
    out.mkdir(parents=True)
    place = Place(folder / "work")
    sft(config, world.model, world.demonstrations, world.demonstrations, out, place)
    return [row for _, row in jsonl.rows(out / "log.jsonl")], place.notes


@pytest.mark.parametrize(
    "config",
    [
        SFTConfig(learning_rate=1e-3, batch_size=6, micro_batch_size=2, epochs=1),
        SFTConfig(learning_rate=1e-3, batch_size=6, epochs=1, lora=LoRA(rank=4), gradient_checkpointing=True),
    ],
    ids=["accumulated", "lora checkpointed"],
)
def test_packed_conversations_are_learnt_as_padded_ones_are(config: SFTConfig, world: World, tmp_path: Path) -> None:
    packed, notes = logged(world, tmp_path / "packed", config)
    padded, _ = logged(world, tmp_path / "padded", config.model_copy(update={"packed": False}))
    assert notes == []
    assert len(packed) == len(padded) > 3
    for ours, theirs in zip(packed, padded, strict=True):
        assert ours.keys() == theirs.keys()
        for name, value in theirs.items():
            wanted = value if isinstance(value, str) else pytest.approx(value, rel=2e-4, abs=2e-5)
            assert ours[name] == wanted, name
