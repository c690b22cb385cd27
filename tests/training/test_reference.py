"""The reference is the model that the policy began as, whatever the adapter on it has learned since."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from datasets import Dataset

from align.adapters.transformers import TransformersScorer
from align.configs import DPOConfig, LoRA, RuntimeConfig
from align.models.build import build
from align.models.chat import Chat
from align.models.load import context, end_ids
from align.ports import ScoreRequest
from align.records import Preference
from align.store import jsonl
from align.training import loop
from align.training.dpo import Preferring, arguments, table
from align.training.head import score_answers_only
from tests.training.tiny import Place, World

RUNTIME = RuntimeConfig(device="cpu", dtype="float32", threads=1)


def expected(world: World, side: str) -> list[float]:
    """What the model alone gives each answer, worked out by the scorer that measures."""
    pairs = jsonl.read(world.preferences, Preference)
    requests = [ScoreRequest(pair.prompt, getattr(pair, side)[0].content) for pair in pairs]
    return [score.logp for score in TransformersScorer(world.model, RUNTIME).score(requests)]


def test_an_adapter_that_has_learned_something_changes_nothing_in_the_reference(world: World, tmp_path: Path) -> None:
    config = DPOConfig(batch_size=4, lora=LoRA(rank=4))
    place = Place(tmp_path / "first")
    loop.ready(place.runtime)
    score_answers_only()
    policy, tokenizer, adapter = build(world.model, config, place.runtime)
    rows, _ = table(world.preferences, Chat(tokenizer, end_ids(policy, tokenizer)), most=context(policy))
    pace = loop.Pace.of(config, len(rows))
    trainer = Preferring(workshop=place, model=policy, args=arguments(config, pace, place, has_held_out=False),
                         train=rows, test=None, tokenizer=tokenizer, adapter=adapter)  # fmt: skip
    tokens = torch.tensor([rows[0]["prompt_ids"] + rows[0]["chosen_ids"]])
    with torch.no_grad():
        before = trainer.model(input_ids=tokens).logits
        for name, weights in trainer.model.named_parameters():
            if "lora_B" in name:
                weights.normal_(std=1.0, generator=torch.Generator().manual_seed(0))
        after = trainer.model(input_ids=tokens).logits
    assert (after - before).abs().max() > 0.1, "the adapter must matter, or this test says nothing"
    trainer.workshop = Place(tmp_path / "again")
    found: Dataset = trainer._precompute_ref_logps(rows, "train", 4)
    for side in ("chosen", "rejected"):
        assert list(found[f"ref_{side}_logps"]) == pytest.approx(expected(world, side), abs=1e-3)
