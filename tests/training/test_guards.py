"""What must stop a training run, does, in one line that says where."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from peft import PeftModel

from align.configs import DPOConfig, LoRA, SFTConfig
from align.errors import AlignError, ModelError, RecordError, TrainingError
from align.models.load import load_model, load_tokenizer, save
from align.records import Preference
from align.store import jsonl
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
