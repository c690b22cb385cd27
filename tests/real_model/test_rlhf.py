"""The real chat model learns to be brief by reinforcement, from a rule and an adapter: the other road is no toy's."""

from __future__ import annotations

from pathlib import Path
from statistics import fmean, stdev

import pyarrow.parquet
import pytest

from align.configs import LoRA, RLHFConfig, Term, Watch
from align.evals import rules
from align.ports import Mark
from align.records import Message, Prompt
from align.store import jsonl
from align.training.trainer import TransformersTrainer
from tests.training.tiny import Place

FOLDER = Path(__file__).parents[2] / "weights" / "smollm2-135m-instruct"
pytestmark = [pytest.mark.real_model, pytest.mark.slow]
THINGS = (
    "a lighthouse", "rain", "a violin", "salt", "a compass", "bread", "an owl", "glass", "a bicycle", "honey", "a map",
    "ice", "a bridge", "paper", "a clock", "wool", "a candle", "iron", "a garden", "thunder", "a mirror", "tea",
    "a harbour", "sand", "a whale", "chalk", "a kite", "copper", "a well", "moss", "a drum", "ink",
)  # fmt: skip
FORMS = ("In one sentence, what is {}?", "Say in one sentence what {} is for.", "In one sentence, describe {}.")
PROMPTS = [Prompt(messages=(Message(role="user", content=form.format(it)),)) for it in THINGS for form in FORMS]


def test_it_learns_to_be_brief(tmp_path: Path) -> None:
    assert (FOLDER / "config.json").exists(), f"{FOLDER} is missing; run: make real-model"
    config = RLHFConfig(
        learning_rate=5e-4, batch_size=32, samples_per_prompt=8, micro_batch_size=16, steps=10, beta=0.02,
        max_answer_tokens=64, max_tokens=256, schedule="constant", warmup_share=0, lora=LoRA(rank=8, alpha=16),
        rewards=(Term(rule="length", words=10),), watch=Watch(prompts=16, every=10),
    )  # fmt: skip
    place = Place(tmp_path / "work")
    mark = Mark("length", rules.length(10))
    TransformersTrainer().rlhf(config, FOLDER, PROMPTS, [mark], tmp_path, place)
    looks = [row for _, row in jsonl.rows(tmp_path / "looks.jsonl")]
    first, last = ({row["prompt_id"]: row for row in looks if row["step"] == step} for step in (0, 10))
    saved = [first[name]["tokens"] - last[name]["tokens"] for name in first]
    rise = [last[name]["proxy"] - first[name]["proxy"] for name in first]
    for gain in (saved, rise):
        assert fmean(gain) > 2 * stdev(gain) / len(gain) ** 0.5, gain
    assert fmean(row["unfinished"] for row in last.values()) <= fmean(row["unfinished"] for row in first.values())
    rows = pyarrow.parquet.read_table(tmp_path / "rollouts.parquet").to_pylist()
    assert len(rows) == 10 * 32
    assert (tmp_path / "adapter" / "adapter_model.safetensors").exists()
