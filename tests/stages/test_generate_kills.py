"""A run that is killed again and again: each prompt has its samples once, and a kill costs what was under way."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from align.records import Candidate, Message, Prompt
from align.store import jsonl
from tests.adapters.faulty import Faulty

ROOT = Path(__file__).resolve().parents[2]
IN_FLIGHT = 4
SAMPLES = 3


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The endpoint's template is used, so of the model its context alone is read."""
    (tmp_path / "given" / "model").mkdir(parents=True)
    (tmp_path / "given" / "model" / "config.json").write_text('{"max_position_embeddings": 128}')
    return tmp_path / "given"


def command(folder: Path, data: Path, out: Path, url: str) -> list[str]:
    server = {"urls": [url], "api": "chat", "in_flight": IN_FLIGHT, "patience_s": 60}
    return [sys.executable, "-m", "align.cli", "generate", "--in", f"model={folder}", "--in", f"data={data}",
            "--out", str(out), "--set", "engine=server", "--set", f"server={json.dumps(server)}",
            "--set", f"samples_per_prompt={SAMPLES}"]  # fmt: skip


def killed_and_finished(folder: Path, root: Path, *, n: int, kills: int, seed: int) -> None:
    """Kill at moments drawn by `seed`, run to the end, and compare with a run that nobody killed."""
    draw = random.Random(seed)
    data = root / "data"
    data.mkdir()
    prompts = [Prompt(messages=(Message(role="user", content=f"Question {i}? " + "And " * (i % 9)),)) for i in range(n)]
    jsonl.write(data / "prompts.jsonl", prompts)
    with Faulty(lambda number, body: "slow") as endpoint:
        arguments = command(folder, data, root / "out", endpoint.url)
        for _ in range(kills):
            child = subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.DEVNULL)
            begun = len(endpoint.bodies)
            enough = begun + draw.randrange(1, max(2, n // (kills + 2)))
            while len(endpoint.bodies) < enough and child.poll() is None:
                time.sleep(0.005)
            time.sleep(draw.random() * 0.05)
            os.kill(child.pid, signal.SIGKILL)
            assert child.wait() == -signal.SIGKILL, "it was killed before it could end"
        subprocess.run(arguments, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, timeout=300)
        asked = len(endpoint.bodies)
        subprocess.run(command(folder, data, root / "whole", endpoint.url), cwd=ROOT, check=True,
                       stdout=subprocess.DEVNULL, timeout=300)  # fmt: skip
    candidates = list(jsonl.read(root / "out" / "candidates.jsonl", Candidate))
    assert Counter(one.prompt_id for one in candidates) == {prompt.id: SAMPLES for prompt in prompts}
    assert len({one.id for one in candidates}) == SAMPLES * n
    assert n <= asked <= n + kills * IN_FLIGHT
    for name in ("candidates.jsonl", "summary.json"):
        assert (root / "out" / name).read_bytes() == (root / "whole" / name).read_bytes()


def test_three_kills_at_random_moments_lose_nothing_and_double_nothing(folder: Path, tmp_path: Path) -> None:
    killed_and_finished(folder, tmp_path, n=120, kills=3, seed=time.time_ns())


@pytest.mark.slow
def test_twenty_kills_over_five_hundred_prompts(folder: Path, tmp_path: Path) -> None:
    killed_and_finished(folder, tmp_path, n=500, kills=20, seed=time.time_ns())
