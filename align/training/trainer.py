"""The trainer that the runner hands to the stages: which origin, which method, which file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from align.configs import DPOConfig, ExportConfig, KTOConfig, ModelConfig, RewardConfig, RLHFConfig, SFTConfig
from align.ports import NOTHING_KEPT, Kept, Mark, Workshop
from align.records import Prompt


class TransformersTrainer:
    """Makes models with transformers, TRL and PEFT; imports them when it is first asked for one."""

    def base(self, config: ModelConfig, text: Path | None, out: Path, workshop: Workshop) -> None:
        if config.scratch is not None:
            from align.training.pretrain import pretrain

            assert text is not None, "the plan gives a scratch model its text"
            pretrain(config.scratch, text, out, workshop)
        else:
            from align.training.origin import take

            take(config, out, workshop)

    def sft(
        self,
        config: SFTConfig,
        model: Path,
        data: Path,
        held_out: Path | None,
        out: Path,
        workshop: Workshop,
        kept: Kept = NOTHING_KEPT,
    ) -> None:
        if workshop.runtime.processes > 1:
            from align.training.launch import launch

            paths = {"model": model, "data": data, "held_out": held_out, "out": out}
            launch("sft", config, paths, kept, workshop)
            return
        from align.training.sft import sft

        sft(config, model, data, held_out, out, workshop, kept)

    def dpo(
        self,
        config: DPOConfig,
        model: Path,
        data: Path,
        held_out: Path | None,
        out: Path,
        workshop: Workshop,
        kept: Kept = NOTHING_KEPT,
    ) -> None:
        if workshop.runtime.processes > 1:
            from align.training.launch import launch

            paths = {"model": model, "data": data, "held_out": held_out, "out": out}
            launch("dpo", config, paths, kept, workshop)
            return
        from align.training.dpo import dpo

        dpo(config, model, data, held_out, out, workshop, kept)

    def kto(
        self,
        config: KTOConfig,
        model: Path,
        data: Path | None,
        held_out: Path | None,
        out: Path,
        workshop: Workshop,
        kept: Kept = NOTHING_KEPT,
    ) -> None:
        from align.training.kto import kto

        kto(config, model, data, held_out, out, workshop, kept)

    def reward(
        self,
        config: RewardConfig,
        model: Path | None,
        train: Mapping[str, Path | None],
        test: Mapping[str, Path | None],
        out: Path,
        workshop: Workshop,
    ) -> None:
        from align.training.reward import reward

        reward(config, model, train, test, out, workshop)

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
        from align.training.rlhf import rlhf

        rlhf(config, model, prompts, marks, out, workshop, cost=cost, held_out=held_out)

    def export(self, config: ExportConfig, model: Path, out: Path, workshop: Workshop) -> None:
        from align.training.export import export

        export(config, model, out, workshop)
