"""The reward model: what its loss makes of pairs, ties, rankings and grades."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from align.configs.training import TrainingConfig


class RewardConfig(TrainingConfig):
    """Stage `reward`: a score for an answer, learnt from pairs (Bradley & Terry 1952) and rankings (Plackett 1975)."""

    learning_rate: float = Field(1.0e-5, gt=0, lt=1)
    batch_size: int = Field(16, ge=1)
    """Prompts an optimizer step, each with all of its answers, over all devices."""
    learns_from: Literal["all", "pairs", "rankings"] = "all"
    """Pairs, rankings of three answers and more, or both; a pair that stands on nothing but judgments that are there as
    rankings is then left to those, so that nothing counts twice."""
    ranked: Literal["plackett_luce", "pairs"] = "plackett_luce"
    """What a ranking of K answers is learnt as: one likelihood of the whole order, or its K(K-1)/2 pairs."""
    ties: Literal["drop", "half", "rao_kupper"] = "drop"
    """What a tie says: nothing; that either answer would win half of the time; or that the rewards are hard to tell
    apart, ties being a third outcome (Rao & Kupper 1967), which knows pairs alone."""
    tie_margin: float = Field(0.5, gt=0, le=10)
    """Answers of equal reward are tied in a share tanh(`tie_margin`/2); only `ties: rao_kupper` uses it."""
    margin_weight: float = Field(0.0, ge=0)
    """Reward by which a pair's winner must lead for each grade of strength that its judges gave (1 slightly, 2 clearly,
    3 far better); Touvron et al. 2023, eq. 2 (arXiv:2307.09288). 0 ignores the grades."""
    weigh_by_confidence: bool = False
    """Weigh each pair or ranking by how far its label may be trusted."""
    centre: float = Field(0.01, ge=0)
    """Weight of the squared mean reward of a prompt's answers, which keeps rewards around zero
    (Eisenstein et al. 2023, arXiv:2312.09244)."""
    init_std: float = Field(0.02, ge=0, le=1)
    """Standard deviation of the new head's weights."""

    part: Literal["whole", "first", "second"] = "whole"
    """Which half of the pairs it learns from, by the hash of how their conversations open; the halves have seeds of
    their own. A reward model and the one that watches over it take one half each."""

    @model_validator(mode="after")
    def _a_head_can_learn_beside(self) -> Self:
        if self.prompt_tuning is not None or self.new_tokens or (self.lora is not None and self.lora.base != "float32"):
            raise ValueError(
                "reward: prompt_tuning, new_tokens and a quantised base are not for reward models; "
                "use lora, ia3 or a full fine-tune"
            )
        if self.keep.replay or self.keep.kl or self.keep.ewc or self.keep.l2_sp:
            raise ValueError("keep: a reward model predicts no text that could be held on to; leave `keep` out")
        return self

    @model_validator(mode="after")
    def _ties_are_of_pairs(self) -> Self:
        if self.ties == "rao_kupper" and self.ranked == "plackett_luce":
            raise ValueError("ties: `rao_kupper` knows pairs alone; set ranked: pairs, or ties: half")
        return self
