from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from align.errors import ModelError
from align.models.folder import inspect_folder
from align.models.load import load_model, load_tokenizer

WEIGHTS = "model.safetensors"


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(folder, tmp_path / "copy"))


def test_a_sound_folder_says_what_it_holds(folder: Path) -> None:
    facts = inspect_folder(folder, needs_chat_template=True)
    assert facts.model_type == "llama"
    assert facts.dtypes == ("F32",)
    assert facts.weight_files == (WEIGHTS,)
    assert str(facts) == "llama, 0.0M parameters in F32, with a chat template"
    assert facts.n_parameters == sum(p.numel() for p in load_model(folder).parameters())


def setting(key: str, value: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))

    return change


def weights(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        path = folder / WEIGHTS
        path.write_bytes(change(path.read_bytes()))

    return apply


def with_header(change: Callable[[str], str]) -> Callable[[bytes], bytes]:
    def apply(data: bytes) -> bytes:
        (length,) = struct.unpack("<Q", data[:8])
        header = change(data[8 : 8 + length].decode()).encode()
        return struct.pack("<Q", len(header)) + header + data[8 + length :]

    return apply


def twice(header: str) -> str:
    entries = json.loads(header)
    name = next(n for n in entries if n != "__metadata__")
    return header.rstrip()[:-1] + f', "{name}": {json.dumps(entries[name])}}}'


def lie(header: str) -> str:
    return header.replace('"shape":[', '"shape":[2,', 1)


def in_its_place(content: bytes) -> Callable[[Path], None]:
    return weights(lambda _: content)


def only_pickle(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "pytorch_model.bin")


def missing_shard(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "model-00001-of-00002.safetensors")
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))


def shard_outside(folder: Path) -> None:
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../model.safetensors"}}))


def code(folder: Path) -> None:
    (folder / "modeling_evil.py").write_text("raise SystemExit")


def adapter(folder: Path) -> None:
    (folder / "config.json").rename(folder / "adapter_config.json")


def pointer(folder: Path) -> None:
    (folder / "tokenizer.json").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")


def no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


BAD: dict[str, tuple[Callable[[Path], None], str]] = {
    "only pickle weights": (only_pickle, "pytorch_model.bin: pickle weights can run code"),
    "remote code": (setting("auto_map", {"AutoModel": "evil.Model"}), "config.json: auto_map asks to run code"),
    "attention from afar": (setting("_attn_implementation", "evil/kernel"), "_attn_implementation: 'evil/kernel'"),
    "inner attention from afar": (setting("_attn_implementation_internal", "evil/kernel"), "may load foreign code"),
    "quantised weights": (
        setting("quantization_config", {"quant_method": "bitsandbytes", "load_in_8bit": True}),
        "weights quantised by bitsandbytes found, expected whole ones",
    ),
    "a script": (code, "modeling_evil.py: a model folder with code"),
    "a git-lfs pointer": (in_its_place(b"version https://git-lfs.github.com/spec/v1\n"), "git-lfs pointer"),
    "an HTML page": (in_its_place(b"<!DOCTYPE html><html>Not found</html>"), "an HTML page"),
    "an empty shard": (in_its_place(b""), "0 bytes are no safetensors file"),
    "truncated": (weights(lambda data: data[:-100]), "truncated or overlong"),
    "cut inside its header": (weights(lambda data: data[:60]), "cut off inside its header"),
    "trailing bytes": (weights(lambda data: data + b"x"), "truncated or overlong"),
    "a tensor twice": (weights(with_header(twice)), "stands twice in its header"),
    "a shape that lies": (weights(with_header(lie)), "does not lie where its shape says"),
    "a missing shard": (missing_shard, "model-00002-of-00002.safetensors: missing"),
    "a shard outside": (shard_outside, "lies outside the folder"),
    "an adapter": (adapter, "an adapter, not a whole model"),
    "a tokenizer that is a pointer": (pointer, "tokenizer.json: a git-lfs pointer"),
    "no config": (no_config, "config.json: missing"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_folder_is_refused_in_one_line_that_names_the_file(name: str, copy: Path) -> None:
    spoil, expected = BAD[name]
    spoil(copy)
    with pytest.raises(ModelError, match=expected) as caught:
        inspect_folder(copy)
    assert "\n" not in str(caught.value)
    assert str(copy) in str(caught.value)


def test_a_folder_without_a_chat_template_is_refused_where_the_run_talks(copy: Path) -> None:
    (copy / "chat_template.jinja").unlink()
    inspect_folder(copy)
    with pytest.raises(ModelError, match="no chat template"):
        inspect_folder(copy, needs_chat_template=True)


def test_weights_that_are_not_numbers_are_refused(copy: Path) -> None:
    model = load_model(copy)
    model.model.norm.weight.data[3] = float("nan")
    model.save_pretrained(copy)
    with pytest.raises(ModelError, match=r"model\.norm\.weight holds NaN"):
        load_model(copy)


def test_weights_that_are_not_all_there_are_refused(copy: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(copy / WEIGHTS)
    del tensors["model.norm.weight"]
    save_file(tensors, copy / WEIGHTS, metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"weights are missing for model\.norm\.weight"):
        load_model(copy)


def test_a_pickle_is_not_opened(copy: Path, tmp_path: Path) -> None:
    import pickle

    canary = tmp_path / "canary"

    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (canary,))

    (copy / WEIGHTS).unlink()
    (copy / "pytorch_model.bin").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(ModelError):
        load_model(copy)
    assert not canary.exists()


def test_a_folder_saved_again_has_the_same_bytes_and_names_no_place(copy: Path, tmp_path: Path) -> None:
    from align.models.load import save

    again = tmp_path / "again"
    save(load_model(copy), load_tokenizer(copy), again)
    for path in sorted(again.iterdir()):
        assert path.read_bytes() == (copy / path.name).read_bytes(), path.name
        assert str(tmp_path).encode() not in path.read_bytes()
