"""Tiny random models of the families that prompt trees are held to, each with a trait that could go wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import transformers as hf

BASE = {"vocab_size": 97, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
WIDE = {**BASE, "max_position_embeddings": 160, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
FULL = {**WIDE, "intermediate_size": 48}
GROUPED = {**FULL, "num_key_value_heads": 2}
MIXED = ["sliding_attention", "full_attention"]

FAMILIES: dict[str, Callable[[], Any]] = {
    "llama": lambda: hf.LlamaForCausalLM(hf.LlamaConfig(**GROUPED)),
    "mistral": lambda: hf.MistralForCausalLM(hf.MistralConfig(**GROUPED, sliding_window=None)),
    "mistral_window": lambda: hf.MistralForCausalLM(hf.MistralConfig(**GROUPED, sliding_window=6)),
    "qwen2": lambda: hf.Qwen2ForCausalLM(hf.Qwen2Config(**GROUPED)),
    "qwen3": lambda: hf.Qwen3ForCausalLM(hf.Qwen3Config(**GROUPED, head_dim=8)),
    "gemma": lambda: hf.GemmaForCausalLM(hf.GemmaConfig(**GROUPED, head_dim=8)),
    "gemma2": lambda: hf.Gemma2ForCausalLM(hf.Gemma2Config(**GROUPED, head_dim=8, sliding_window=6)),
    "gemma3": lambda: hf.Gemma3ForCausalLM(
        hf.Gemma3TextConfig(**GROUPED, head_dim=8, sliding_window=6, layer_types=MIXED, final_logit_softcapping=5.0)
    ),
    "phi": lambda: hf.PhiForCausalLM(hf.PhiConfig(**FULL)),
    "phi3": lambda: hf.Phi3ForCausalLM(hf.Phi3Config(**GROUPED, sliding_window=6)),
    "olmo2": lambda: hf.Olmo2ForCausalLM(hf.Olmo2Config(**GROUPED)),
    "olmo3": lambda: hf.Olmo3ForCausalLM(hf.Olmo3Config(**GROUPED, sliding_window=6, layer_types=MIXED)),
    "smollm3": lambda: hf.SmolLM3ForCausalLM(hf.SmolLM3Config(**GROUPED)),
    "granite": lambda: hf.GraniteForCausalLM(hf.GraniteConfig(**GROUPED, logits_scaling=3.0)),
    "cohere2": lambda: hf.Cohere2ForCausalLM(hf.Cohere2Config(**GROUPED, sliding_window=6, logit_scale=0.3)),
    "starcoder2": lambda: hf.Starcoder2ForCausalLM(hf.Starcoder2Config(**GROUPED)),
    "stablelm": lambda: hf.StableLmForCausalLM(hf.StableLmConfig(**GROUPED)),
    "gpt2": lambda: hf.GPT2LMHeadModel(
        hf.GPT2Config(vocab_size=97, n_embd=32, n_layer=2, n_head=4, n_positions=160, bos_token_id=1, eos_token_id=2)
    ),
    "gpt_neox": lambda: hf.GPTNeoXForCausalLM(hf.GPTNeoXConfig(**FULL)),
    "opt": lambda: hf.OPTForCausalLM(hf.OPTConfig(**WIDE, ffn_dim=48, word_embed_proj_dim=32, dropout=0.0)),
    "qwen3_moe": lambda: hf.Qwen3MoeForCausalLM(
        hf.Qwen3MoeConfig(**GROUPED, head_dim=8, moe_intermediate_size=16, num_experts=4, num_experts_per_tok=2)
    ),
    "mixtral": lambda: hf.MixtralForCausalLM(hf.MixtralConfig(**GROUPED, num_local_experts=4)),
    "gpt_oss": lambda: hf.GptOssForCausalLM(
        hf.GptOssConfig(
            **GROUPED, head_dim=8, sliding_window=6, num_local_experts=4, num_experts_per_tok=2, rope_scaling=None
        )
    ),
}
STRANGERS: dict[str, Callable[[], Any]] = {
    "mamba": lambda: hf.MambaForCausalLM(hf.MambaConfig(vocab_size=97, hidden_size=32, num_hidden_layers=2)),
    "bloom": lambda: hf.BloomForCausalLM(hf.BloomConfig(vocab_size=97, hidden_size=32, n_layer=2, n_head=4)),
    "falcon": lambda: hf.FalconForCausalLM(hf.FalconConfig(**BASE)),
}
FLOAT32 = frozenset({"qwen3_moe", "mixtral", "gpt_oss"})
"""Families whose experts are mixed in float32 whatever is asked."""
TRULY_FLOAT64 = frozenset({"gpt2", "gpt_neox", "phi", "starcoder2", "stablelm"})
"""Families whose pass is float64 all through, norms and positions included."""


def family(name: str, *, seed: int = 0) -> Any:
    """A model in evaluation mode, in float64 where the family can, its weights far enough from zero to matter."""
    torch.manual_seed(seed)
    model = (FAMILIES | STRANGERS)[name]()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.eval() if name in FLOAT32 else model.double().eval()
