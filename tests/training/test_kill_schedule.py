"""Kills at times nobody chose, in the middle of a save too: many of them, then the same bytes."""

from __future__ import annotations

import os
import signal
import time
from multiprocessing import get_context
from pathlib import Path
from random import Random

import pytest

from align.configs import DPOConfig, LoRA
from align.training.trainer import TransformersTrainer
from tests.training.tiny import Place, World, digests

pytestmark = pytest.mark.slow


def test_killed_at_twelve_random_moments_a_run_ends_in_the_bytes_of_an_unbroken_one(
    world: World, tmp_path: Path
) -> None:
    config = DPOConfig(learning_rate=1e-3, epochs=12, batch_size=4, checkpoint_every=1, lora=LoRA(rank=2, dropout=0.1))

    def train(name: str) -> None:
        (tmp_path / name).mkdir(exist_ok=True)
        place = Place(tmp_path / f"work {name}")
        TransformersTrainer().dpo(config, world.model, world.preferences, world.preferences, tmp_path / name, place)

    start = time.monotonic()
    train("whole")
    seconds = time.monotonic() - start
    rng = Random(0)
    n_killed = 0
    for _ in range(12):
        process = get_context("fork").Process(target=train, args=("broken",))
        process.start()
        process.join(timeout=seconds * rng.uniform(0.1, 0.45))
        if process.is_alive():
            assert process.pid is not None
            os.kill(process.pid, signal.SIGKILL)
            n_killed += 1
        process.join()
    train("broken")
    assert n_killed >= 3
    assert digests(tmp_path / "broken") == digests(tmp_path / "whole")
