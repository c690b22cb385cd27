"""What is learnt from: preferences and rankings, with the judgments they stand on."""

from __future__ import annotations

from typing import ClassVar, Self

from pydantic import Field, model_validator

from align.records.base import Meta, Provenance, Record, Share
from align.records.conversation import Messages


class Preference(Record):
    """A pair to learn from, in TRL's conversational preference format plus what it stands on."""

    identity: ClassVar[tuple[str, ...]] = ("prompt", "chosen", "rejected", "label", "judgment_ids")

    prompt: Messages
    chosen: Messages
    rejected: Messages
    label: Share = 1.0
    """The probability that `chosen` is the better one; 0.5 is a tie."""
    confidence: Share = 1.0
    """How far the label may be trusted: 1 for a label taken as it is."""
    epsilon: float | None = Field(None, ge=0, lt=0.5)
    """How likely `chosen` and `rejected` are the wrong way round, where an audit has estimated it: the ε of cDPO."""
    agreement: Share | None = None
    """Share of the judgments that prefer `chosen`; ties count against."""
    n_judgments: int = Field(0, ge=0)
    margin: float | None = None
    """Mean strength of the judgments that prefer `chosen`."""
    provenance: Provenance | None = None
    """The weakest source among its judgments; none for pairs that came without."""
    prompt_id: str | None = None
    chosen_id: str | None = None
    rejected_id: str | None = None
    judgment_ids: tuple[str, ...] = ()
    source: str | None = None
    meta: Meta = {}

    @property
    def flip(self) -> float:
        """The probability that the sides are the wrong way round, by the audit, or else by the label."""
        return self.epsilon if self.epsilon is not None else 1 - self.label

    @model_validator(mode="after")
    def _differs(self) -> Self:
        if self.chosen == self.rejected:
            raise ValueError("chosen and rejected are equal, so there is nothing to prefer")
        return self


class Ranking(Record):
    """K answers in tie groups, best first, to learn from."""

    identity: ClassVar[tuple[str, ...]] = ("prompt", "answers", "groups", "judgment_ids")

    prompt: Messages
    answers: tuple[Messages, ...]
    groups: tuple[tuple[int, ...], ...]
    """Positions in `answers`, best group first."""
    confidence: Share = 1.0
    n_judgments: int = Field(0, ge=0)
    provenance: Provenance | None = None
    prompt_id: str | None = None
    answer_ids: tuple[str, ...] = ()
    judgment_ids: tuple[str, ...] = ()
    meta: Meta = {}

    @model_validator(mode="after")
    def _ranks_each_once(self) -> Self:
        if sorted(i for group in self.groups for i in group) != list(range(len(self.answers))):
            raise ValueError("groups: each answer's position must stand in exactly one group")
        return self
