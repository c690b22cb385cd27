"""Who makes models, and what they are given for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from align.configs import DPOConfig, ExportConfig, KTOConfig, ModelConfig, RewardConfig, RLHFConfig, SFTConfig
from align.ports.workshop import Workshop
from align.records import Prompt


@dataclass(frozen=True)
class Mark:
    """What an answer is worth, from one point of view."""

    name: str
    score: Callable[[Sequence[Prompt], Sequence[str]], Sequence[float]]
    """A number for each prompt's answer; NaN where there is none."""
    weight: float = 1.0
    clip: tuple[float, float] | None = None
    may_rest: bool = False
    """Whether one score for every answer is no fault: a rule that all answers keep says nothing more."""


@dataclass(frozen=True)
class Kept:
    """Rows of what a model did well before it is tuned: demonstrations, or `{"text": …}`."""

    rows: Path | None = None
    """To hold on to, where the recipe asks for it."""
    probe: Path | None = None
    """Held out, to say what tuning cost; by default every tenth of `rows`."""


NOTHING_KEPT = Kept()


class Trainer(Protocol):
    """Makes models.

    Each method writes `model/` (a folder transformers loads) and `log.jsonl` into `out`; with LoRA also `adapter/`.

    Given the same `workshop.work` after a kill, each goes on from its last whole checkpoint.
    """

    def base(self, config: ModelConfig, text: Path | None, out: Path, workshop: Workshop) -> None: ...

    def sft(
        self,
        config: SFTConfig,
        model: Path,
        data: Path,
        held_out: Path | None,
        out: Path,
        workshop: Workshop,
        kept: Kept = NOTHING_KEPT,
    ) -> None: ...

    def dpo(
        self,
        config: DPOConfig,
        model: Path,
        data: Path,
        held_out: Path | None,
        out: Path,
        workshop: Workshop,
        kept: Kept = NOTHING_KEPT,
    ) -> None: ...

    def kto(
        self,
        config: KTOConfig,
        model: Path,
        data: Path | None,
        held_out: Path | None,
        out: Path,
        workshop: Workshop,
        kept: Kept = NOTHING_KEPT,
    ) -> None: ...

    def reward(
        self,
        config: RewardConfig,
        model: Path | None,
        train: Mapping[str, Path | None],
        test: Mapping[str, Path | None],
        out: Path,
        workshop: Workshop,
    ) -> None:
        """`train` and `test` name files of `preferences` and `rankings`; `model/` is a one-label classifier."""
        ...

    def rlhf(
        self,
        config: RLHFConfig,
        model: Path,
        prompts: Sequence[Prompt],
        marks: Sequence[Mark],
        out: Path,
        workshop: Workshop,
        *,
        cost: Mark | None = None,
        held_out: Mark | None = None,
    ) -> None:
        """Tune on the marks of the model's own answers. Beside `model/` there are `looks.jsonl` (answers on the way to
        some of the prompts, which `held_out` judges and nothing learns from) and `rollouts.parquet`."""
        ...

    def export(self, config: ExportConfig, model: Path, out: Path, workshop: Workshop) -> None: ...
