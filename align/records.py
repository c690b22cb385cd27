"""The ground floor: what a prompt, a candidate, a judgment, a preference and a measurement is.

Every record is frozen, closed to unknown fields, and named by the sha256 of its *identity*: a named subset of its
fields, written canonically. A later optional field therefore renames nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

Role = Literal["system", "user", "assistant", "tool"]
Provenance = Literal["human", "judge", "rule", "simulated"]
"""What a judgment comes from, fixed when the annotator is created: a script is never `human`."""
Share = Annotated[float, Field(ge=0, le=1)]
Meta = dict[str, JsonValue]


def canonical(value: object) -> str:
    """JSON with sorted keys, no spaces, no NaN: equal values, equal text (RFC 8785, with floats as Python has them)."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


class Part(BaseModel):
    """A piece of a record that has no name of its own."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    @model_serializer(mode="wrap")
    def _said(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in handler(self).items() if value is not None}


class Record(Part):
    """A row of a data file. `id` is written with it, and checked when it is read back."""

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)
    identity: ClassVar[tuple[str, ...]]

    schema_: Literal[1] = Field(1, alias="schema")

    @model_validator(mode="wrap")
    @classmethod
    def _id_matches(cls, data: Any, handler: Any) -> Self:
        claimed = data.get("id") if isinstance(data, dict) else None
        if claimed is not None:
            data = {key: value for key, value in data.items() if key != "id"}
        record: Self = handler(data)
        if claimed is not None and claimed != record.id:
            raise ValueError(
                f"id: {str(claimed)[:12]}… is not the name of this content ({record.id[:12]}…); "
                "was the row edited? remove `id` to give it a new name"
            )
        return record

    @model_serializer(mode="wrap")
    def _said(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {"id": self.id, **{name: value for name, value in handler(self).items() if value is not None}}

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Another record with some fields changed, under its own name."""
        copied = super().model_copy(update=update, deep=deep)
        for name in ("id", "pair_id"):
            if name not in type(self).model_fields:
                copied.__dict__.pop(name, None)
        return copied

    @cached_property
    def id(self) -> str:
        """64 hex digits: the sha256 of the record's kind, schema and identity fields."""
        named = {name: _plain(getattr(self, name)) for name in self.identity}
        text = canonical({"record": type(self).__name__, "schema": self.schema_, **named})
        return hashlib.sha256(text.encode("utf-8")).hexdigest()


def _plain(value: object) -> object:
    if isinstance(value, BaseModel):
        return {k: _plain(v) for k, v in value if v is not None}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value


class ToolCall(Part):
    """A call of a tool that an assistant's message asks for."""

    name: str
    arguments: Meta
    call_id: str | None = None


class Message(Part):
    """One turn of a conversation, in the chat form of the Hugging Face world."""

    role: Role
    content: str
    tool_calls: tuple[ToolCall, ...] | None = None
    tool_call_id: str | None = None
    """On a `tool` message: the call it answers."""


Messages = Annotated[tuple[Message, ...], Field(min_length=1)]


class Prompt(Record):
    """A conversation that waits for an answer."""

    identity: ClassVar[tuple[str, ...]] = ("messages", "tools")

    messages: Messages
    tools: tuple[Meta, ...] | None = None
    """JSON schemas of the tools the model may call."""
    source: str | None = None
    """The file and row, or the data set, that it came from."""
    cluster: str | None = None
    """Prompts made from one template share a cluster; intervals are widened for it."""
    meta: Meta = {}

    @model_validator(mode="after")
    def _waits_for_an_answer(self) -> Self:
        if self.messages[-1].role == "assistant":
            raise ValueError("messages: the last message is the assistant's, so nothing waits for an answer")
        return self


class Demonstration(Record):
    """A conversation to imitate: its last message is an assistant's."""

    identity: ClassVar[tuple[str, ...]] = ("messages", "tools")

    messages: Messages
    tools: tuple[Meta, ...] | None = None
    source: str | None = None
    meta: Meta = {}

    @model_validator(mode="after")
    def _ends_with_an_answer(self) -> Self:
        last = self.messages[-1]
        if last.role != "assistant" or not (last.content.strip() or last.tool_calls):
            raise ValueError(
                f"messages: the last message must be an answer of the assistant's, found an empty or `{last.role}` one"
            )
        return self


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


class Item(Record):
    """One question of an instrument that is scored by log-probability: a context and what may follow it."""

    identity: ClassVar[tuple[str, ...]] = ("instrument", "context", "choices")

    instrument: str
    context: str
    choices: Annotated[tuple[str, ...], Field(min_length=1)]
    gold: int | None = Field(None, ge=0)
    """Position of the right choice, where there is one."""
    cluster: str | None = None
    meta: Meta = {}


class ItemScore(Record):
    """What one model scored on one item: what paired tests need."""

    identity: ClassVar[tuple[str, ...]] = ("instrument", "metric", "model", "item_id")

    instrument: str
    metric: str
    model: str
    item_id: str
    value: float | None = None
    """None where the item could not be scored; never 0 for that."""
    unscored_because: str | None = None
    cluster: str | None = None
    meta: Meta = {}

    @model_validator(mode="after")
    def _missing_has_a_reason(self) -> Self:
        if (self.value is None) != (self.unscored_because is not None):
            raise ValueError(
                "value: an item without a value needs `unscored_because`, and one with a value must not have it"
            )
        return self


class Source(Part):
    """Where data comes from."""

    name: str
    revision: str | None = None
    licence: str | None = None
    digest: str | None = None


class Measurement(Record):
    """One number about one model, with its interval and what it stands on."""

    identity: ClassVar[tuple[str, ...]] = ("instrument", "metric", "model", "sources")

    instrument: str
    metric: str
    model: str
    value: float | None = None
    """None where too few items could be scored."""
    low: float | None = None
    high: float | None = None
    level: Share = 0.95
    n: int = Field(ge=0)
    """Items scored."""
    n_unscored: int = Field(ge=0)
    n_clusters: int | None = None
    better: Literal["higher", "lower", "neither"]
    unit: str
    """`share`, `nats`, `words`, …"""
    method: str
    """How the interval was made."""
    provenance: Provenance | None = None
    """`simulated` where the truth or the judges are made."""
    sources: tuple[Source, ...] = ()
    meta: Meta = {}


class GateVerdict(Record):
    """What the gate said of one metric."""

    identity: ClassVar[tuple[str, ...]] = ("instrument", "metric", "model", "against", "margin")

    instrument: str
    metric: str
    model: str
    against: str | None = None
    """The model it is compared with; none for an absolute bound."""
    margin: float
    difference: float | None = None
    """Positive is worse."""
    low: float | None = None
    high: float | None = None
    n: int = Field(ge=0)
    verdict: Literal["pass", "fail", "inconclusive", "error"]
    why: str


RECORDS: tuple[type[Record], ...] = (
    Prompt, Demonstration, Candidate, Comparison, Judgment, Annotator, Preference, Ranking,
    Item, ItemScore, Measurement, GateVerdict,
)  # fmt: skip
