from __future__ import annotations

from pathlib import Path

import pytest

from align.configs import RuntimeConfig, Scratch
from align.models.load import save
from align.models.machine import ready
from align.models.scratch import new_model, train_tokenizer

TEXTS = ["Ada lives in Paris.", "Bob lives in Rome. Where does he live?", "Yes. No. I do not know, but I can ask."] * 20


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder as `base` makes it, with random weights."""
    ready(RuntimeConfig(device="cpu", dtype="float32", threads=1))
    config = Scratch(vocabulary=330, layers=2, width=32, heads=2, context=512, initializer_range=0.3)
    tokenizer = train_tokenizer(TEXTS, vocabulary=config.vocabulary, context=config.context)
    place = tmp_path_factory.mktemp("models") / "model"
    save(new_model(config, tokenizer, attention="sdpa", seed=0), tokenizer, place)
    return place
