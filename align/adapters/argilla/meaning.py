"""What an answer to somebody else's questions says of the answers that were shown: a verdict, or why there is none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from align.configs.argilla import ImportMapping
from align.records import Flag, Ordering, Scores, canonical

Verdict = Ordering | Scores | Flag
Sides = Mapping[str, str]
"""Answer field → candidate id, in the order in which they were shown; fields that were empty are left out."""


@dataclass(frozen=True)
class Meant:
    """One thing that was said: of which fields, and what."""

    fields: tuple[str, ...]
    verdict: Verdict
    strength: int | None = None


def meant(values: Mapping[str, Any], sides: Sides, kind: str, mapping: ImportMapping) -> list[Meant] | str:
    """What a response says, or why it says nothing. `kind` is the type of the comparing question.

    A choice of one among more than two says that it is better than each of the others, and nothing of those: it comes
    as one comparison with each. Ties of rankings and ratings stay ties. What was not ranked or rated is left out.
    """
    if mapping.ratings:
        return _rated({field: values.get(question) for field, question in mapping.ratings.items()}, sides)
    value = values.get(mapping.question or "")
    if value is None:
        return "without an answer to the question"
    if kind == "ranking":
        return _ranked(value, sides, mapping)
    if kind == "rating" and not mapping.choices and len(mapping.answers) == 1:
        return _rated({mapping.answers[0]: value}, sides)
    return _chosen(str(value), sides, mapping)


def _chosen(value: str, sides: Sides, mapping: ImportMapping) -> list[Meant] | str:
    meaning = mapping.choices.get(value, value if value in mapping.answers else None)
    strength = mapping.strengths.get(value)
    if meaning is None:
        return "of an option that the mapping does not know"
    if len(mapping.answers) == 1:
        return [Meant(tuple(sides), Flag(good=meaning == "good"), strength)] if sides else EMPTY
    if meaning in ("tie", "both_bad"):
        said = Ordering(groups=(tuple(sides.values()),), both_bad=meaning == "both_bad") if sides else None
        return [Meant(tuple(sides), said)] if said is not None and len(sides) > 1 else EMPTY
    if meaning not in sides or len(sides) < 2:
        return EMPTY
    found = []
    for other in sides:
        if other != meaning:
            shown = tuple(field for field in sides if field in (meaning, other))
            found.append(Meant(shown, Ordering(groups=((sides[meaning],), (sides[other],))), strength))
    return found


def _ranked(value: Any, sides: Sides, mapping: ImportMapping) -> list[Meant] | str:
    ranks: dict[str, int] = {}
    for row in value if isinstance(value, list) else ():
        field = mapping.choices.get(row["value"], row["value"])
        if field not in mapping.answers:
            return "of an option that the mapping does not know"
        if row.get("rank") is not None and field in sides:
            ranks[field] = int(row["rank"])
    if len(ranks) < 2:
        return "ranks fewer than two answers"
    order = sorted(ranks, key=lambda field: (ranks[field], list(sides).index(field)))
    groups = tuple(tuple(sides[f] for f in same) for _, same in groupby(order, key=lambda field: ranks[field]))
    return [Meant(tuple(field for field in sides if field in ranks), Ordering(groups=groups))]


def _rated(given: Mapping[str, Any], sides: Sides) -> list[Meant] | str:
    scores = {f: float(v) for f, v in given.items() if isinstance(v, int) and f in sides}
    if not scores:
        return "without an answer to the question"
    shown = tuple(field for field in sides if field in scores)
    return [Meant(shown, Scores(scores={sides[field]: scores[field] for field in shown}))]


EMPTY = "of an answer that the record does not have"


def reasons(values: Mapping[str, Any], used: set[str]) -> Iterator[str]:
    """What was said beside: each question that the mapping does not use, as `name: value`."""
    for name, value in sorted(values.items()):
        if name not in used and value not in (None, "", []):
            yield f"{name}: {value if isinstance(value, str) else canonical(value)}"
