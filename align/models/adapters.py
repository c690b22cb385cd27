"""A PEFT adapter that lies in a folder, put on the model that it was trained on and folded into its weights."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

from align.errors import ModelError
from align.models.apart import distance, made_up_rows, predicted
from align.models.load import finite, first_line

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
HUB_ID = re.compile(r"[\w-][\w.-]*/[\w.-]+")
COMMIT = re.compile(r"[0-9a-f]{40}")


TOLERANCE = 1e-4
"""Nats a token by which a merged model may part from the one with its adapter on, in float32."""


def merge(model: Any, folder: Path) -> Any:
    """The model, in float32, with the adapter folded in; ModelError where it does not fit.

    The two are compared on made-up rows of tokens: past `TOLERANCE`, the merge is refused.
    """
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
    if settings.get("peft_type") in ("PROMPT_TUNING", "PREFIX_TUNING", "P_TUNING"):
        raise ModelError(
            f"{folder}: {settings['peft_type']} puts vectors before the text, which no weights can be merged with; "
            "give the `model` folder that the stage wrote beside it"
        )
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    try:
        adapted = PeftModel.from_pretrained(model, str(folder), local_files_only=True)
        rows = made_up_rows(model)
        told = [predicted(adapted.eval(), ids) for ids in rows]
        merged = adapted.merge_and_unload(safe_merge=True)
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        raise ModelError(
            f"{folder}: does not fit this model: {first_line(error)}; was it trained on another?"
        ) from error
    finite(merged, str(folder))
    kl = distance(told, [predicted(merged.eval(), ids) for ids in rows])["kl"]
    if not kl <= TOLERANCE:
        raise ModelError(
            f"{folder}: folded into the weights it is {kl:.1e} nats a token away from itself, {TOLERANCE:g} allowed"
        )
    after = merged.state_dict()
    if all(tensor.equal(after[name]) for name, tensor in before.items() if name in after):
        raise ModelError(
            f"{folder}: changes none of this model's weights; was it trained on another, or never trained?"
        )
    return merged


def refuse_other_base(folder: Path, name: str, revision: str) -> None:
    """ModelError where the adapter names another model of the hub, or another commit of it, than it is put on.

    Two commits of one model have weights of equal shape: nothing but the name tells them apart.
    """
    settings = config(folder)
    base, commit = settings.get("base_model_name_or_path"), settings.get("revision")
    if not isinstance(base, str) or not HUB_ID.fullmatch(base) or Path(base).exists():
        return
    if base.lower() != name.lower():
        raise ModelError(
            f"{folder / CONFIG}: trained on {base}, and the model is {name}; name the one it was trained on, or give "
            "the weights as model.folder where they are the same under another name"
        )
    if isinstance(commit, str) and COMMIT.fullmatch(commit) and commit != revision:
        raise ModelError(
            f"{folder / CONFIG}: trained on revision {commit[:8]}… of {name}, and the model is at {revision[:8]}…; "
            f"take model.revision: {commit}"
        )


def config(folder: Path) -> dict[str, Any]:
    """The adapter's settings."""
    try:
        settings = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise ModelError(f"{folder / CONFIG}: cannot be read: {error}; expected a PEFT adapter's folder") from error
    if not isinstance(settings, dict):
        raise ModelError(f"{folder / CONFIG}: {type(settings).__name__} found, expected an object")
    return settings
