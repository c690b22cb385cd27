"""The one place where a model is put together for training: base weights in float32, and an adapter if asked for."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Any

from align.configs import LoRA, RuntimeConfig
from align.errors import ModelError
from align.models.load import load_model, load_tokenizer


def build(folder: Path, lora: LoRA | None, runtime: RuntimeConfig) -> tuple[Any, Any, Any]:
    """Model, tokenizer, and PEFT's config (or None).

    Weights are float32 whatever the folder holds: with bfloat16 the products are computed by autocast, while the
    updates of a small learning rate would be lost in weights of 8 bits of mantissa.
    """
    model = load_model(folder, dtype="float32", attention=attention_for(runtime))
    return model, load_tokenizer(folder), None if lora is None else adapter_config(lora, model)


def attention_for(runtime: RuntimeConfig) -> str:
    """On a CPU in bfloat16, plain attention is faster than the fused kernel at the short lengths trained there."""
    return "eager" if runtime.device == "cpu" and runtime.dtype == "bfloat16" else "sdpa"


def adapter_config(lora: LoRA, model: Any) -> Any:
    """PEFT's form of the adapter's knobs; ModelError where a target is no module of the model, or is its head."""
    from peft import LoraConfig

    targets: str | list[str] = "all-linear"
    if lora.targets != "all-linear":
        targets = [lora.targets] if isinstance(lora.targets, str) else list(lora.targets)
        names = {name.rsplit(".", 1)[-1] for name, module in model.named_modules() if hasattr(module, "weight")}
        for target in targets:
            if target not in names:
                near = ", ".join(get_close_matches(target, sorted(names), n=3) or sorted(names)[:8])
                raise ModelError(
                    f"lora.targets: {target!r} is no module of this model (it has {near}); use `all-linear`"
                )
            if getattr(model.get_output_embeddings(), "weight", None) is getattr(find(model, target), "weight", ()):
                raise ModelError(
                    f"lora.targets: {target!r} is the model's head, which cannot have an adapter; leave it out"
                )
    return LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=targets,
        bias="none",
        task_type="CAUSAL_LM",
    )


def find(model: Any, name: str) -> Any:
    """The first module of that last name."""
    return next(module for full, module in model.named_modules() if full.rsplit(".", 1)[-1] == name)
