"""The whole recipe: what is taught, from what, how it is measured, and what lets it through."""

from __future__ import annotations

from pydantic import Field

from align.configs.base import Config
from align.configs.data import DataConfig
from align.configs.labels import LabelConfig, PairConfig
from align.configs.measure import AuditConfig, EvaluateConfig, GateConfig
from align.configs.model import Method, ModelConfig
from align.configs.reward import RewardConfig
from align.configs.rlhf import RLHFConfig
from align.configs.runtime import ExportConfig, RuntimeConfig
from align.configs.sampling import GenerateConfig
from align.configs.training import DPOConfig, KTOConfig, SFTConfig


class Recipe(Config):
    """One YAML file."""

    name: str | None = Field(None, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Defaults to the file's name."""
    title: str | None = None
    """One sentence: what it teaches."""
    seed: int = Field(0, ge=0, lt=2**31)
    """Every seed in the run is derived from it."""
    method: Method = "dpo"
    model: ModelConfig
    data: DataConfig
    sft: SFTConfig | None = None
    """Leave it out where the base model already chats."""
    generate: GenerateConfig = GenerateConfig()
    label: LabelConfig = LabelConfig()
    pair: PairConfig = PairConfig()
    dpo: DPOConfig = DPOConfig()
    kto: KTOConfig = KTOConfig()
    """With `method: kto`."""
    reward: RewardConfig = RewardConfig()
    rlhf: RLHFConfig = RLHFConfig()
    """With `method: rlhf`."""
    evaluate: EvaluateConfig = EvaluateConfig()
    audit: AuditConfig = AuditConfig()
    gate: GateConfig = GateConfig()
    export: ExportConfig = ExportConfig()
    runtime: RuntimeConfig = RuntimeConfig()
