"""What draws the answers that a policy learns from: our own sampler, or vLLM where TRL can hand it the weights."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from align.configs import RLHFConfig
from align.configs.rlhf import Engine
from align.errors import UsageError

DRAWN_BY = {
    "transformers": "transformers, by the library's own sampler",
    "vllm": "vLLM in this process, not the same ones after a kill",
    "vllm_server": "a vLLM server, not the same ones after a kill",
}


def drawn_by_vllm(config: RLHFConfig) -> dict[str, Any]:
    """TRL's names for the engine, where it is not ours; the learnt answers are then weighed for the two engines' small
    differences, as TRL does by default.
    """
    engine = config.engine
    if engine.name == "transformers":
        return {}
    if engine.name == "vllm_server":
        return {"use_vllm": True, "vllm_mode": "server", "vllm_server_base_url": engine.url}
    return {
        "use_vllm": True,
        "vllm_mode": "colocate",
        "vllm_gpu_memory_utilization": engine.memory_share,
        "vllm_max_model_length": config.max_tokens,
    }


def refuse_vllm_without_gpu(engine: Engine, device: str) -> None:
    """UsageError where TRL cannot hand its weights to vLLM."""
    if engine.name == "transformers":
        return
    if device == "cpu":
        raise UsageError(
            f"rlhf.engine.name: {engine.name} found, and this run is on a CPU, where TRL cannot hand the policy's "
            "weights to vLLM; take `transformers`"
        )
    if find_spec("vllm") is None:
        raise UsageError(
            f"rlhf.engine.name: {engine.name} needs vLLM in this environment; run: pip install 'align-prefs[vllm]', or "
            "take `transformers`"
        )
