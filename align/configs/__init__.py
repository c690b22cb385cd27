"""Every knob there is: closed, bounded, documented under the field. One file a group of stages; `Recipe` is the whole.

A knob that changes a result stands here and enters the keys of what it changes. `runtime` and folders do not, except
for what they resolve to when that can change a result (`dtype`, `engine`).
"""

from align.configs.adapters import IA3, LoRA, PromptTuning
from align.configs.base import Config
from align.configs.data import DataConfig, DataFile, Testbed
from align.configs.judge import JudgeConfig
from align.configs.labels import (
    LabelConfig,
    LabelStep,
    PairConfig,
    RelabelConfig,
    SimulatedPeople,
)
from align.configs.measure import (
    AuditConfig,
    BenchmarkData,
    BenchmarkStep,
    EvaluateConfig,
    EvaluateStep,
    GateConfig,
    HarnessConfig,
    HarnessStep,
    Margin,
    PeopleConfig,
)
from align.configs.model import ModelConfig, Scratch
from align.configs.recipe import Recipe
from align.configs.reward import RewardConfig
from align.configs.rlhf import BestOf, Budget, RLHFConfig, Term, Watch
from align.configs.runtime import ExportConfig, RayConfig, RuntimeConfig
from align.configs.sampling import (
    Drawing,
    Engine,
    GenerateConfig,
    GenerateStep,
    SamplingConfig,
    ServerConfig,
    VLLMConfig,
    Writer,
)
from align.configs.survey import Survey
from align.configs.training import Displacement, DPOConfig, Keep, KTOConfig, SFTConfig, TrainingConfig

__all__ = [
    "IA3",
    "AuditConfig",
    "BenchmarkData",
    "BenchmarkStep",
    "BestOf",
    "Budget",
    "Config",
    "DPOConfig",
    "DataConfig",
    "DataFile",
    "Displacement",
    "Drawing",
    "Engine",
    "EvaluateConfig",
    "EvaluateStep",
    "ExportConfig",
    "GateConfig",
    "GenerateConfig",
    "GenerateStep",
    "HarnessConfig",
    "HarnessStep",
    "JudgeConfig",
    "KTOConfig",
    "Keep",
    "LabelConfig",
    "LabelStep",
    "LoRA",
    "Margin",
    "ModelConfig",
    "PairConfig",
    "PeopleConfig",
    "PromptTuning",
    "RLHFConfig",
    "RayConfig",
    "Recipe",
    "RelabelConfig",
    "RewardConfig",
    "RuntimeConfig",
    "SFTConfig",
    "SamplingConfig",
    "Scratch",
    "ServerConfig",
    "SimulatedPeople",
    "Survey",
    "Term",
    "Testbed",
    "TrainingConfig",
    "VLLMConfig",
    "Watch",
    "Writer",
]
