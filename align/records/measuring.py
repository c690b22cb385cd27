"""What is measured: items, their scores, measurements with intervals, and what the gate said."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from align.records.base import Meta, Part, Provenance, Record, Share


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
