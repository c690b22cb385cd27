from __future__ import annotations

import pytest

from align.configs import ModelConfig
from align.training.trainer import TransformersTrainer
from tests.training.tiny import TINY, Place, World, write_world


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    write_world(folder)
    base = folder / "base"
    base.mkdir()
    TransformersTrainer().base(ModelConfig(scratch=TINY), folder / "text.jsonl", base, Place(folder / "work"))
    return World(folder, base / "model", base)
