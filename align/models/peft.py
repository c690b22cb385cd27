"""The one builder of everything that learns less than all weights: PEFT's adapters, frozen parts, new tokens."""

from __future__ import annotations

import re
from collections.abc import Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch

from align.configs import IA3, LoRA, PromptTuning, TrainingConfig
from align.errors import BackendError, ModelError
from align.models.folder import inspect_folder
from align.models.load import first_line


def quantised(folder: Path, kind: str, *, compute: str, attention: str, device: str) -> Any:
    """The causal model of a folder with its linear layers in `nf4` or `int8`, by bitsandbytes, on a CPU too."""
    from importlib.util import find_spec

    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    if find_spec("bitsandbytes") is None:
        raise BackendError(
            f"lora.base: {kind} needs bitsandbytes, which is not installed; run: pip install 'align-prefs[quant]', "
            "or use lora.base: float32"
        )
    inspect_folder(folder)
    if kind == "nf4":
        how = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=getattr(torch, compute),
        )  # fmt: skip
    else:
        how = BitsAndBytesConfig(load_in_8bit=True)
    try:
        model = AutoModelForCausalLM.from_pretrained(
            str(folder),
            dtype=torch.float32,
            attn_implementation=attention,
            quantization_config=how,
            device_map={"": device},
            trust_remote_code=False,
            use_safetensors=True,
            local_files_only=True,
        )
    except (OSError, ValueError, RuntimeError, KeyError, ImportError) as error:
        raise ModelError(f"{folder}: cannot be loaded in {kind}: {first_line(error)}") from error
    for module in model.modules():
        # where a CPU has bfloat16, bitsandbytes would compute whatever needs no gradient in it, and round the weights
        # for good: the reference would be another model than the policy
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
    return model.eval()


def adapter_config(config: TrainingConfig, model: Any, tokenizer: Any, *, task: str = "CAUSAL_LM") -> Any:
    """PEFT's form of the adapter's knobs, or None for a full fine-tune; ModelError where it does not fit the model.

    `task` is PEFT's: with `SEQ_CLS` the reward head learns too, and is saved with the adapter.
    """
    if config.lora is not None:
        found = lora_config(config.lora, model, task)
        if config.new_tokens:
            ids = [tokenizer.convert_tokens_to_ids(token) for token in config.new_tokens]
            name = next(n for n, m in model.named_modules() if m is model.get_input_embeddings()).rpartition(".")[2]
            found.trainable_token_indices = {name: ids}
            _headed_without_bias(model)
        return found
    if config.ia3 is not None:
        return ia3_config(config.ia3, model, task)
    if config.prompt_tuning is not None:
        return prompt_config(config.prompt_tuning, model, tokenizer)
    return None


def lora_config(lora: LoRA, model: Any, task: str) -> Any:
    """LoRA, rsLoRA or DoRA on the modules and layers asked for."""
    from peft import LoraConfig

    targets: str | list[str] = "all-linear"
    if lora.targets != "all-linear":
        targets = _known([lora.targets] if isinstance(lora.targets, str) else lora.targets, model, "lora.targets")
    if lora.layers is not None:
        n_layers = int(model.config.get_text_config().num_hidden_layers)
        if max(lora.layers) >= n_layers:
            raise ModelError(f"lora.layers: {max(lora.layers)} found, and this model has layers 0 to {n_layers - 1}")
        if targets == "all-linear":
            # PEFT takes layers with named modules only
            targets = linear_names(model)
    return LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=targets,
        layers_to_transform=None if lora.layers is None else list(lora.layers),
        use_rslora=lora.rslora,
        use_dora=lora.dora,
        bias="none",
        task_type=task,
        modules_to_save=["score"] if task == "SEQ_CLS" else None,
    )


def ia3_config(ia3: IA3, model: Any, task: str) -> Any:
    """IA3 on the modules asked for, or those that PEFT knows for the family."""
    from peft import IA3Config
    from peft.utils.constants import TRANSFORMERS_MODELS_TO_IA3_FEEDFORWARD_MODULES_MAPPING as INNER
    from peft.utils.constants import TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING as ALL

    kind = model.config.get_text_config().model_type
    targets = ALL.get(kind) if ia3.targets is None else _known(ia3.targets, model, "ia3.targets")
    if targets is None:
        raise ModelError(
            f"ia3.targets: PEFT knows none for the family {kind!r}; name modules, such as its key, value and second "
            "feed-forward projections, and the last of them in ia3.feedforward"
        )
    inner = INNER.get(kind, []) if ia3.feedforward is None else _known(ia3.feedforward, model, "ia3.feedforward")
    return IA3Config(
        target_modules=list(targets),
        feedforward_modules=[name for name in inner if name in targets],
        task_type=task,
        modules_to_save=["score"] if task == "SEQ_CLS" else None,
    )


def prompt_config(prompt: PromptTuning, model: Any, tokenizer: Any) -> Any:
    """Prompt tuning; its vectors begin as those of a text, or of tokens drawn by torch's seed."""
    from peft import PromptTuningConfig

    return PromptTuningConfig(
        num_virtual_tokens=prompt.tokens,
        prompt_tuning_init="SAMPLE_VOCAB" if prompt.text is None else "TEXT",
        prompt_tuning_init_text=prompt.text,
        tokenizer_name_or_path=None if prompt.text is None else str(tokenizer.name_or_path),
        tokenizer_kwargs=None if prompt.text is None else {"local_files_only": True},
        task_type="CAUSAL_LM",
    )


def freeze(model: Any, patterns: Sequence[str]) -> int:
    """Take from learning every parameter that one of the patterns names; how many numbers still learn.

    ModelError where a pattern names nothing, or nothing is left.
    """
    names = [name for name, _ in model.named_parameters()]
    for pattern in patterns:
        found = [name for name in names if fnmatchcase(name, pattern)]
        if not found:
            near = ", ".join(get_close_matches(pattern, names, n=3, cutoff=0.3) or names[:3])
            raise ModelError(f"freeze: {pattern!r} names no parameter of this model (it has {near})")
        for name in found:
            model.get_parameter(name).requires_grad_(False)
    left: int = sum(p.numel() for p in model.parameters() if p.requires_grad)
    if not left:
        raise ModelError("freeze: every parameter is frozen, so nothing would be learnt; leave some pattern out")
    return left


def add_tokens(model: Any, tokenizer: Any, tokens: Sequence[str]) -> None:
    """Put new tokens into the vocabulary; their vectors, in and out, begin as the mean of those there are."""
    for token in tokens:
        if token in tokenizer.get_vocab():
            raise ModelError(f"new_tokens: {token!r} is in the vocabulary already; leave it out")
    n_before = int(model.get_input_embeddings().weight.shape[0])
    tokenizer.add_tokens(list(tokens))
    if len(tokenizer) > n_before:
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    ids = [tokenizer.convert_tokens_to_ids(token) for token in tokens]
    known = min(ids)
    weights = {id(w): w for w in (model.get_input_embeddings().weight, model.get_output_embeddings().weight)}
    with torch.no_grad():
        for weight in weights.values():
            weight[ids] = weight[:known].mean(0)


def _headed_without_bias(model: Any) -> None:
    """Where the head is tied to the embedding, PEFT wraps it for new tokens in something that does not say `bias`."""
    from peft.utils.other import TrainableTokensWrapper

    if tied(model) and getattr(model.get_output_embeddings(), "bias", None) is not None:
        raise ModelError(
            "new_tokens: this model's head is tied and has a bias, beside which an adapter cannot learn them"
        )
    TrainableTokensWrapper.bias = None


def linear_names(model: Any) -> list[str]:
    """Last names of the linear modules, the head left out."""
    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    found = {
        name.rpartition(".")[2]
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) or type(module).__name__ == "Conv1D"
        if module is not head and not re.fullmatch(r"(score|classifier)", name)
    }
    return sorted(found)


def tied(model: Any) -> bool:
    """Whether the head's weights are those of the embedding."""
    out = model.get_output_embeddings()
    return out is not None and out.weight is model.get_input_embeddings().weight


def _known(targets: Sequence[str], model: Any, knob: str) -> list[str]:
    modules = {name.rpartition(".")[2]: m for name, m in reversed(list(model.named_modules())) if hasattr(m, "weight")}
    head = getattr(model.get_output_embeddings(), "weight", None) if hasattr(model, "get_output_embeddings") else None
    for target in targets:
        if target not in modules:
            near = ", ".join(get_close_matches(target, sorted(modules), n=3) or sorted(modules)[:8])
            hint = "; use `all-linear`" if knob == "lora.targets" else ""
            raise ModelError(f"{knob}: {target!r} is no module of this model (it has {near}){hint}")
        if head is not None and modules[target].weight is head:
            raise ModelError(f"{knob}: {target!r} is the model's head, which cannot have an adapter; leave it out")
    return list(targets)
