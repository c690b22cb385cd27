"""Who judged, how far they agreed, and what became of their judgments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from align.report.numbers import count, interval, number
from align.report.view import RunView

Rated = tuple[float | None, float | None, float | None]
"""A share and the ends of its interval."""


@dataclass(frozen=True)
class Person:
    """One annotator, by pseudonym."""

    name: str
    provenance: str
    n_judgments: int | None
    with_others: Rated
    """Of the pairs on which the others have a majority: the share on which this one is with it."""
    first_shown: Rated
    """Of the pairs with a winner: the share won by the answer shown first."""
    longer: Rated
    faults: tuple[str, ...]


@dataclass(frozen=True)
class People:
    """All of them."""

    sentences: tuple[str, ...]
    annotators: tuple[Person, ...]
    dropped: tuple[tuple[str, int], ...]
    """Comparisons that gave no pair, by reason."""
    simulated: bool


def people(view: RunView) -> People | None:
    """From the summary of `pair`, or of `label` where there are no pairs yet; none where nobody judged."""
    told = next(
        (s for stage in ("pair", "label") for step in view.of_stage(stage) if (s := step.summary()).get("n_judgments")),
        None,
    )
    if told is None:
        return None
    annotators = tuple(_person(row) for row in told.get("annotators", ()))
    return People(
        (
            _funnel(told, len(annotators)),
            *_agreement(told.get("agreement") or {}),
            *_length(told.get("longer_chosen_share")),
        ),
        annotators,
        tuple((told.get("dropped") or {}).items()),
        simulated="simulated" in (told.get("provenance") or ()) or any(p.provenance == "simulated" for p in annotators),
    )


def _person(row: Mapping[str, Any]) -> Person:
    rates = [row.get(name) or {} for name in ("with_others", "first_shown", "longer")]
    with_others, first_shown, longer = ((r.get("share"), r.get("low"), r.get("high")) for r in rates)
    return Person(
        str(row.get("name")), str(row.get("provenance")), row.get("n_judgments"), with_others, first_shown, longer,
        tuple(row.get("faults") or ()),
    )  # fmt: skip


def _funnel(told: Mapping[str, Any], n_people: int) -> str:
    compared = told.get("n_compared", told.get("n_comparisons"))
    said = f"{count(told['n_judgments'])} judgments by {n_people} annotators of {count(compared)} comparisons"
    if "n_train" not in told:
        return f"{said}."
    left = sum((told.get("dropped") or {}).values())
    out = f"; {count(left)} gave none" if left else ""
    return f"{said} gave {count(told['n_train'])} pairs to train on and {count(told.get('n_test'))} held out{out}."


def _agreement(told: Mapping[str, Any]) -> list[str]:
    alpha, raw = told.get("krippendorff_alpha"), told.get("raw")
    if alpha is None:
        return ["Too few comparisons were judged twice to say how far people agree."]
    # Krippendorff 2004, p. 241: rely on .800 and above, draw tentative conclusions from .667
    meaning = (
        "high"
        if alpha >= 0.8
        else "fair"
        if alpha >= 0.667
        else "low, as it often is for taste"
        if alpha >= 0.2
        else "hardly above chance"
    )
    return [
        f"Any two of them said the same of {number(raw)} of what both judged. Krippendorff's alpha is {number(alpha)} "
        f"(0 is chance, 1 is full agreement): {meaning}."
    ]


def _length(share: float | None) -> list[str]:
    if share is None:
        return []
    warning = " A policy can learn that alone." if share > 0.6 else ""
    return [f"The longer answer was chosen in {number(share)} of the pairs that differ in length.{warning}"]


def rated(rate: Rated) -> str:
    """`0.81 [0.77, 0.85]`."""
    value, low, high = rate
    return number(value) if value is None else f"{number(value)} {interval(low, high)}"
