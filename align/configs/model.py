"""Where the base model comes from: a hub id, a folder, a GGUF file, or text (`scratch`)."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from align.configs.base import Config, LocalPath


class Scratch(Config):
    """A byte-level BPE tokenizer and a small Llama-style model, pretrained on the recipe's own text."""

    vocabulary: int = Field(1024, ge=300, le=262_144)
    """Entries of the tokenizer, special tokens included."""
    layers: int = Field(4, ge=1, le=128)
    width: int = Field(128, ge=16, multiple_of=8)
    heads: int = Field(2, ge=1)
    kv_heads: int | None = Field(None, ge=1)
    """Defaults to `heads`."""
    context: int = Field(256, ge=16)
    """Longest sequence in tokens."""
    initializer_range: float = Field(0.02, gt=0, le=1)
    """Standard deviation of the weights at the start."""
    steps: int = Field(1000, ge=1)
    batch_size: int = Field(32, ge=1)
    """Sequences of `sequence_length` tokens a step."""
    sequence_length: int = Field(64, ge=8)
    learning_rate: float = Field(2.5e-3, gt=0, lt=1)
    """Peak of a cosine schedule."""
    warmup_share: float = Field(0.05, ge=0, lt=1)
    weight_decay: float = Field(0.1, ge=0, lt=1)
    adam_beta2: float = Field(0.95, gt=0, lt=1)
    """How long AdamW remembers squared gradients."""


class ModelConfig(Config):
    """Exactly one of `name`, `folder`, `gguf`, `scratch`, `served`."""

    name: str | None = None
    """A hub id; needs `revision`."""
    revision: str | None = Field(None, pattern=r"^[0-9a-f]{40}$")
    """The commit of the hub repository, 40 hex digits: branches move, commits do not."""
    folder: LocalPath | None = None
    """A local folder with `config.json`, safetensors weights and a tokenizer."""
    gguf: LocalPath | None = None
    """A GGUF file; imported once into a safetensors folder (de-quantised: training starts from its values)."""
    scratch: Scratch | None = None
    served: str | None = Field(None, min_length=1)
    """The name under which an endpoint serves it: it can be measured by its answers, and not tuned."""
    adapter: LocalPath | None = None
    """A folder with a PEFT adapter that was trained on this very model: it is merged into the weights."""
    adapters: tuple[LocalPath, ...] = ()
    """Several, each trained on the model that those before it had made, such as the adapters of sft and of dpo: merged
    in this order."""
    chat_template: LocalPath | None = None
    """A Jinja file to use instead of the tokenizer's own template."""

    @model_validator(mode="after")
    def _one_or_several(self) -> Self:
        if self.adapter is not None and self.adapters:
            raise ValueError("adapters: stands beside adapter; name them all in adapters, in their order")
        return self

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        given = [k for k in ("name", "folder", "gguf", "scratch", "served") if getattr(self, k) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none"
            raise ValueError(f"give exactly one of name, folder, gguf, scratch, served; found {found}")
        if self.name is not None and self.revision is None:
            raise ValueError("name: a hub model needs `revision` (40 hex digits), so that the run can be repeated")
        return self


Method = Literal["dpo", "kto", "rlhf"]
