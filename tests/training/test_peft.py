"""Every way of learning less than all weights, through the stages that learn, to a model that needs no adapter."""

from __future__ import annotations

import importlib.util
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from pydantic import ValidationError

from align.adapters.transformers import TransformersScorer
from align.configs import DPOConfig, LoRA, RewardConfig, RuntimeConfig, SFTConfig
from align.errors import ModelError, TrainingError
from align.models.apart import openings
from align.models.load import load_model, load_tokenizer
from align.models.peft import lora_config
from align.ports import ScoreRequest
from align.records import Demonstration, Preference
from align.store import jsonl
from align.training.merging import whole
from align.training.trainer import TransformersTrainer
from tests.training.tiny import Place, World

RUNTIME = RuntimeConfig(device="cpu", dtype="float32", threads=1)
needs_bitsandbytes = pytest.mark.skipif(
    importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed (extra `quant`)"
)
SMALL = {"rank": 4, "alpha": 8}
METHODS: dict[str, dict[str, Any]] = {
    "lora": {"lora": SMALL},
    "rslora": {"lora": {**SMALL, "rslora": True}},
    "dora": {"lora": {**SMALL, "dora": True}},
    "layers": {"lora": {**SMALL, "layers": [1]}},
    "nf4": {"lora": {**SMALL, "base": "nf4"}},
    "int8": {"lora": {**SMALL, "base": "int8"}},
    "ia3": {"ia3": {}},
    "prompt": {"prompt_tuning": {"tokens": 4, "text": "Where does Ada live?"}},
    "new_tokens": {"lora": SMALL, "new_tokens": ["<|town|>", "<|name|>"]},
    "freeze": {"freeze": ["model.embed_tokens.*", "*.layers.0.*"]},
}


def train(stage: str, method: str, world: World, out: Path, **more: Any) -> dict[str, Any]:
    rate = {"freeze": 2e-3, "ia3": 0.2, "prompt": 0.3}.get(method, 2e-2)
    knobs = {"learning_rate": rate, "batch_size": 6, "epochs": 3} | more
    out.mkdir(parents=True, exist_ok=True)
    trainer, place = TransformersTrainer(), Place(out / "work")
    if stage == "sft":
        rows = world.demonstrations
        trainer.sft(SFTConfig(**knobs, **METHODS[method]), world.model, rows, rows, out, place)
    else:
        rows = world.preferences
        trainer.dpo(DPOConfig(**knobs, **METHODS[method]), world.model, rows, rows, out, place)
    return json.loads((out / "summary.json").read_text())


def held_out_losses(out: Path) -> list[float]:
    return [row["eval_loss"] for _, row in jsonl.rows(out / "log.jsonl") if "eval_loss" in row]


SOON = ("lora", "nf4", "prompt", "new_tokens")
"""What dpo is tried with in the short tests, beside sft with everything."""


def cells() -> list[Any]:
    """Every method through both stages; the rest of dpo's in the long tests."""
    found = []
    for stage in ("sft", "dpo"):
        for method in METHODS:
            marks = [needs_bitsandbytes] if method in ("nf4", "int8") else []
            marks += [pytest.mark.slow] if stage == "dpo" and method not in SOON else []
            found.append(pytest.param(method, stage, marks=marks, id=f"{stage} {method}"))
    return found


@pytest.mark.parametrize(("method", "stage"), cells())
def test_it_learns_and_what_is_saved_is_what_was_trained(method: str, stage: str, world: World, tmp_path: Path) -> None:
    summary = train(stage, method, world, tmp_path)
    losses = held_out_losses(tmp_path)
    # a few vectors before the text move a model of 30,000 weights less than its weights do
    assert losses[-1] < losses[0] - (0.001 if method == "prompt" else 0.005), losses
    model = load_model(tmp_path / "model")
    assert not hasattr(model, "peft_config")
    assert (tmp_path / "adapter" / "adapter_model.safetensors").exists() == (method != "freeze")
    if method != "freeze":
        assert summary["merged"]["kl"] <= 1e-4
        assert summary["merged"]["top1"] == 1.0
        assert (summary["merged"]["refusals_changed"], summary["merged"]["n_prompts"]) == (0.0, 6.0)
        settings = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
        assert settings["base_model_name_or_path"] is None
        assert str(world.folder) not in json.dumps(settings)
    # the model as saved gives the last held-out loss that training saw
    pairs = list(jsonl.read(world.preferences, Preference))
    # (the reference of a quantised base is the base as rounded; new tokens take their share of it from the start)
    if stage == "dpo" and method not in ("nf4", "int8", "new_tokens"):
        found = []
        for folder in (tmp_path / "model", world.model):
            asked = [ScoreRequest(p.prompt, side[0].content) for p in pairs for side in (p.chosen, p.rejected)]
            logps = [s.logp for s in TransformersScorer(folder, RUNTIME).score(asked)]
            found.append([a - b for a, b in zip(logps[::2], logps[1::2], strict=True)])
        margins = [0.1 * (now - before) for now, before in zip(*found, strict=True)]
        loss = float(-torch.nn.functional.logsigmoid(torch.tensor(margins)).mean())
        assert loss == pytest.approx(losses[-1], abs=2e-4)


def test_only_the_layers_that_were_named_have_an_adapter(world: World, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    train("sft", "layers", world, tmp_path, epochs=1)
    names = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    assert names
    assert all(".layers.1." in name for name in names)


def test_what_is_frozen_stays_and_the_rest_moves(world: World, tmp_path: Path) -> None:
    train("sft", "freeze", world, tmp_path, epochs=1)
    before, after = load_model(world.model).state_dict(), load_model(tmp_path / "model").state_dict()
    for name, tensor in before.items():
        stays = name.startswith(("model.embed_tokens.", "model.layers.0.")) or "lm_head" in name
        assert tensor.equal(after[name]) == stays or "lm_head" in name, name


def test_new_tokens_are_learnt_beside_an_adapter(world: World, tmp_path: Path) -> None:
    rows = [row.model_dump(mode="json", exclude_none=True) for row in jsonl.read(world.demonstrations, Demonstration)]
    for row in rows:
        row.pop("id")
        row["messages"][-1]["content"] = "<|town|> " + row["messages"][-1]["content"]
    jsonl.write(tmp_path / "rows.jsonl", [Demonstration.model_validate(row) for row in rows])
    config = SFTConfig(learning_rate=2e-2, batch_size=6, epochs=3, **METHODS["new_tokens"])
    out = tmp_path / "out"
    out.mkdir()
    TransformersTrainer().sft(config, world.model, tmp_path / "rows.jsonl", None, out, Place(tmp_path / "work"))
    tokenizer, model = load_tokenizer(out / "model"), load_model(out / "model")
    named = tokenizer.convert_tokens_to_ids("<|town|>")
    assert tokenizer.decode([named]) == "<|town|>"
    old = load_model(world.model).get_input_embeddings().weight
    vectors = model.get_input_embeddings().weight
    assert vectors[: len(old)].equal(old) or float((vectors[:300] - old[:300]).abs().max()) < 1e-6
    assert float((vectors[named].detach() - old.mean(0)).abs().max()) > 1e-3


def test_a_prompt_that_was_learnt_is_a_model_with_a_longer_template(world: World, tmp_path: Path) -> None:
    train("sft", "prompt", world, tmp_path, epochs=1)
    tokenizer = load_tokenizer(tmp_path / "model")
    text = tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False)
    assert text.startswith("<|learnt_0|><|learnt_1|><|learnt_2|><|learnt_3|>")
    assert text.endswith(
        load_tokenizer(world.model).apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False)
    )


def test_under_autocast_both_models_are_compared_in_the_number_format_that_is_saved(
    world: World, tmp_path: Path
) -> None:
    config = DPOConfig(learning_rate=1e-2, batch_size=6, epochs=2, lora=LoRA(rank=4, alpha=8))
    TransformersTrainer().dpo(
        config, world.model, world.preferences, None, tmp_path, Place(tmp_path / "work", dtype="bfloat16")
    )
    # the trained model as autocast runs it is 2e-7 from itself in float32, and a real one, with a vocabulary of
    # 49,152, 1e-3: that says nothing of the merge
    assert json.loads((tmp_path / "summary.json").read_text())["merged"]["kl"] < 5e-8


@needs_bitsandbytes
@pytest.mark.parametrize("base", ["nf4", "int8"])
def test_over_a_quantised_base_too_the_rounding_of_products_is_not_taken_for_the_merges(
    base: str, world: World, tmp_path: Path
) -> None:
    config = DPOConfig(learning_rate=1e-2, batch_size=6, epochs=2, lora={"rank": 4, "alpha": 8, "base": base})
    place = Place(tmp_path / "work", dtype="bfloat16")
    TransformersTrainer().dpo(config, world.model, world.preferences, None, tmp_path, place)
    assert json.loads((tmp_path / "summary.json").read_text())["merged"]["kl"] < 1e-7


def test_a_merge_past_the_tolerance_saves_nothing(world: World, tmp_path: Path) -> None:
    base = load_model(world.model, dtype="bfloat16")
    config = SFTConfig(lora={"rank": 4, "alpha": 400}, merge_tolerance=1e-9)
    adapted = get_peft_model(base, lora_config(config.lora, base, "CAUSAL_LM"))
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.01)
    with pytest.raises(TrainingError, match=r"away from the one that was trained, 1e-09 allowed \(merge_tolerance\)"):
        whole(adapted, load_tokenizer(world.model), tmp_path, None, config, [[4, 5, 6, 7, 8]])


def test_after_a_refused_merge_a_run_with_a_wider_tolerance_trains_no_step_again(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = DPOConfig(learning_rate=1e-2, batch_size=6, lora=LoRA(rank=4))
    wide = config.model_copy(update={"merge_tolerance": 10.0, "merge_refusals": 1.0})
    assert wide.keyed() == config.keyed()
    work = Place(tmp_path / "work")
    with monkeypatch.context() as patch:
        patch.setattr("align.training.merging.distance", lambda *_: {"kl": 1.0, "top1": 0.0, "n_tokens": 9.0})
        with pytest.raises(TrainingError, match=r"last checkpoint is kept: raise merge_tolerance and run again"):
            TransformersTrainer().dpo(config, world.model, world.preferences, None, tmp_path, work)
    monkeypatch.setattr("trl.DPOTrainer.training_step", None)
    TransformersTrainer().dpo(wide, world.model, world.preferences, None, tmp_path, work)
    assert (tmp_path / "model" / "model.safetensors").is_file()


def declining(world: World, tokenizer: Any) -> Any:
    """A model whose adapted head declines everything, by a part of the layer that folding in leaves behind."""
    adapted = get_peft_model(
        load_model(world.model), LoraConfig(task_type="CAUSAL_LM", r=4, target_modules=["lm_head", "down_proj"])
    )
    said = [*tokenizer("I cannot.", add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]
    written = itertools.cycle(said)

    def next_token(_: Any, __: Any, logits: torch.Tensor) -> torch.Tensor:
        return torch.full_like(logits, -100.0).index_fill_(-1, torch.tensor([next(written)]), 100.0)

    adapted.get_base_model().lm_head.register_forward_hook(next_token)
    return adapted


def test_a_merge_that_changes_what_is_declined_saves_nothing(world: World, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(world.model)
    prompts = [
        tokenizer.apply_chat_template(
            [{"role": "user", "content": f"Where does {name} live{end}"}], add_generation_prompt=True, return_dict=True
        )["input_ids"]
        for name, end in (("Ada", "?"), ("Bob", "?"), ("Cleo", " now?"), ("Dan", ", pray?"))
    ]
    said = openings(declining(world, tokenizer), tokenizer, prompts)
    assert [text.strip() for text in said] == ["I cannot."] * 4
    config = SFTConfig(merge_tolerance=1e9)
    with pytest.raises(
        TrainingError, match=r"of 4 training prompts, 100% are declined .* 10% allowed \(merge_refusals\)"
    ):
        whole(declining(world, tokenizer), tokenizer, tmp_path, None, config, [], prompts)
    lax = config.model_copy(update={"merge_refusals": 1.0})
    _, apart = whole(declining(world, tokenizer), tokenizer, tmp_path, None, lax, [], prompts)
    assert (apart["refusals"], apart["refusals_changed"], apart["n_prompts"]) == (1.0, 1.0, 4.0)


@pytest.mark.parametrize(
    ("knobs", "said"),
    [
        ({"lora": {"targets": ["q_prj"]}}, "lora.targets: 'q_prj' is no module of this model"),
        ({"lora": {"targets": ["lm_head"]}}, "lora.targets: 'lm_head' is the model's head"),
        ({"lora": {"layers": [2]}}, "lora.layers: 2 found, and this model has layers 0 to 1"),
        ({"ia3": {"targets": ["nope"]}}, "ia3.targets: 'nope' is no module of this model"),
        ({"freeze": ["nothing.*"]}, "freeze: 'nothing.*' names no parameter of this model"),
        ({"freeze": ["*"]}, "freeze: every parameter is frozen"),
        ({"new_tokens": ["a"]}, "new_tokens: 'a' is in the vocabulary already"),
    ],
)
def test_what_does_not_fit_the_model_is_refused_before_training(
    knobs: dict[str, Any], said: str, world: World, tmp_path: Path
) -> None:
    with pytest.raises(ModelError) as refused:
        TransformersTrainer().sft(
            SFTConfig(**knobs), world.model, world.demonstrations, None, tmp_path, Place(tmp_path / "w")
        )
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("kind", "knobs", "said"),
    [
        (SFTConfig, {"lora": {}, "ia3": {}}, "ia3: stands beside lora"),
        (SFTConfig, {"lora": {}, "freeze": ["*"]}, "freeze: lora freezes every weight"),
        (SFTConfig, {"ia3": {}, "new_tokens": ["x"]}, "new_tokens: ia3 cannot learn them"),
        (SFTConfig, {"lora": {"base": "nf4"}, "new_tokens": ["x"]}, "a quantised base cannot take them"),
        (SFTConfig, {"lora": {"layers": []}}, "layers: give one decoder layer or more"),
        (RewardConfig, {"prompt_tuning": {}}, "not for reward models"),
        (RewardConfig, {"keep": {"kl": 0.1}}, "predicts no text"),
    ],
)
def test_ways_that_cannot_stand_together_are_refused(kind: Any, knobs: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        kind(**knobs)
