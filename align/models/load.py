"""Models and tokenizers in from a folder, out to a folder: safetensors only, no code, no accident in the bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from align.errors import ModelError
from align.models.folder import inspect_folder


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer of a model folder: a fast one, for answers are found by the places of tokens in the text."""
    try:
        tokenizer = _tokenizer_class(folder).from_pretrained(
            str(folder), trust_remote_code=False, local_files_only=True
        )
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder}: its tokenizer cannot be loaded: {first_line(error)}") from error
    if not getattr(tokenizer, "is_fast", False):
        raise ModelError(f"{folder}: its tokenizer has no tokenizer.json (a fast tokenizer), which `align` needs")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _tokenizer_class(folder: Path) -> Any:
    """The plain class where the folder names it, for finding that out by `AutoTokenizer` costs 200 MB of memory."""
    try:
        named = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8")).get("tokenizer_class")
    except (OSError, ValueError, AttributeError):
        named = None
    if named in ("PreTrainedTokenizerFast", "TokenizersBackend"):
        from transformers import PreTrainedTokenizerFast

        return PreTrainedTokenizerFast
    from transformers import AutoTokenizer

    return AutoTokenizer


def load_model(folder: Path, *, dtype: str = "float32", attention: str = "sdpa", device: str = "cpu") -> Any:
    """The causal language model of a folder, in evaluation mode; `dtype` is torch's name, or `auto` for as stored."""
    import torch
    from transformers import AutoModelForCausalLM

    inspect_folder(folder)
    try:
        model, report = AutoModelForCausalLM.from_pretrained(
            str(folder),
            dtype="auto" if dtype == "auto" else getattr(torch, dtype),
            attn_implementation=attention,
            trust_remote_code=False,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise ModelError(f"{folder}: cannot be loaded as a causal language model: {first_line(error)}") from error
    missing = sorted(report["missing_keys"])
    if missing:
        raise ModelError(
            f"{folder}: weights are missing for {missing[0]} and {len(missing) - 1} more; they would be random"
        )
    finite(model, str(folder))
    _say_untied(model)
    return model.to(device).eval()


def _say_untied(model: Any) -> None:
    """Where a folder says that head and embedding are one but holds two that differ, both are kept, and it is said.

    transformers keeps them apart; other engines would believe the settings.
    """
    out = model.get_output_embeddings()
    if model.config.tie_word_embeddings and out is not None and out.weight is not model.get_input_embeddings().weight:
        model.config.tie_word_embeddings = False
        model.config.get_text_config().tie_word_embeddings = False


def every_token_has_a_vector(model: Any, tokenizer: Any, where: Path) -> None:
    """Refuse a tokenizer that knows more tokens than the model has vectors for."""
    n_vectors = int(model.get_input_embeddings().weight.shape[0])
    last = max(tokenizer.get_vocab().values(), default=0)
    if last >= n_vectors:
        raise ModelError(
            f"{where}: its tokenizer has a token {last}, and the model has vectors for 0 to {n_vectors - 1}; "
            "was the tokenizer changed without the model? add tokens by new_tokens instead"
        )


def finite(model: Any, where: str) -> None:
    """Refuse a model with a NaN or an infinity among its weights."""
    import torch

    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise ModelError(f"{where}: {name} holds NaN or infinity; the weights are damaged")


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write a folder whose bytes depend on weights, settings and tokenizer alone: no path, no time, no origin."""
    folder.mkdir(parents=True, exist_ok=True)
    model.config._name_or_path = ""
    model.config.use_cache = True
    _sound_generation(model, folder)
    model.save_pretrained(str(folder), safe_serialization=True)
    tokenizer.padding_side = "right"
    tokenizer.save_pretrained(str(folder))
    for name in ("config.json", "generation_config.json", "tokenizer_config.json"):
        path = folder / name
        if path.exists():
            settings = {key: value for key, value in json.loads(path.read_text("utf-8")).items() if key not in ORIGINS}
            path.write_text(json.dumps(settings, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
    for path in folder.glob("*.safetensors"):
        path.chmod(0o644)


def _sound_generation(model: Any, folder: Path) -> None:
    """Mend published settings that name a temperature and forget to sample; transformers refuses to write them."""
    settings = getattr(model, "generation_config", None)
    if settings is None:
        return
    try:
        settings.validate(strict=True)
    except ValueError:
        settings.do_sample = True
        try:
            settings.validate(strict=True)
        except ValueError as error:
            raise ModelError(f"{folder}: generation_config.json cannot be written: {first_line(error)}") from error


def save_adapter(model: Any, folder: Path) -> None:
    """Write an adapter by PEFT; its settings name no base folder, and what PEFT keeps as sets is put in order."""
    model.save_pretrained(str(folder), safe_serialization=True)
    (folder / "README.md").unlink(missing_ok=True)
    path = folder / "adapter_config.json"
    settings = json.loads(path.read_text("utf-8"))
    settings["base_model_name_or_path"] = None
    if settings.get("tokenizer_name_or_path"):
        # a learnt prompt is read back from its vectors; where the text that it began as was cut up is of no use
        settings |= {"tokenizer_name_or_path": None, "prompt_tuning_init": "RANDOM"}
        settings |= {"prompt_tuning_init_text": None, "tokenizer_kwargs": None}
    for key in ("target_modules", "exclude_modules", "modules_to_save"):
        if isinstance(settings.get(key), list):
            settings[key].sort()
    path.write_text(json.dumps(settings, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
    (folder / "adapter_model.safetensors").chmod(0o644)


def adapter_rank(folder: Path) -> int:
    """The rank of a LoRA adapter; ModelError where the folder holds none."""
    try:
        settings = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
        kind, rank = settings["peft_type"], int(settings["r"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"{folder}: no LoRA adapter (expected adapter_config.json with peft_type and r, and its safetensors)"
        ) from error
    if kind != "LORA" or rank < 1 or not (folder / "adapter_model.safetensors").is_file():
        raise ModelError(f"{folder}: {kind} of rank {rank} found, expected LoRA weights in adapter_model.safetensors")
    return rank


ORIGINS = ("_name_or_path", "name_or_path", "_from_model_config", "is_local", "local_files_only")
"""Keys that say where a folder was loaded from."""


def end_ids(model_or_settings: Any, tokenizer: Any) -> list[int]:
    """Every token that ends an answer: what generation stops at, and the tokenizer's end of text."""
    settings = getattr(model_or_settings, "generation_config", model_or_settings)
    found = getattr(settings, "eos_token_id", None)
    ends = set(found if isinstance(found, (list, tuple)) else [found]) | {tokenizer.eos_token_id}
    return sorted(int(token) for token in ends if token is not None)


def context(model: Any) -> int:
    """The most tokens that a model has places for."""
    found = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return int(found) if found else 2**31


def first_line(error: BaseException) -> str:
    """The first line of a foreign error, shortened, for a message of ours."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:300]
