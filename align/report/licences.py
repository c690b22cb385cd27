"""What licence a model may carry: the most restrictive of what went into it, and none that we would have to guess."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

CLASSES = (
    ("public domain", r"cc0-.*|unlicense|pddl|wtfpl|0bsd"),
    ("attribution", r"mit(-0)?|apache-2\.0|bsd-[234]-clause.*|isc|zlib|cc-by-\d\.\d|odc-by(-1\.0)?|ecl-2\.0|bsl-1\.0"),
    ("share alike", r"cc-by-sa-\d\.\d|odbl(-1\.0)?|a?gpl-\d.*|lgpl-\d.*|mpl-2\.0|cdla-sharing-1\.0"),
    ("use restricted", r"(bigscience-|creativeml-|bigcode-)?openrail.*|llama\d.*|gemma|deepseek|tongyi-qianwen|other"),
    ("not commercial", r"cc-by-nc(-sa)?-\d\.\d"),
    ("no derivatives", r"cc-by(-nc)?-nd-\d\.\d"),
)
"""From the freest to the most restrictive; a licence that stands in none of them is unknown to us."""


@dataclass(frozen=True)
class Together:
    """The licence of things put together; `name` is None where one of them cannot be placed."""

    name: str | None
    why: str


def rank(licence: str) -> int | None:
    """The place of a licence among `CLASSES`; None for one we do not know."""
    name = licence.strip().lower()
    return next((i for i, (_, pattern) in enumerate(CLASSES) if re.fullmatch(pattern, name)), None)


def together(licences: Mapping[str, str | None]) -> Together:
    """The most restrictive of the licences of what went in, by the name of what carries it."""
    if not licences:
        return Together(None, "for all that went in was made here and declares none")
    unsaid = [name for name, licence in licences.items() if not licence or rank(licence) is None]
    if unsaid:
        return Together(None, f"{', '.join(unsaid)}: no licence that we know is declared")
    ranked = {licence: rank(licence) or 0 for licence in licences.values() if licence}
    worst = max(ranked.values())
    names = sorted({licence for licence, place in ranked.items() if place == worst}, key=str.lower)
    if len({name.lower() for name in names}) > 1 and worst >= 2:
        return Together(None, f"{' and '.join(names)} each ask for their own terms")
    carriers = [name for name, licence in licences.items() if licence in names]
    return Together(names[0], f"the most restrictive of what went in ({CLASSES[worst][0]}: {', '.join(carriers)})")
