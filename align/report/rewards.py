"""A reward model in the report: does it rank held-out pairs better than counting words would, and is it too sure?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from align.report import numbers, plots

WORTH = ("n", "accuracy", "accuracy_matched", "longer", "over_longer", "margin", "calibration")
"""What a reward model's summary says of its worth."""


def said(summary: Mapping[str, Any]) -> tuple[str, ...]:
    """Sentences on accuracy and calibration; none where the summary is not a reward model's."""
    if "calibration" not in summary:
        return ()
    over, cal = summary["over_longer"], summary["calibration"]
    if over["low"] > 0:
        verdict = "better than counting words would"
    elif over["high"] < 0:
        verdict = "worse than counting words would"
    else:
        verdict = "no better, as far as these pairs can tell, than counting words would"
    lines = [
        f"It ranks {_share(summary['accuracy'])} of {summary['n']:,} held-out pairs as people do, {verdict}: "
        f"the longer answer is the preferred one in {_share(summary['longer'])}, a difference of {_signed(over)}."
    ]
    if "accuracy_matched" in summary:
        matched = summary["accuracy_matched"]
        lines[0] += f" Of the {matched['n']:,} pairs matched in length (within 3 words) it ranks {_share(matched)}."
    chance = cal["ece_if_calibrated"]
    sure = "too sure" if cal["temperature"] > 1 else "too unsure"
    miscalibrated = cal["ece"]["low"] > chance
    lines.append(
        f"Its sureness is off by {_share(cal['ece'])} on average (expected calibration error; a model that is just as "
        f"right as it is sure would show {numbers.number(chance)} on so few pairs)"
        + (
            f": it is {sure}, and best divided by {numbers.number(cal['temperature'], digits=2)}."
            if miscalibrated
            else "."
        )
    )
    return tuple(lines)


def drawn(step: str, summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The reliability plot, with its caption."""
    if "calibration" not in summary:
        return []
    points = [(row["sure"], row["right"]) for row in summary["calibration"]["bins"]]
    return [("how sure it is, and how often right", plots.reliability(points, name=f"{step} reliability"))]


def _share(estimate: Mapping[str, float]) -> str:
    return f"{numbers.number(estimate['value'])} {numbers.interval(estimate['low'], estimate['high'])}"


def _signed(estimate: Mapping[str, float]) -> str:
    value = numbers.number(estimate["value"], signed=True)
    return f"{value} {numbers.interval(estimate['low'], estimate['high'], signed=True)}"
