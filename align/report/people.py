"""Who judged, how far they agreed, and what became of their judgments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from align.report.numbers import count, interval, number
from align.report.view import RunView, StepView

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
    tells: Rated
    """How far the answers depend on the answers shown: 1 as the others' do, 0 not at all."""
    gold: Rated
    consistent: Rated
    seconds: float | None
    spammer_score: float | None
    faults: tuple[str, ...]


@dataclass(frozen=True)
class Line:
    """One number of a small table: what it is, its value and interval, and how many it stands on."""

    name: str
    rated: Rated
    n: int | None
    says: str = ""


@dataclass(frozen=True)
class People:
    """All of them."""

    sentences: tuple[str, ...]
    warnings: tuple[str, ...]
    """What is wrong with all of it rather than with one of them."""
    coefficients: tuple[Line, ...]
    """How far they agree, by every coefficient that is defined."""
    relabelled: tuple[Line, ...]
    """How often a label is wrong, from pairs judged twice."""
    judges: tuple[Line, ...]
    """Each judge's agreement with people."""
    desks: tuple[str, ...]
    """What desks counted beside judgments, a sentence each."""
    rules: tuple[tuple[str, str], ...]
    """What an annotator is named for, by monitor."""
    annotators: tuple[Person, ...]
    dropped: tuple[tuple[str, int], ...]
    """Comparisons that gave no pair, by reason."""
    simulated: bool


def people(view: RunView) -> People | None:
    """From the summary of `pair`, or of `label` where there are no pairs yet; none where nobody judged."""
    told = next(
        (s for name in ("pair", "label") if (step := view.step(name)) and (s := step.summary()).get("n_judgments")),
        None,
    )
    if told is None:
        return None
    agreement = told.get("agreement") or {}
    annotators = tuple(_person(row) for row in told.get("annotators", ()))
    return People(
        (
            _funnel(told, len(annotators)),
            *_agreement(agreement),
            *_length(told.get("longer_chosen_share")),
            *_weighed(told),
            *_circles(told.get("n_cycles")),
        ),
        tuple(told.get("warnings") or ()),
        tuple(_coefficients(agreement)),
        tuple(_relabelled(told.get("relabelled") or {})),
        tuple(_judges(told.get("judges") or ())),
        tuple(said for step in view.of_stage("label") for said in _desk(step)),
        tuple(((told.get("monitors") or {}).get("rules") or {}).items()),
        annotators,
        tuple((told.get("dropped") or {}).items()),
        simulated="simulated" in (told.get("provenance") or ()) or any(p.provenance == "simulated" for p in annotators),
    )


def _person(row: Mapping[str, Any]) -> Person:
    with_others, first_shown, longer, tells, gold, consistent = (
        _rate(row.get(name)) for name in ("with_others", "first_shown", "longer", "tells", "gold", "consistent")
    )
    return Person(
        str(row.get("name")), str(row.get("provenance")), row.get("n_judgments"), with_others, first_shown, longer,
        tells, gold, consistent, row.get("seconds"), row.get("spammer_score"), tuple(row.get("faults") or ()),
    )  # fmt: skip


def _rate(found: Mapping[str, Any] | None) -> Rated:
    found = found or {}
    return found.get("share"), found.get("low"), found.get("high")


COEFFICIENTS = {
    "raw": ("raw agreement", "any two labels of one pair are the same"),
    "krippendorff_alpha": ("Krippendorff's α", "one side, the other, or a tie"),
    "ordinal_alpha": ("Krippendorff's α, ordinal", "the same with how much better"),
    "fleiss_kappa": ("Fleiss' κ", "where every pair has equally many labels"),
    "cohen_kappa": ("Cohen's κ", "mean over pairs of annotators"),
}


def _coefficients(told: Mapping[str, Any]) -> Iterator[Line]:
    limits = told.get("intervals") or {}
    for name, (title, says) in COEFFICIENTS.items():
        if told.get(name) is not None:
            low, high = limits.get(name) or (None, None)
            n = told.get("n_ordinal" if name == "ordinal_alpha" else "n_units")
            yield Line(title, (told[name], low, high), n, says)


def _relabelled(told: Mapping[str, Any]) -> Iterator[Line]:
    for name, one in (told.get("noise") or {}).items():
        tied = one.get("n_tied")
        says = f"{count(tied)} more had no winner the second time" if tied else ""
        yield Line(f"{name}: went the other way", _rate(one.get("disagree")), one.get("n"), says)
        yield Line(f"{name}: a label is wrong", (one.get("epsilon"), one.get("low"), one.get("high")), one.get("n"))


def _judges(rows: Sequence[Mapping[str, Any]]) -> Iterator[Line]:
    for one in rows:
        low, high = one.get("kappa_interval") or (None, None)
        among = one.get("people_kappa")
        torn = one.get("n_contradicts_itself")
        yield Line(f"{one['judge']}: says what people say", _rate(one.get("agree")), one.get("n"))
        says = f"people among themselves {number(among)}" if among is not None else ""
        said = f"; {count(torn)} times it contradicted itself between its seats" if torn else ""
        yield Line(f"{one['judge']}: Cohen's κ", (one.get("kappa"), low, high), one.get("n"), says + said)


def _desk(step: StepView) -> Iterator[str]:
    """What a desk said beside judgments, and how the steps beside the main one fared."""
    told = step.summary()
    desk = told.get("desk") or {}
    null = desk.get("null_control")
    if null:
        lost = ", ".join(f"{count(n)} {why}" for why, n in (desk.get("unreadable") or {}).items()) or "none"
        yield (
            f"{step.name}: the judge {desk.get('judge')} was asked {count(desk.get('n_asked'))} times, each pair in "
            f"both seats; verdicts that could not be read: {lost}. An answer that says nothing but asks to be "
            f"preferred won {rated(_rate(null))} of {count(null.get('n'))}."
        )
    if "drafts" in desk:
        gone, changed = desk.get("answers_gone_from_server"), desk.get("records_changed_on_server")
        yield (
            f"{step.name}: {count(desk.get('submitted'))} answers were submitted in Argilla; {count(desk['drafts'])} "
            f"drafts and {count(desk.get('discarded'))} discarded were not used"
            + (f"; {count(gone)} that had been pulled were gone from the server" if gone else "")
            + (
                f"; {count(changed)} comparisons were changed there, and what was said of them is void"
                if changed
                else ""
            )
            + "."
        )
    aside = told.get("set_aside") or {}
    if aside and not null:
        said = ", ".join(f"{count(n)} {why}" for why, n in aside.items())
        yield f"{step.name}: set aside, and kept in set_aside.jsonl: {said}."
    if step.name != "label" and told.get("n_judgments") and not null:
        alpha = (told.get("agreement") or {}).get("krippendorff_alpha")
        agreed = f", Krippendorff's alpha {number(alpha)}" if alpha is not None else ""
        people = len(told.get("annotators") or ())
        yield (
            f"{step.name}: {count(told['n_judgments'])} judgments by {people} annotators of "
            f"{count(told.get('n_comparisons'))} comparisons{agreed}."
        )


def _circles(n: int | None) -> list[str]:
    """Majorities that beat each other in turn; what a model can learn of those is their mean."""
    return (
        [f"In {count(n)} groups of answers the majorities run in a circle (A over B, B over C, C over A)."] if n else []
    )


def _weighed(told: Mapping[str, Any]) -> list[str]:
    """What the labels are that are trained on, where they are not the plain majority."""
    rule, label, noise = told.get("rule"), told.get("mean_label"), told.get("mean_epsilon")
    if rule == "weighted" and label is not None:
        return [f"Votes were weighed by who cast them (Dawid and Skene); the mean label is {number(label)}."]
    if rule == "soft" and label is not None:
        return [f"Labels are shares of votes; the mean label is {number(label)}."]
    if noise is not None:
        return [f"Each label carries its noise into the loss; on average it is wrong with probability {number(noise)}."]
    return []


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
