"""What is compared and what was said of it: candidates, comparisons, judgments."""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from align.records.base import Part, Provenance, Record, canonical
from align.records.conversation import Messages


class Candidate(Record):
    """One answer of one model to one prompt."""

    identity: ClassVar[tuple[str, ...]] = ("prompt_id", "completion", "model", "sample")

    prompt_id: str
    completion: Messages
    """What the model wrote, as messages; one assistant message unless tools were called."""
    model: str
    """The digest of the model artifact that wrote it, or a name the user gave."""
    sample: int = Field(0, ge=0)
    """Which of the prompt's n samples."""
    seed: int | None = None
    finish_reason: Literal["stop", "length"] | None = None
    n_tokens: int | None = Field(None, ge=0)
    logp: float | None = None
    """Nats, summed over the answer, end-of-text included."""
    thinking: str | None = None
    """What the model thought before answering, kept apart from the answer."""

    @property
    def text(self) -> str:
        """The content of the last message: what an annotator reads."""
        return self.completion[-1].content


class Comparison(Record):
    """K ≥ 1 candidates of one prompt, in the order in which they are shown."""

    identity: ClassVar[tuple[str, ...]] = ("prompt_id", "candidate_ids", "guideline", "round")

    prompt_id: str
    candidate_ids: Annotated[tuple[str, ...], Field(min_length=1)]
    guideline: str | None = None
    """sha256 of the guideline's text: another guideline is another question."""
    round: int = Field(1, ge=1)

    @model_validator(mode="after")
    def _shows_each_once(self) -> Self:
        if len(set(self.candidate_ids)) != len(self.candidate_ids):
            raise ValueError("candidate_ids: a candidate is shown twice in one comparison")
        return self

    @cached_property
    def pair_id(self) -> str:
        """The same for every order in which these candidates may be shown."""
        text = canonical([self.prompt_id, sorted(self.candidate_ids), self.guideline, self.round])
        return hashlib.sha256(text.encode("utf-8")).hexdigest()


class Ordering(Part):
    """Candidates from best to worst; those in one group are tied."""

    kind: Literal["ordering"] = "ordering"
    groups: Annotated[tuple[Annotated[tuple[str, ...], Field(min_length=1)], ...], Field(min_length=1)]
    both_bad: bool = False
    """None of them is acceptable, whatever the order."""


class Scores(Part):
    """A score for each candidate; higher is better."""

    kind: Literal["scores"] = "scores"
    scores: dict[str, float]


class Flag(Part):
    """One candidate, good or not."""

    kind: Literal["flag"] = "flag"
    good: bool


Verdict = Annotated[Ordering | Scores | Flag, Field(discriminator="kind")]


class Judgment(Record):
    """What one annotator said of one comparison. Nothing of it is lost on the way to training."""

    identity: ClassVar[tuple[str, ...]] = (
        "comparison_id",
        "annotator",
        "provenance",
        "verdict",
        "strength",
        "correction",
    )

    comparison_id: str
    pair_id: str
    prompt_id: str
    candidate_ids: Annotated[tuple[str, ...], Field(min_length=1)]
    """In the order in which they were shown."""
    annotator: str
    """A pseudonym."""
    provenance: Provenance
    verdict: Verdict
    strength: int | None = Field(None, ge=1, le=3)
    """1 slightly, 2 clearly, 3 far better."""
    reasons: tuple[str, ...] = ()
    rationale: str | None = None
    correction: str | None = None
    """The answer that the annotator would have wanted."""
    created_at: str | None = None
    """ISO 8601, as the labeling server says."""
    seconds: float | None = Field(None, ge=0)
    """Time spent on the item."""

    @model_validator(mode="after")
    def _speaks_of_what_was_shown(self) -> Self:
        shown = set(self.candidate_ids)
        if isinstance(self.verdict, Ordering):
            said = [name for group in self.verdict.groups for name in group]
            if len(said) != len(set(said)) or set(said) != shown:
                raise ValueError("verdict: an ordering must name each shown candidate once and no other")
        elif isinstance(self.verdict, Scores):
            if set(self.verdict.scores) != shown:
                raise ValueError("verdict: scores must be given for each shown candidate and no other")
        elif len(shown) != 1:
            raise ValueError("verdict: a flag speaks of one candidate, but several were shown")
        return self


class Annotator(Record):
    """Who may judge, and what their judgments count as, for ever."""

    identity: ClassVar[tuple[str, ...]] = ("name", "provenance")

    name: str
    provenance: Provenance
