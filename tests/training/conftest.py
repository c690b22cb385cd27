from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from made import TINY, Place, write_world

from align.configs import ModelConfig
from align.training.trainer import TransformersTrainer


@dataclass(frozen=True)
class World:
    """Files to train on and a tiny base model."""

    folder: Path
    model: Path
    base: Path

    @property
    def demonstrations(self) -> Path:
        return self.folder / "demonstrations.jsonl"

    @property
    def preferences(self) -> Path:
        return self.folder / "preferences.jsonl"


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    write_world(folder)
    base = folder / "base"
    base.mkdir()
    TransformersTrainer().base(ModelConfig(scratch=TINY), folder / "text.jsonl", base, Place(folder / "work"))
    return World(folder, base / "model", base)
