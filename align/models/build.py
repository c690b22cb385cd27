"""The one place where a model is put together for training: base weights in float32, and an adapter if asked for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from align.configs import LoRA, RuntimeConfig, TrainingConfig
from align.models.load import every_token_has_a_vector, load_model, load_tokenizer


def build(folder: Path, learnt: TrainingConfig | LoRA | None, runtime: RuntimeConfig) -> tuple[Any, Any, Any]:
    """Model, tokenizer, and PEFT's config (or None). A `LoRA` alone stands for a config with that and nothing else.

    Weights are float32 whatever the folder holds: with bfloat16 the products are computed by autocast, while the
    updates of a small learning rate would be lost in weights of 8 bits of mantissa. A base that stays frozen may be
    quantised; its adapter is float32.
    """
    from align.models import peft

    config = learnt if isinstance(learnt, TrainingConfig) else TrainingConfig(lora=learnt)
    attention, base = attention_for(runtime), "float32" if config.lora is None else config.lora.base
    if base == "float32":
        model = load_model(folder, dtype="float32", attention=attention)
    else:
        # each of several processes has the GPU of its number
        device = "cpu" if runtime.device == "cpu" else f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
        model = peft.quantised(folder, base, compute=str(runtime.dtype), attention=attention, device=device)
    tokenizer = load_tokenizer(folder)
    every_token_has_a_vector(model, tokenizer, folder)
    if config.new_tokens:
        peft.add_tokens(model, tokenizer, config.new_tokens)
    if config.freeze:
        peft.freeze(model, config.freeze)
    return model, tokenizer, peft.adapter_config(config, model, tokenizer)


def attention_for(runtime: RuntimeConfig) -> str:
    """On a CPU in bfloat16, plain attention is faster than the fused kernel at the short lengths trained there."""
    return "eager" if runtime.device == "cpu" and runtime.dtype == "bfloat16" else "sdpa"
