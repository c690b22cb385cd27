"""A tiny chat model and a LoRA adapter on it, made by our own fine-tuning, for engines that are really run."""

from __future__ import annotations

import fcntl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from align.configs import LoRA, RuntimeConfig, Scratch, SFTConfig
from align.models.load import save
from align.models.scratch import new_model, train_tokenizer
from align.ports import SampleRequest
from align.records import Message
from align.training.trainer import TransformersTrainer
from tests.training.tiny import Place, write_world

RUNTIME = RuntimeConfig(device="cpu", dtype="float32", threads=1)
TEXTS = ["Ada lives in Paris.", "Bob lives in Rome. Where does he live?", "Yes. No. I do not know, but I can ask."] * 20


@dataclass(frozen=True)
class Models:
    """`base`, `adapter` on it, and `tuned`, the base with the adapter merged."""

    base: Path
    adapter: Path
    tuned: Path


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    root = tmp_path_factory.mktemp("vllm")
    config = Scratch(vocabulary=330, layers=2, width=64, heads=2, context=256, initializer_range=0.3)
    tokenizer = train_tokenizer(TEXTS, vocabulary=config.vocabulary, context=config.context)
    save(new_model(config, tokenizer, attention="sdpa", seed=0), tokenizer, root / "base")
    write_world(root)
    tuning = SFTConfig(epochs=2, batch_size=4, learning_rate=5e-3, lora=LoRA(rank=4, alpha=16))
    place = Place(root / "work")
    TransformersTrainer().sft(tuning, root / "base", root / "demonstrations.jsonl", None, root / "sft", place)
    return Models(root / "base", root / "sft" / "adapter", root / "sft" / "model")


@contextmanager
def heavy() -> Iterator[None]:
    """One engine at a time on this machine: two that start together take thrice as long as one after the other."""
    with open(Path(tempfile.gettempdir()) / "align-prefs-engine.lock", "w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def asked(n: int, *, samples: int = 1, words: int = 5) -> list[SampleRequest]:
    """Requests whose prompts differ in length, each with seeds that follow one another."""
    return [
        SampleRequest(
            f"p{i}",
            (Message(role="user", content="Where " * (i % words) + f"does {'Ada' if i % 2 else 'Bob'} live {i}?"),),
            seeds=tuple(range(1000 * i, 1000 * i + samples)),
        )
        for i in range(n)
    ]
