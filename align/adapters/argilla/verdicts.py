"""From an answer as Argilla keeps it to a judgment: nothing that was said is lost, and nothing is guessed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from align.adapters.argilla.book import Answer
from align.adapters.argilla.settings import CHOICES, FLAG, FLAGS, PREFERENCE
from align.records import Comparison, Flag, Judgment, Ordering, Provenance


def judged(answer: Answer, comparison: Comparison, *, annotator: str, provenance: Provenance) -> Judgment | str:
    """The judgment, or why it is none: an option that is not ours, or no choice at all."""
    if len(comparison.candidate_ids) == 1:
        return _flagged(answer, comparison, annotator, provenance)
    choice = answer.values.get(PREFERENCE)
    if choice is None:
        return "without a choice"
    if not isinstance(choice, str) or choice not in CHOICES:
        return "of an unknown option"
    strength = answer.values.get("strength")
    if strength is not None and (isinstance(strength, bool) or strength not in (1, 2, 3)):
        return "of an unknown strength"
    first, second = comparison.candidate_ids
    groups = {"a": ((first,), (second,)), "b": ((second,), (first,))}.get(choice, ((first, second),))
    return Judgment(
        **_asked(answer, comparison, annotator, provenance),
        verdict=Ordering(groups=groups, both_bad=choice == "both_bad"),
        strength=strength,
        correction=_text(answer.values.get("correction")),
    )


def _flagged(answer: Answer, comparison: Comparison, annotator: str, provenance: Provenance) -> Judgment | str:
    """Of one answer alone: whether it refuses."""
    choice = answer.values.get(FLAG)
    if choice is None:
        return "without a choice"
    if choice not in FLAGS:
        return "of an unknown option"
    return Judgment(
        **_asked(answer, comparison, annotator, provenance),
        verdict=Flag(good=choice == "answers"),
    )


def _asked(answer: Answer, comparison: Comparison, annotator: str, provenance: Provenance) -> dict[str, Any]:
    """What a judgment holds beside its verdict."""
    return {
        "comparison_id": comparison.id,
        "pair_id": comparison.pair_id,
        "prompt_id": comparison.prompt_id,
        "candidate_ids": comparison.candidate_ids,
        "annotator": annotator,
        "provenance": provenance,
        "rationale": _text(answer.values.get("rationale")),
        "created_at": moment(answer.updated),
    }


def moment(text: str) -> str:
    """A server's time in UTC, as ISO 8601; Argilla leaves the zone out and means UTC."""
    found = datetime.fromisoformat(text)
    return (found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)).isoformat()


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value.strip() else None
