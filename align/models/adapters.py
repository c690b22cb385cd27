"""A PEFT adapter that lies in a folder, put on the model that it was trained on and folded into its weights."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from align.errors import ModelError
from align.models.load import finite, first_line

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def merge(model: Any, folder: Path) -> Any:
    """The model with the adapter folded in, in the model's own number format; ModelError where it does not fit."""
    from peft import PeftModel

    settings = config(folder)
    if not (folder / WEIGHTS).is_file():
        raise ModelError(f"{folder}: has no {WEIGHTS}; expected a PEFT adapter as safetensors")
    if settings.get("peft_type") == "LORA":
        rank, alpha = settings.get("r"), settings.get("lora_alpha")
        if not (isinstance(rank, int) and rank > 0):
            raise ModelError(f"{folder}: r {rank!r} found, expected a rank of at least 1; the adapter is empty")
        if not (isinstance(alpha, (int, float)) and math.isfinite(alpha)):
            raise ModelError(f"{folder}: lora_alpha {alpha!r} found, expected a number")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    try:
        adapted = PeftModel.from_pretrained(model, str(folder), local_files_only=True)
        merged = adapted.merge_and_unload(safe_merge=True)
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        raise ModelError(
            f"{folder}: does not fit this model: {first_line(error)}; was it trained on another?"
        ) from error
    finite(merged, str(folder))
    after = merged.state_dict()
    if all(tensor.equal(after[name]) for name, tensor in before.items() if name in after):
        raise ModelError(
            f"{folder}: changes none of this model's weights; was it trained on another, or never trained?"
        )
    return merged


def config(folder: Path) -> dict[str, Any]:
    """The adapter's settings."""
    try:
        settings = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise ModelError(f"{folder / CONFIG}: cannot be read: {error}; expected a PEFT adapter's folder") from error
    if not isinstance(settings, dict):
        raise ModelError(f"{folder / CONFIG}: {type(settings).__name__} found, expected an object")
    return settings
