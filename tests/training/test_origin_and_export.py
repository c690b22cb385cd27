from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import torch

from align.configs import DPOConfig, ExportConfig, LoRA, ModelConfig
from align.errors import ModelError
from align.models.load import end_ids, load_model, load_tokenizer, save
from align.training.trainer import TransformersTrainer
from tests.training.tiny import Place, World

TRAINER = TransformersTrainer()


def take(tmp_path: Path, **origin: str) -> Path:
    TRAINER.base(ModelConfig.model_validate(origin), None, tmp_path / "out", Place(tmp_path / "work"))
    return tmp_path / "out" / "model"


def test_a_folder_is_taken_with_its_weights_unchanged(world: World, tmp_path: Path) -> None:
    taken = take(tmp_path, folder=str(world.model))
    for name in ("model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja"):
        assert (taken / name).read_bytes() == (world.model / name).read_bytes()
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["origin"] == "folder"
    assert str(world.folder) not in json.dumps(summary)


def test_a_template_file_replaces_the_tokenizers_own(world: World, tmp_path: Path) -> None:
    template = tmp_path / "mine.jinja"
    template.write_text(
        "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] + '<|end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
    )
    taken = take(tmp_path, folder=str(world.model), chat_template=str(template))
    assert (taken / "chat_template.jinja").read_text() == template.read_text()


def test_an_end_of_turn_that_the_model_did_not_know_becomes_an_end(world: World, tmp_path: Path) -> None:
    template = tmp_path / "mine.jinja"
    template.write_text(
        "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] + '<|system|>' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
    )
    taken = take(tmp_path, folder=str(world.model), chat_template=str(template))
    tokenizer = load_tokenizer(taken)
    assert end_ids(load_model(taken), tokenizer) == sorted(tokenizer.convert_tokens_to_ids(["<|end|>", "<|system|>"]))


def test_a_template_that_cannot_be_rendered_is_refused_before_any_work(world: World, tmp_path: Path) -> None:
    template = tmp_path / "mine.jinja"
    template.write_text("{% for m in messages %}{{ m['content'] }}")
    with pytest.raises(ModelError, match="the chat template cannot render"):
        take(tmp_path, folder=str(world.model), chat_template=str(template))


def test_a_hub_model_that_cannot_be_had_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelError, match=r"nobody/nothing@0{8}: ") as caught:
        take(tmp_path, name="nobody/nothing", revision="0" * 40)
    assert "\n" not in str(caught.value)


def test_what_is_no_gguf_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"version https://git-lfs.github.com/spec/v1")
    with pytest.raises(ModelError, match="not a GGUF file"):
        take(tmp_path, gguf=str(file))
    file.write_bytes(b"GGUF" + bytes(10))
    with pytest.raises(ModelError, match="cannot be read as a GGUF model") as caught:
        take(tmp_path, gguf=str(file))
    assert "\n" not in str(caught.value)


def test_a_model_is_exported_in_the_number_format_asked_for(world: World, tmp_path: Path) -> None:
    TRAINER.export(ExportConfig(dtype="bfloat16"), world.model, tmp_path, Place(tmp_path / "work"))
    again = load_model(tmp_path / "model", dtype="auto")
    assert str(again.dtype) == "torch.bfloat16"
    assert load_tokenizer(tmp_path / "model").chat_template == load_tokenizer(world.model).chat_template
    assert (tmp_path / "model" / "generation_config.json").exists()


def test_what_half_precision_takes_away_on_export_is_said(world: World, tmp_path: Path) -> None:
    place = Place(tmp_path / "work")
    TRAINER.export(ExportConfig(dtype="bfloat16"), world.model, tmp_path, place)
    (note,) = place.notes
    assert re.match(r"rounded to bfloat16: \d\.\de[-+]\d\d nats a token from the model that was measured", note)


def test_an_adapter_on_weights_of_half_precision_is_folded_in_without_rounding_it_away(
    world: World, tmp_path: Path
) -> None:
    half = tmp_path / "half"
    model = load_model(world.model, dtype="bfloat16")
    save(model, load_tokenizer(world.model), half)
    config = DPOConfig(learning_rate=1e-5, batch_size=4, lora=LoRA(rank=2))
    (tmp_path / "tuned").mkdir()
    TRAINER.dpo(config, half, world.preferences, None, tmp_path / "tuned", Place(tmp_path / "tuned-work"))
    taken = take(tmp_path, folder=str(half), adapter=str(tmp_path / "tuned" / "adapter"))
    assert load_model(taken, dtype="auto").dtype == torch.float32
    trained, found, base = (load_model(folder).state_dict() for folder in (tmp_path / "tuned" / "model", taken, half))
    for name, tensor in found.items():
        assert torch.allclose(tensor, trained[name], atol=1e-7), name
    moved = [name for name in base if not torch.equal(base[name], trained[name])]
    assert moved
    lost = [(trained[name].bfloat16().float() == base[name]).float().mean() for name in moved]
    assert min(lost) > 0.5, "in bfloat16 most of what was learnt would be rounded away"


def test_settings_that_name_a_temperature_and_forget_to_sample_are_mended(world: World, tmp_path: Path) -> None:
    folder = tmp_path / "published"
    shutil.copytree(world.model, folder)
    path = folder / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"do_sample": False, "temperature": 0.6}))
    taken = take(tmp_path, folder=str(folder))
    found = json.loads((taken / "generation_config.json").read_text())
    assert (found["do_sample"], found["temperature"]) == (True, 0.6)


def test_an_adapter_is_exported_with_tokenizer_and_template(world: World, tmp_path: Path) -> None:
    config = DPOConfig(learning_rate=1e-3, batch_size=4, lora=LoRA(rank=2))
    TRAINER.dpo(config, world.model, world.preferences, None, tmp_path, Place(tmp_path / "work"))
    out = tmp_path / "out"
    TRAINER.export(ExportConfig(form="adapter"), tmp_path / "model", out, Place(tmp_path / "work"))
    assert {"adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "chat_template.jinja"} <= {
        path.name for path in (out / "adapter").iterdir()
    }


def test_an_adapter_that_was_never_trained_cannot_be_exported(world: World, tmp_path: Path) -> None:
    shutil.copytree(world.model, tmp_path / "full" / "model")
    with pytest.raises(ModelError, match="tuned in full and has no adapter"):
        TRAINER.export(ExportConfig(form="adapter"), tmp_path / "full" / "model", tmp_path, Place(tmp_path / "work"))
