"""What of a model learns: a low-rank adapter, a few numbers an activation, or vectors put before the text."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from align.configs.base import Config


class LoRA(Config):
    """A low-rank adapter (Hu et al. 2021, arXiv:2106.09685) instead of a full fine-tune."""

    rank: int = Field(16, ge=1)
    alpha: int = Field(32, ge=1)
    dropout: float = Field(0.0, ge=0, lt=1)
    targets: str | tuple[str, ...] = "all-linear"
    """Module names, or `all-linear`."""
    layers: tuple[int, ...] | None = None
    """Only these decoder layers, counted from 0; by default all of them."""
    rslora: bool = False
    """Scale by alpha/√rank instead of alpha/rank, so that large ranks learn (Kalajdzievski 2023, arXiv:2312.03732)."""
    dora: bool = False
    """Learn each column's length apart from its direction (Liu et al. 2024, arXiv:2402.09353)."""
    base: Literal["float32", "nf4", "int8"] = "float32"
    """Number format of the frozen base while the adapter learns. `nf4` is QLoRA (Dettmers et al. 2023,
    arXiv:2305.14314) and takes an eighth of the memory; the result stands on the base as rounded, in float32."""

    @model_validator(mode="after")
    def _layers_are_named(self) -> Self:
        if self.layers is not None and (not self.layers or min(self.layers) < 0):
            raise ValueError("layers: give one decoder layer or more, counted from 0")
        return self


class IA3(Config):
    """A learnt factor for each key, value and inner activation (Liu et al. 2022, arXiv:2205.05638)."""

    targets: tuple[str, ...] | None = None
    """Module names; by default PEFT's for the model's family."""
    feedforward: tuple[str, ...] | None = None
    """Those of them whose input is scaled, not their output; by default PEFT's for the family."""


class PromptTuning(Config):
    """Vectors learnt and put before every text, the weights untouched (Lester et al. 2021, arXiv:2104.08691).

    The result is a whole model all the same: the vectors become tokens of its own, with which its template begins.
    """

    tokens: int = Field(16, ge=1, le=1024)
    text: str | None = None
    """Begin as the vectors of this text, repeated or cut; by default as those of tokens drawn by the seed."""
