"""The real chat model, tuned for two steps with an adapter: what DPO leaves behind."""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from align.configs import DPOConfig, LoRA, RewardConfig, SFTConfig
from align.models.chat import Chat
from align.models.load import end_ids, load_model, load_tokenizer
from align.records import Demonstration, Message, Preference
from align.store import jsonl
from align.training.trainer import TransformersTrainer
from tests.training.tiny import Place

FOLDER = Path(__file__).parents[2] / "weights" / "smollm2-135m-instruct"
pytestmark = pytest.mark.real_model
PAIRS = (
    ("What is the capital of France?", "Paris.", "I would rather not talk about towns."),
    ("Name a colour.", "Blue.", "Colours are many, and naming one would be unfair to the rest."),
    ("What is two and two?", "Four.", "Numbers are hard."),
    ("Is the sea salty?", "Yes, it is.", "Perhaps; nobody has tasted all of it."),
)


def turn(role: str, content: str) -> Message:
    return Message.model_validate({"role": role, "content": content})


@dataclass(frozen=True)
class Tuned:
    """The model as it was, and what the stage wrote."""

    base: Any
    tokenizer: Any
    out: Path
    notes: list[str]


def preferences() -> list[Preference]:
    return [
        Preference(prompt=(turn("user", asked),), chosen=(turn("assistant", a),), rejected=(turn("assistant", b),))
        for asked, a, b in PAIRS
    ]


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> Tuned:
    assert (FOLDER / "config.json").exists(), f"{FOLDER} is missing; run: make real-model"
    folder = tmp_path_factory.mktemp("tuned")
    out, pairs = folder / "out", folder / "pairs.jsonl"
    out.mkdir()
    jsonl.write(pairs, preferences())
    config = DPOConfig(
        learning_rate=5e-4, schedule="constant", warmup_share=0, epochs=2, batch_size=4, micro_batch_size=2,
        max_tokens=128, lora=LoRA(rank=4, alpha=8),
    )  # fmt: skip
    place = Place(folder / "work")
    TransformersTrainer().dpo(config, FOLDER, pairs, None, out, place)
    return Tuned(load_model(FOLDER), load_tokenizer(FOLDER), out, place.notes)


def test_the_model_has_the_weights_its_publisher_counts(tuned: Tuned) -> None:
    assert sum(weight.numel() for weight in tuned.base.parameters()) == 134_515_008


def test_its_template_adds_a_system_turn(tuned: Tuned) -> None:
    chat = Chat(tuned.tokenizer, end_ids(tuned.base, tuned.tokenizer))
    text = chat.render([turn("user", "Hello")], add_generation_prompt=True)
    assert text.startswith("<|im_start|>system\nYou are a helpful AI assistant named SmolLM")
    assert text.endswith("<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n")
    own = chat.render([turn("system", "Be brief."), turn("user", "Hello")])
    assert own.count("<|im_start|>system") == 1


def test_it_starts_at_the_reference_and_then_leaves_it(tuned: Tuned) -> None:
    steps = [row for _, row in jsonl.rows(tuned.out / "log.jsonl") if "loss" in row]
    assert len(steps) == 2
    assert steps[0]["loss"] == pytest.approx(math.log(2), abs=1e-4)
    assert steps[1]["loss"] < steps[0]["loss"]
    assert steps[1]["rewards/margins"] > 0


def test_the_adapter_is_small_and_names_no_place(tuned: Tuned) -> None:
    settings = json.loads((tuned.out / "adapter" / "adapter_config.json").read_text(encoding="utf-8"))
    assert settings["base_model_name_or_path"] is None
    assert (settings["r"], settings["lora_alpha"]) == (4, 8)
    for path in tuned.out.rglob("*.json*"):
        if path.name != "tokenizer.json":  # its vocabulary holds slashes
            assert not re.search(r'"/[^"\s]+/[^"]*"', path.read_text(encoding="utf-8")), f"{path} names a place"
    assert (tuned.out / "adapter" / "adapter_model.safetensors").stat().st_size < 10_000_000


def test_the_merged_model_is_the_base_with_its_adapter(tuned: Tuned) -> None:
    import torch
    from peft import PeftModel

    merged = load_model(tuned.out / "model")
    chat = Chat(tuned.tokenizer, end_ids(tuned.base, tuned.tokenizer))
    ids = torch.tensor([chat.prompt([turn("user", PAIRS[0][0])])])
    with torch.no_grad():
        before = tuned.base(ids).logits
        after = merged(ids).logits
        adapted = PeftModel.from_pretrained(tuned.base, str(tuned.out / "adapter")).eval()(ids).logits
    assert (after - before).abs().max() > 0.1, "two steps at this rate are seen"
    assert (after - adapted).abs().max() < 1e-3, "float32, logits of size 20"
    assert load_tokenizer(tuned.out / "model").chat_template == tuned.tokenizer.chat_template


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "base"), [("dpo", "float32"), ("dpo", "nf4"), ("dpo", "int8"), ("sft", "float32"), ("reward", "float32")]
)
def test_under_bfloat16_the_adapter_folded_in_is_the_model_that_was_trained(
    stage: str, base: str, tmp_path: Path
) -> None:
    if base != "float32":
        pytest.importorskip("bitsandbytes", reason="pip install 'align-prefs[quant]'")
    data, out, place = tmp_path / "data.jsonl", tmp_path / "out", Place(tmp_path / "work", dtype="bfloat16")
    out.mkdir()
    knobs: dict[str, Any] = {
        "learning_rate": 5e-4, "epochs": 2, "batch_size": 4, "max_tokens": 128, "lora": {"rank": 4, "base": base},
    }  # fmt: skip
    trainer = TransformersTrainer()
    if stage == "sft":
        jsonl.write(data, [Demonstration(messages=(*one.prompt, *one.chosen)) for one in preferences()])
        trainer.sft(SFTConfig.model_validate(knobs), FOLDER, data, None, out, place)
    else:
        jsonl.write(data, preferences())
        if stage == "dpo":
            trainer.dpo(DPOConfig.model_validate(knobs), FOLDER, data, None, out, place)
        else:
            nothing = {"preferences": None, "rankings": None}
            files = {**nothing, "preferences": data}
            trainer.reward(RewardConfig.model_validate(knobs), FOLDER, files, nothing, out, place)
    merged = json.loads((out / "summary.json").read_text())["merged"]
    assert merged.get("kl", merged.get("score")) < 1e-5
    assert ("kl_as_run" in merged) == (base == "int8")
    assert merged.get("refusals_changed", 0.0) == 0.0
