"""The one place where a model is put together for training: base weights in float32, and an adapter if asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from align.configs import LoRA, RuntimeConfig
from align.models.load import load_model, load_tokenizer


def build(folder: Path, lora: LoRA | None, runtime: RuntimeConfig) -> tuple[Any, Any, Any]:
    """Model, tokenizer, and PEFT's config (or None).

    Weights are float32 whatever the folder holds: with bfloat16 the products are computed by autocast, while the
    updates of a small learning rate would be lost in weights of 8 bits of mantissa.
    """
    model = load_model(folder, dtype="float32", attention=attention_for(runtime))
    return model, load_tokenizer(folder), None if lora is None else adapter_config(lora)


def attention_for(runtime: RuntimeConfig) -> str:
    """On a CPU in bfloat16, plain attention is faster than the fused kernel at the short lengths trained there."""
    return "eager" if runtime.device == "cpu" and runtime.dtype == "bfloat16" else "sdpa"


def adapter_config(lora: LoRA) -> Any:
    """PEFT's form of the adapter's knobs."""
    from peft import LoraConfig

    targets = lora.targets if isinstance(lora.targets, str) else list(lora.targets)
    return LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=targets,
        bias="none",
        task_type="CAUSAL_LM",
    )
