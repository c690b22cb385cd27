"""What must stop a training run, does, in one line that says where."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from peft import PeftModel, get_peft_model
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from transformers import TrainingArguments

from align.configs import DPOConfig, LoRA, SFTConfig
from align.errors import AlignError, ModelError, RecordError, TrainingError
from align.models.load import load_model, load_tokenizer, save
from align.models.peft import lora_config
from align.records import Demonstration, Preference
from align.store import jsonl
from align.training.dpo import StartsAtReference
from align.training.guards import Guarded, Watch, adapter_switches, memory
from align.training.trainer import TransformersTrainer
from tests.training.tiny import Place, World, question, turn

TRAINER = TransformersTrainer()


def refused(
    kind: type[AlignError], match: str, world: World, out: Path, config: SFTConfig, model: Path | None = None
) -> None:
    with pytest.raises(kind, match=match) as caught:
        TRAINER.sft(config, model or world.model, world.demonstrations, None, out, Place(out / "work"))
    assert "\n" not in str(caught.value)
    assert not (out / "model").exists()


def spoilt(world: World, place: Path, factor: float) -> Path:
    """The model with its last norm scaled: finite, until it is computed with."""
    model = load_model(world.model)
    model.model.norm.weight.data *= factor
    save(model, load_tokenizer(world.model), place)
    return place


def test_a_loss_that_is_not_a_number_stops_the_first_step(world: World, tmp_path: Path) -> None:
    model = spoilt(world, tmp_path / "spoilt", 3e38)
    config = SFTConfig(learning_rate=1e-3, batch_size=4)
    refused(TrainingError, r"step 1: the loss is (nan|inf)", world, tmp_path, config, model)


def test_an_exploding_run_stops_and_keeps_its_last_checkpoint(world: World, tmp_path: Path) -> None:
    model = spoilt(world, tmp_path / "spoilt", 1e30)
    config = SFTConfig(learning_rate=0.9, batch_size=4, epochs=20, checkpoint_every=1, max_grad_norm=1e30)
    refused(TrainingError, r"step \d+: ", world, tmp_path, config, model)


def test_an_adapter_that_fits_no_module_is_refused_with_near_names(world: World, tmp_path: Path) -> None:
    config = SFTConfig(learning_rate=1e-3, lora=LoRA(targets=("q_prj",)))
    refused(ModelError, r"lora\.targets: 'q_prj' is no module of this model \(it has q_proj", world, tmp_path, config)


def test_an_adapter_on_the_head_is_refused(world: World, tmp_path: Path) -> None:
    config = SFTConfig(learning_rate=1e-3, lora=LoRA(targets=("lm_head",)))
    refused(ModelError, "is the model's head", world, tmp_path, config)


def test_demonstrations_that_are_all_too_long_are_counted(world: World, tmp_path: Path) -> None:
    config = SFTConfig(learning_rate=1e-3, max_tokens=8)
    refused(RecordError, "0 usable rows of 18: 18 longer than 8 tokens", world, tmp_path, config)


def pair(chosen: str, rejected: str, label: float = 1.0) -> Preference:
    said = (turn("assistant", chosen),), (turn("assistant", rejected),)
    return Preference(prompt=(question("Ada"),), chosen=said[0], rejected=said[1], label=label)


def test_pairs_that_teach_nothing_are_counted(world: World, tmp_path: Path) -> None:
    data = tmp_path / "pairs.jsonl"
    jsonl.write(data, [pair("Paris.", "Rome.", 0.5), pair("Paris. " * 90, "Rome."), pair(" Paris.", "Paris.")])
    with pytest.raises(RecordError, match="0 usable pairs of 3: 1 too_long, 1 equal_as_tokens, 1 ties"):
        TRAINER.dpo(DPOConfig(max_tokens=64), world.model, data, None, tmp_path, Place(tmp_path / "work"))


def test_a_label_below_a_half_turns_the_pair_round(world: World, tmp_path: Path) -> None:
    from align.models.chat import Chat
    from align.training.dpo import table

    tokenizer = load_tokenizer(world.model)
    chat = Chat(tokenizer, [tokenizer.eos_token_id])
    jsonl.write(tmp_path / "pairs.jsonl", [pair("Paris.", "Rome.", 0.2)])
    rows, _ = table(tmp_path / "pairs.jsonl", chat, most=64)
    assert tokenizer.decode(rows[0]["chosen_ids"]) == "Rome.<|end|>"
    assert tokenizer.decode(rows[0]["rejected_ids"]) == "Paris.<|end|>"


def test_a_reference_that_is_another_model_is_noticed_at_the_first_step(world: World, tmp_path: Path) -> None:
    config = DPOConfig(learning_rate=1e-4, batch_size=4)
    place = Place(tmp_path / "work")
    TRAINER.dpo(config, world.model, world.preferences, None, tmp_path, place)
    journal = tmp_path / "work" / "reference.train.jsonl"
    rows = [json.loads(line) for line in journal.read_text().splitlines()]
    jsonl.write(journal, ({name: [x - 1.0 for x in row[name]] for name in ("chosen", "rejected")} for row in rows))
    shutil.rmtree(tmp_path / "work" / "checkpoints")
    with pytest.raises(TrainingError, match="reference and policy are not the same model"):
        TRAINER.dpo(config, world.model, world.preferences, None, tmp_path, place)


def test_dpo_starts_at_log_two_and_its_log_holds_no_time(world: World, tmp_path: Path) -> None:
    place = Place(tmp_path / "work")
    TRAINER.dpo(
        DPOConfig(learning_rate=1e-3, batch_size=4), world.model, world.preferences, world.preferences, tmp_path, place
    )
    rows = [row for _, row in jsonl.rows(tmp_path / "log.jsonl")]
    assert [row["phase"] for row in rows[:2]] == ["eval", "train"]
    assert rows[0]["eval_loss"] == pytest.approx(0.693147, abs=1e-5)
    assert rows[1]["loss"] == pytest.approx(0.693147, abs=1e-5)
    assert rows[-1]["eval_loss"] < 0.69
    assert not [key for row in rows for key in row if "runtime" in key or "second" in key or "time" in key]


def test_an_adapter_merged_gives_what_the_adapter_gives(world: World, tmp_path: Path) -> None:
    config = DPOConfig(learning_rate=5e-3, batch_size=4, lora=LoRA(rank=4))
    TRAINER.dpo(config, world.model, world.preferences, None, tmp_path, Place(tmp_path / "work"))
    settings = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] is None
    assert settings["target_modules"] == sorted(settings["target_modules"])
    for path in (p for p in tmp_path.rglob("*") if p.is_file() and "work" not in p.parts):
        assert str(world.folder).encode() not in path.read_bytes(), path
    merged = load_model(tmp_path / "model")
    whole = PeftModel.from_pretrained(load_model(world.model), str(tmp_path / "adapter")).eval()
    ids = torch.tensor([[1, 20, 30, 40, 50]])
    with torch.inference_mode():
        a, b, base = (m(input_ids=ids).logits for m in (merged, whole, load_model(world.model)))
    assert float((a - b).abs().max()) < 1e-4
    assert float((a - base).abs().max()) > 1e-2


def test_a_stop_names_the_rows_of_its_step(world: World, tmp_path: Path) -> None:
    model = spoilt(world, tmp_path / "spoilt", 3e38)
    known = {row.id[:12] for row in jsonl.read(world.demonstrations, Demonstration)}
    with pytest.raises(TrainingError) as stopped:
        TRAINER.sft(SFTConfig(batch_size=4), model, world.demonstrations, None, tmp_path, Place(tmp_path / "work"))
    named = str(stopped.value).rpartition("rows of this step: ")[2].split(", ")
    assert len(named) == 4
    assert set(named) <= known


def adapted(world: World) -> PeftModel:
    model = load_model(world.model)
    return get_peft_model(model, lora_config(LoRA(rank=2, alpha=4), model, "CAUSAL_LM"))


def test_an_adapter_that_is_on_where_it_learns_and_off_where_it_is_off_passes_and_is_left_as_it_was(
    world: World,
) -> None:
    model = adapted(world)
    before = {name: p.clone() for name, p in model.named_parameters()}
    adapter_switches(model, [4, 5, 6, 7])
    assert all(p.equal(before[name]) for name, p in model.named_parameters())
    adapter_switches(load_model(world.model), [4, 5, 6, 7])


def test_an_adapter_that_is_off_in_the_policys_pass_is_refused(world: World) -> None:
    model = adapted(world)
    for module in model.modules():
        if hasattr(module, "lora_A"):
            module.scaling = {"default": 0.0}
    with pytest.raises(TrainingError, match="the adapter is off where the policy learns"):
        adapter_switches(model, [4, 5, 6, 7])


def test_an_adapter_that_stays_on_in_the_references_pass_is_refused(world: World) -> None:
    model = adapted(world)
    for module in model.modules():
        if hasattr(module, "lora_A"):
            module.enable_adapters = lambda enabled: None
    with pytest.raises(TrainingError, match="still on where it is switched off"):
        adapter_switches(model, [4, 5, 6, 7])


def watched(*rows: dict[str, float]) -> None:
    class Told:
        def advance(self, n: int = 1, note: str = "") -> None:
            pass

    watch = Watch(Told())
    for step, row in enumerate(rows, start=1):
        watch.on_log(None, SimpleNamespace(global_step=step), None, logs={"loss": 0.5, **row})


def test_twenty_steps_without_a_gradient_stop_a_run_and_nineteen_do_not() -> None:
    watched(*[{"grad_norm": 0.0}] * 19, {"grad_norm": 0.1}, *[{"grad_norm": 0.0}] * 19)
    with pytest.raises(TrainingError, match="step 20: for 20 steps the gradient is 0"):
        watched(*[{"grad_norm": 0.0}] * 20)


def test_one_reward_for_every_answer_is_a_collapse() -> None:
    same = {"grad_norm": 1.0, "min_reward": 0.25, "max_reward": 0.25}
    watched(*[same] * 19, {**same, "max_reward": 0.5}, *[same] * 19)
    with pytest.raises(TrainingError, match="every answer has the same reward"):
        watched(*[same] * 20)


def test_a_first_loss_that_is_not_log_two_is_noticed() -> None:
    told = {"rewards/margins": 0.0, "rewards/chosen": 0.0, "rewards/rejected": 0.0}
    callback = StartsAtReference(tolerance=1e-3, costs_log_two=True)
    callback.on_log(None, SimpleNamespace(global_step=1), None, logs={**told, "loss": 0.6935})
    callback.on_log(None, SimpleNamespace(global_step=2), None, logs={**told, "loss": 0.4})
    with pytest.raises(TrainingError, match=r"the loss is 0\.6980, where ln 2 = 0\.6931 is expected"):
        callback.on_log(None, SimpleNamespace(global_step=1), None, logs={**told, "loss": 0.6980})


@pytest.mark.parametrize(
    ("knobs", "said"),
    [
        ({"label_smoothing": 0.1}, "`sigmoid` would ignore it; use loss: robust"),
        ({"loss": "robust", "label_smoothing": 0.5}, "less than 0.5"),
        ({"loss": "robust"}, "`robust` needs it above 0"),
    ],
)
def test_knobs_that_trl_would_ignore_or_that_teach_nothing_are_refused(knobs: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        DPOConfig(**knobs)


def test_where_padding_is_the_end_of_text_the_end_is_learnt_all_the_same(world: World, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(world.model)
    tokenizer.pad_token = tokenizer.eos_token
    save(load_model(world.model), tokenizer, tmp_path / "same")
    again = load_tokenizer(tmp_path / "same")
    assert again.pad_token_id == again.eos_token_id
    ends = []
    for folder in (world.model, tmp_path / "same"):
        out = tmp_path / folder.name / "out"
        out.mkdir(parents=True)
        config = SFTConfig(learning_rate=2e-3, batch_size=6, epochs=2)
        TRAINER.sft(config, folder, world.demonstrations, world.demonstrations, out, Place(out / "work"))
        ends.append([row["eval_loss"] for _, row in jsonl.rows(out / "log.jsonl") if "eval_loss" in row])
    # padding counts for nothing, so which token it is changes nothing: the end of text included
    assert ends[0] == pytest.approx(ends[1], abs=1e-5)


def test_where_a_machine_has_several_gpus_one_process_takes_one() -> None:
    seen = []

    class Trainer:
        def __init__(self, args: Any) -> None:
            seen.append(args._n_gpu)

    class Guarding(Guarded, Trainer):
        pass

    for n in (0, 1, 8):
        args = TrainingArguments(output_dir="unused", use_cpu=True)
        args._n_gpu = n
        Guarding(args=args)
    assert seen == [0, 1, 1]


def test_a_lack_of_memory_is_told_with_what_to_turn_down_and_other_errors_are_not_hidden() -> None:
    for error in (
        MemoryError("1 TiB"),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 GB"),
    ):
        with (
            pytest.raises(
                TrainingError, match=r"out of memory .*checkpoint is kept; lower micro_batch_size or max_tokens"
            ),
            memory(),
        ):
            raise error
    with pytest.raises(RuntimeError, match="shapes differ"), memory():
        raise RuntimeError("shapes differ")


def test_a_tokenizer_that_grew_without_its_model_is_refused(world: World, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(world.model)
    tokenizer.add_tokens(["<|new|>"])
    save(load_model(world.model), tokenizer, tmp_path / "grown")
    refused(ModelError, "was the tokenizer changed without the model", world, tmp_path, SFTConfig(), tmp_path / "grown")


def test_head_and_embedding_saved_twice_and_differing_are_both_kept_and_no_longer_said_to_be_one(
    world: World, tmp_path: Path
) -> None:
    shutil.copytree(world.model, tmp_path / "twice")
    file = tmp_path / "twice" / "model.safetensors"
    weights = load_file(file)
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"].clone() + 0.5
    save_file(weights, file, metadata={"format": "pt"})
    model = load_model(tmp_path / "twice")
    assert model.lm_head.weight.equal(weights["lm_head.weight"])
    assert model.model.embed_tokens.weight.equal(weights["model.embed_tokens.weight"])
    assert model.config.tie_word_embeddings is False
    save(model, load_tokenizer(world.model), tmp_path / "again")
    assert load_model(tmp_path / "again").lm_head.weight.equal(weights["lm_head.weight"])
