"""The people who judge candidates, and the pairs that their judgments give."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from align.configs.argilla import ArgillaConfig
from align.configs.base import Config, LocalPath, StageConfig
from align.configs.judge import JudgeConfig


class SimulatedPeople(Config):
    """Annotators of the testbed, with known faults."""

    noise: float = Field(0.1, ge=0, le=0.5)
    """Share of careful annotators' judgments that are turned round."""
    careful: int = Field(4, ge=0)
    first_biased: int = Field(1, ge=0)
    """Annotators who tend to prefer the answer shown first."""
    spammers: int = Field(1, ge=0)
    """Annotators who answer at random."""
    length_biased: int = Field(0, ge=0)
    """Annotators who take length for quality: each word counts with them as a quarter of a right answer."""
    labels: Literal["true", "reversed", "shuffled"] = "true"
    """A control: `reversed` prefers the worse answer, `shuffled` gives each comparison another's verdict."""


SERVERS = ("argilla", "judge")
"""Desks with knobs of their own, which name a result only where that desk is asked."""


class RelabelConfig(Config):
    """Judge some pairs once more, blind, to learn how often a label is wrong."""

    unkeyed: ClassVar[frozenset[str]] = frozenset({"judgments"})

    share: float = Field(0.1, gt=0, le=1)
    """Of the pairs that were judged; `at_least` so many, or all there are."""
    at_least: int = Field(100, ge=1)
    judgments: LocalPath | None = None
    """For `desk: file`: the second judgments, in a file of their own."""


class LabelConfig(StageConfig):
    """Stage `label`."""

    unkeyed: ClassVar[frozenset[str]] = frozenset({"judgments"})

    desk: Literal["simulated", "file", "argilla", "judge"] = "simulated"
    judgments: LocalPath | None = None
    """For `desk: file`: a JSONL that a person or tool appends to; the comparisons are written beside it, as
    `<name>.comparisons.jsonl`. A row is a Judgment, or in short `comparison_id`, `annotator`, `provenance` and `choice`
    (`first`, `second`, `tie` or `both_bad`)."""
    people: SimulatedPeople = SimulatedPeople()
    argilla: ArgillaConfig = ArgillaConfig()
    judge: JudgeConfig | None = None
    """For `desk: judge`: the model that judges. With another desk it judges the same comparisons beside people; its
    verdicts then enter no pair, and the report says how far it agrees with people."""
    guideline: LocalPath | None = None
    """A Markdown file: what annotators read; its text enters the identity of each comparison."""
    answers_per_comparison: int = Field(2, ge=2, le=2)
    comparisons_per_prompt: int = Field(3, ge=1)
    """How many pairs of a prompt's candidates are shown; chosen by hash."""
    annotators_per_comparison: int = Field(3, ge=1)
    """A judge counts as one annotator, and is asked alone."""
    repeat_share: float = Field(0.0, ge=0, le=1)
    """Share of comparisons that are shown a second time with the sides swapped, to see who says the same twice."""
    gold: LocalPath | None = None
    """Pairs whose better answer is known (rows of `prompt`, `chosen`, `rejected`), mixed among the comparisons to see
    who finds it; nothing is trained on them."""
    relabel: RelabelConfig | None = None
    """Have some pairs judged once more by as many annotators at the same desk; how often the two labels differ becomes
    the noise that majority labels carry into the loss (`epsilon` of each pair)."""
    round: int = Field(1, ge=1)

    @model_validator(mode="after")
    def _a_judge_is_named(self) -> Self:
        if self.desk == "judge" and self.judge is None:
            raise ValueError("judge: missing; `desk: judge` needs at least judge.urls and judge.model")
        return self

    def keyed(self) -> dict[str, Any]:
        """Without the knobs of servers that are not asked, nor those of the second time, which is a step of its own."""
        known = super().keyed()
        return {name: known[name] for name in known if name not in (*SERVERS, "relabel") or name == self.desk}


class LabelStep(LabelConfig):
    """What one step of the stage needs: what is compared."""

    asks: Literal["pairs", "models", "again", "answers"] = "pairs"
    """`pairs` compares the candidates of each prompt with each other; `models` compares two models' answers to the
    held-out prompts; `again` compares some pairs once more that were judged before; `answers` asks of an answer alone
    whether it refuses, which the stage `audit` does."""
    share: float = Field(0.1, gt=0, le=1)
    """With `asks: again`: of the pairs that were judged."""
    at_least: int = Field(100, ge=1)
    """With `asks: again`."""
    max_prompts: int | None = Field(None, ge=1)
    """At most so many prompts, chosen by hash."""

    @classmethod
    def of(cls, label: LabelConfig, **more: Any) -> LabelStep:
        """The step of a section, some knobs otherwise; files stay known by the names that the recipe gave them."""
        return cls.model_construct(**{**dict(label), **more})


Label = Literal["majority", "soft", "weighted"]


class PairConfig(StageConfig):
    """Stage `pair`: from judgments to preferences."""

    label: Label = "majority"
    """`majority` writes label 1; `soft` writes the share of votes, a tie counting one half; `weighted` weighs votes by
    who cast them (Dawid and Skene 1979) and writes the probability that the chosen answer is the better one."""
    min_agreement: float = Field(0.5, ge=0, le=1)
    """Least share of annotators who must prefer the chosen answer, ties counting against; with `label: weighted`, the
    least label."""
    ties: Literal["drop", "keep"] = "drop"
    """A comparison without a winner is left out, or kept as a pair with label 0.5 (not with `label: majority`)."""
    both_bad: Literal["drop", "keep"] = "drop"
    """What to do where the majority calls both answers unacceptable."""
    min_judgments: int = Field(1, ge=1)
    """Least number of annotators who judged a pair."""
    accept_low_agreement: bool = False
    """Make pairs although Krippendorff's alpha is below 0.2, where people hardly agree more than chance would."""
    accept_flagged_annotators: bool = False
    """Make pairs although more than half of the judgments come from annotators whose manner is suspect."""
    test_share: float = Field(0.1, ge=0, lt=1)
    """Share of conversations whose pairs are held out of training, by the hash of how each opens."""

    @model_validator(mode="after")
    def _ties_have_a_label(self) -> Self:
        if self.ties == "keep" and self.label == "majority":
            raise ValueError(
                "ties: `keep` needs `label: soft` or `weighted`; "
                "a majority label cannot say that two answers are equally good"
            )
        return self
