"""A GGUF file, imported once: de-quantised by transformers' own reader, its end-of-text tokens from its metadata."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from align.errors import ModelError
from align.models.load import finite, first_line


def import_gguf(file: Path, *, dtype: str = "bfloat16") -> tuple[Any, Any, str]:
    """Model, tokenizer, and the name of the quantisation.

    The reader leaves three things wrong, mended here: end of text and padding are not those of the file's metadata
    (generation would never stop), the model calls itself quantised and refuses to be saved, and it names the file's
    title as its origin.
    """
    import torch
    from gguf import GGMLQuantizationType, GGUFReader
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    refuse_other(file)
    try:
        reader = GGUFReader(str(file))
        kinds = {GGMLQuantizationType(tensor.tensor_type).name for tensor in reader.tensors}
        special = {name: control(reader, name) for name in ("bos", "eos", "padding", "unknown")}
        loaded = AutoModelForCausalLM.from_pretrained(str(file.parent), gguf_file=file.name, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name)
    except (OSError, ValueError, KeyError, IndexError, NotImplementedError) as error:
        raise ModelError(f"{file}: cannot be read as a GGUF model: {first_line(error)}") from error
    if special["eos"] is None:
        raise ModelError(f"{file}: its metadata names no end-of-text token (tokenizer.ggml.eos_token_id)")
    if special["padding"] is None:
        special["padding"] = special["eos"]
    for ours, theirs in (("bos", "bos"), ("eos", "eos"), ("pad", "padding"), ("unk", "unknown")):
        token = special[theirs]
        setattr(tokenizer, f"{ours}_token", None if token is None else tokenizer.convert_ids_to_tokens(token))
    tokenizer.clean_up_tokenization_spaces = False
    config = loaded.config
    for key in ("quantization_config", "_pre_quantization_dtype", "_model_name_or_path"):
        if hasattr(config, key):
            delattr(config, key)
    config.bos_token_id, config.eos_token_id, config.pad_token_id = special["bos"], special["eos"], special["padding"]
    config._name_or_path = ""
    model = type(loaded)(config).to(torch.float32)
    model.load_state_dict(loaded.state_dict())
    model.tie_weights()
    model.generation_config = GenerationConfig(
        bos_token_id=special["bos"], eos_token_id=special["eos"], pad_token_id=special["padding"]
    )
    finite(model, str(file))
    quantised = "+".join(sorted(kinds - {"F32", "F16", "BF16"})) or "none"
    return model.to(getattr(torch, dtype)), tokenizer, quantised


def control(reader: Any, name: str) -> int | None:
    """The id of a control token, as the file's metadata says."""
    field = reader.get_field(f"tokenizer.ggml.{name}_token_id")
    return None if field is None else int(field.contents())


def refuse_other(file: Path) -> None:
    """ModelError for what is no GGUF file."""
    try:
        with open(file, "rb") as stream:
            magic = stream.read(64)
    except OSError as error:
        raise ModelError(f"{file}: cannot be read: {error.strerror}") from error
    if not magic.startswith(b"GGUF"):
        raise ModelError(f"{file}: not a GGUF file (its first bytes are {magic[:12]!r}); download it again")
