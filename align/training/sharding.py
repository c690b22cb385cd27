"""How weights, gradients and optimizer states are spread over processes, as transformers and DeepSpeed are told."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from align.configs import RuntimeConfig
from align.errors import BackendError, TrainingError
from align.training.ranks import world


def spread(runtime: RuntimeConfig, base: str = "float32") -> dict[str, Any]:
    """Arguments of a transformers Trainer; TrainingError where the spreading asked for would be left out in silence.

    ZeRO as in Rajbhandari et al. 2020 (arXiv:1910.02054): stage 2 shards gradients and optimizer states, stage 3 the
    weights too; FSDP2 shards all three, a layer at a time.
    """
    if runtime.sharding == "none":
        return {}
    if world() == 1:
        raise TrainingError(f"runtime.sharding: {runtime.sharding}: there is 1 process; set runtime.processes to 2")
    if runtime.sharding == "fsdp2":
        if runtime.device == "cpu":
            raise TrainingError(
                "runtime.sharding: fsdp2: on a CPU transformers trains without sharding and says nothing; use zero2, "
                "zero3 or none"
            )
        return {"fsdp": "full_shard", "fsdp_config": {"fsdp_version": 2, "reshard_after_forward": True}}
    if runtime.sharding == "zero3" and base != "float32":
        raise TrainingError(f"runtime.sharding: zero3 over a base in {base} cannot be saved here; use zero2")
    if find_spec("deepspeed") is None:
        raise BackendError("runtime.sharding: deepspeed is not installed; run: pip install 'align-prefs[deepspeed]'")
    if runtime.device == "cpu" and os.environ.get("ACCELERATE_USE_CPU"):
        raise TrainingError("ACCELERATE_USE_CPU is set, with which DeepSpeed is ignored in silence; unset it")
    return {"deepspeed": zero(2 if runtime.sharding == "zero2" else 3)}


def zero(stage: int) -> dict[str, Any]:
    """DeepSpeed's settings; `auto` is filled in by transformers from its own."""
    return {
        "zero_optimization": {
            "stage": stage,
            "overlap_comm": True,
            "contiguous_gradients": True,
            "stage3_gather_16bit_weights_on_model_save": stage == 3,
        },
        # torch's AdamW, on a CPU too: DeepSpeed's own would have to be compiled
        "zero_force_ds_cpu_optimizer": False,
        "zero_allow_untested_optimizer": True,
        "bf16": {"enabled": "auto"},
        "gradient_clipping": "auto",
        "gradient_accumulation_steps": "auto",
        "train_batch_size": "auto",
        "train_micro_batch_size_per_gpu": "auto",
    }


@contextmanager
def whole_weights(model: Any) -> Iterator[None]:
    """Within, every process has all weights of a model that ZeRO-3 has sharded."""
    sharded = [p for p in model.parameters() if hasattr(p, "ds_status")]
    if not sharded:
        yield
        return
    import deepspeed

    with deepspeed.zero.GatheredParameters(sharded):
        yield


def sharded(model: Any) -> bool:
    """Whether ZeRO-3 has taken a model's weights apart."""
    return any(hasattr(p, "ds_status") for p in model.parameters())


@contextmanager
def not_yet_sharded(arguments: Any) -> Iterator[None]:
    """Within, TRL takes weights as they are: until the first step ZeRO-3 has not touched them, and TRL would look for
    what it puts on them.
    """
    from transformers.integrations.deepspeed import set_hf_deepspeed_config, unset_hf_deepspeed_config

    settings = getattr(arguments, "hf_deepspeed_config", None)
    if settings is None:
        yield
        return
    unset_hf_deepspeed_config()
    try:
        yield
    finally:
        set_hf_deepspeed_config(settings)


def copied(model: Any) -> Any:
    """A model of the same kind, adapter included, with the weights that are there now."""
    plain = model.get_base_model() if hasattr(model, "peft_config") else model
    made = type(plain)(plain.config)
    made.generation_config = plain.generation_config
    if plain is not model:
        from peft import get_peft_model

        made = get_peft_model(made, model.peft_config[model.active_adapter])
    made.load_state_dict({name: tensor.detach().clone() for name, tensor in model.state_dict().items()})
    return made.eval()
