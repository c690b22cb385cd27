"""The ground floor: what a prompt, a candidate, a judgment, a preference and a measurement is.

Every record is frozen, closed to unknown fields, and named by the sha256 of its *identity*: a named subset of its
fields, written canonically. A later optional field therefore renames nothing.
"""

from __future__ import annotations

from align.records.base import Meta, Part, Provenance, Record, Role, Share, canonical
from align.records.conversation import Demonstration, Message, Messages, Prompt, ToolCall
from align.records.judging import Annotator, Candidate, Comparison, Flag, Judgment, Ordering, Scores, Verdict
from align.records.learning import Preference, Ranking
from align.records.measuring import GateVerdict, Item, ItemScore, Measurement, Source

RECORDS: tuple[type[Record], ...] = (
    Prompt, Demonstration, Candidate, Comparison, Judgment, Annotator, Preference, Ranking,
    Item, ItemScore, Measurement, GateVerdict,
)  # fmt: skip

__all__ = [
    "RECORDS",
    "Annotator",
    "Candidate",
    "Comparison",
    "Demonstration",
    "Flag",
    "GateVerdict",
    "Item",
    "ItemScore",
    "Judgment",
    "Measurement",
    "Message",
    "Messages",
    "Meta",
    "Ordering",
    "Part",
    "Preference",
    "Prompt",
    "Provenance",
    "Ranking",
    "Record",
    "Role",
    "Scores",
    "Share",
    "Source",
    "ToolCall",
    "Verdict",
    "canonical",
]
