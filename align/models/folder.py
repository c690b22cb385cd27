"""A model folder, looked at without loading it: what is refused, and why, before any weight is read."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from align.errors import ModelError

PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")
ITEM_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2,
    "I32": 4, "U32": 4, "F32": 4, "I64": 8, "U64": 8, "F64": 8,
}  # fmt: skip
MAX_HEADER_BYTES = 100_000_000


@dataclass(frozen=True)
class FolderFacts:
    """What the headers of a sound model folder say."""

    model_type: str
    n_parameters: int
    dtypes: tuple[str, ...]
    has_chat_template: bool
    weight_files: tuple[str, ...]

    def __str__(self) -> str:
        size = f"{self.n_parameters / 1e6:,.1f}M parameters in {'+'.join(self.dtypes)}"
        return f"{self.model_type}, {size}, {'with' if self.has_chat_template else 'without'} a chat template"


def inspect_folder(folder: Path, *, needs_chat_template: bool = False) -> FolderFacts:
    """The facts of a folder that may be loaded; ModelError names the file that is unsafe, torn or missing."""
    if not folder.is_dir():
        raise ModelError(f"{folder}: no such folder (expected a model folder with config.json and safetensors weights)")
    if (folder / "adapter_config.json").exists() and not (folder / "config.json").exists():
        raise ModelError(f"{folder}: an adapter, not a whole model; merge it into its base and give that folder")
    config = read_json(folder / "config.json")
    _refuse_code(folder, config)
    quantised = config.get("quantization_config")
    if quantised:
        how = quantised.get("quant_method", "?") if isinstance(quantised, dict) else "?"
        raise ModelError(
            f"{folder / 'config.json'}: weights quantised by {how} found, expected whole ones; give the model that "
            "they were made from (lora.base: nf4 or int8 trains an adapter over it quantised)"
        )
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        if (folder / name).exists():
            read_json(folder / name)
    weights = weight_files(folder)
    headers = {name: tensor_headers(folder / name) for name in weights}
    _every_shard_as_indexed(folder, headers)
    tensors = [entry for header in headers.values() for entry in header.values()]
    template = has_chat_template(folder)
    if needs_chat_template and not template:
        raise ModelError(
            f"{folder}: the tokenizer has no chat template, and this run talks in turns; "
            "give one with model.chat_template (a Jinja file)"
        )
    return FolderFacts(
        model_type=str(config.get("model_type", "")),
        n_parameters=sum(math.prod(entry["shape"]) for entry in tensors),
        dtypes=tuple(sorted({entry["dtype"] for entry in tensors})),
        has_chat_template=template,
        weight_files=tuple(weights),
    )


def weight_files(folder: Path) -> list[str]:
    """Names of the safetensors files; ModelError where there are none, or only pickles."""
    index = folder / "model.safetensors.index.json"
    if index.exists():
        shards = read_json(index).get("weight_map", {})
        if not isinstance(shards, dict) or not shards:
            raise ModelError(f"{index}: weight_map is missing or empty; download the folder again")
        names = sorted({str(name) for name in shards.values()})
        for name in names:
            if Path(name).name != name:
                raise ModelError(f"{index}: a shard named {name!r} lies outside the folder; refused")
            if not (folder / name).exists():
                raise ModelError(f"{folder / name}: missing, though the index lists it; download the folder again")
        return names
    if (folder / "model.safetensors").exists():
        return ["model.safetensors"]
    pickles = sorted(p.name for p in folder.iterdir() if p.suffix in PICKLES)
    if pickles:
        raise ModelError(
            f"{folder / pickles[0]}: pickle weights can run code and are refused; convert the model to safetensors"
        )
    raise ModelError(f"{folder}: no safetensors weights (expected model.safetensors, or an index and its shards)")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file of a model folder."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ModelError(
            f"{path}: missing (expected a model folder with config.json and safetensors weights)"
        ) from None
    _refuse_stand_in(path, data[:512])
    try:
        value = json.loads(data)
    except ValueError as error:
        raise ModelError(f"{path}: not JSON: {error}") from error
    if not isinstance(value, dict):
        raise ModelError(f"{path}: {type(value).__name__} found, expected a JSON object")
    return value


def tensor_headers(path: Path) -> dict[str, dict[str, Any]]:
    """Name → {dtype, shape, data_offsets} of a safetensors file whose size and offsets are as its header says."""
    size = path.stat().st_size
    with open(path, "rb") as stream:
        start = stream.read(512)
        _refuse_stand_in(path, start)
        if size < 8:
            raise ModelError(f"{path}: {size} bytes are no safetensors file; download it again")
        (length,) = struct.unpack("<Q", start[:8])
        if length > min(MAX_HEADER_BYTES, size - 8):
            raise ModelError(f"{path}: not a safetensors file, or cut off inside its header; download it again")
        stream.seek(8)
        raw = stream.read(length)
    try:
        header = json.loads(raw, object_pairs_hook=lambda pairs: _unique(pairs, path))
    except ValueError as error:
        raise ModelError(f"{path}: its header is not JSON; download it again") from error
    header.pop("__metadata__", None)
    end = 0
    try:
        for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
            first, last = entry["data_offsets"]
            wanted = math.prod(entry["shape"]) * ITEM_BYTES[entry["dtype"]]
            if first != end or last - first != wanted or any(n < 0 for n in entry["shape"]):
                raise ModelError(f"{path}: tensor {name} does not lie where its shape says; download it again")
            end = last
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{path}: its header is malformed ({error!r}); download it again") from error
    if 8 + length + end != size:
        raise ModelError(
            f"{path}: {size:,} bytes found, {8 + length + end:,} expected: truncated or overlong; download it again"
        )
    return header  # type: ignore[no-any-return]


def has_chat_template(folder: Path) -> bool:
    """Whether the folder's tokenizer carries a chat template."""
    if (folder / "chat_template.jinja").exists():
        return True
    settings = folder / "tokenizer_config.json"
    return settings.exists() and bool(read_json(settings).get("chat_template"))


def _refuse_code(folder: Path, config: dict[str, Any]) -> None:
    for place, value in _walk(config):
        key = place[-1]
        if key in ("auto_map", "custom_pipelines"):
            raise ModelError(f"{folder / 'config.json'}: {'.'.join(place)} asks to run code from the folder; refused")
        if key.startswith("_attn_implementation") and value not in (None, "eager", "sdpa", "flash_attention_2"):
            raise ModelError(f"{folder / 'config.json'}: {'.'.join(place)}: {value!r} may load foreign code; refused")
    settings = folder / "tokenizer_config.json"
    if settings.exists() and "auto_map" in read_json(settings):
        raise ModelError(f"{settings}: auto_map asks to run code from the folder; refused")
    scripts = sorted(p.name for p in folder.iterdir() if p.suffix == ".py")
    if scripts:
        raise ModelError(
            f"{folder / scripts[0]}: a model folder with code is refused; remove it if the model loads without"
        )


def _walk(value: Any, place: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield (*place, str(key)), item
            yield from _walk(item, (*place, str(key)))


def _refuse_stand_in(path: Path, start: bytes) -> None:
    if start.startswith(b"version https://git-lfs"):
        raise ModelError(f"{path}: a git-lfs pointer, not the file itself; run `git lfs pull` there")
    if start.lstrip()[:15].lower().startswith((b"<!doctype html", b"<html")):
        raise ModelError(f"{path}: an HTML page, not the file itself; download it again")


def _unique(pairs: Sequence[tuple[str, Any]], path: Path) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ModelError(f"{path}: {twice} stands twice in its header; refused")
    return found


def _every_shard_as_indexed(folder: Path, headers: dict[str, dict[str, Any]]) -> None:
    index = folder / "model.safetensors.index.json"
    if not index.exists():
        return
    for tensor, shard in read_json(index)["weight_map"].items():
        if tensor not in headers[shard]:
            raise ModelError(
                f"{folder / shard}: tensor {tensor} is missing, though the index lists it; download it again"
            )
