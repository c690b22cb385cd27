"""Measuring models that nobody trained here: which, on which benchmarks, against which."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from align.configs.base import Config
from align.configs.measure import AuditConfig, BenchmarkData, GateConfig, HarnessConfig
from align.configs.model import ModelConfig
from align.configs.runtime import RuntimeConfig
from align.configs.sampling import SamplingConfig, ServerConfig


class Survey(Config):
    """What `align evaluate MODEL…` does, as a recipe says what `align run` does."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    title: str | None = None
    seed: int = Field(0, ge=0, lt=2**31)
    models: dict[str, ModelConfig] = Field(min_length=1)
    """By the name under which each is shown."""
    endpoints: dict[str, ServerConfig] = {}
    """By model, of those that are served: where. What needs log-probabilities is not measured of them."""
    against: str | None = None
    """One of them: the gate holds every other against it."""
    benchmarks: dict[str, BenchmarkData] = {}
    lm_eval: HarnessConfig | None = None
    answers: SamplingConfig = SamplingConfig(temperature=0.0)
    labels: dict[str, AuditConfig] = {}
    """By model: where people's labels of its refusals lie."""
    gate: GateConfig = GateConfig(on_fail="report")
    runtime: RuntimeConfig = RuntimeConfig()

    @model_validator(mode="after")
    def _can_be_met(self) -> Self:
        for name in (*self.labels, *self.endpoints, *([self.against] if self.against else [])):
            if name not in self.models:
                raise ValueError(f"{name}: not one of the models, {', '.join(self.models)}")
        if not self.benchmarks and self.lm_eval is None:
            raise ValueError("nothing to measure: give benchmarks or lm_eval")
        return self
