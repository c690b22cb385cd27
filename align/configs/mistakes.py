"""What is wrong with a group of knobs, in one line a person can act on: where, what was found, what was expected."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from align.configs.base import Config

Place = tuple[str | int, ...]
Lines = dict[Place, int]
"""The line on which each knob stands; -1 for one that was set on the command line."""

EXPECTED = {
    "model_type": "knobs",
    "dict_type": "a mapping",
    "list_type": "a list",
    "tuple_type": "a list",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
}
"""By pydantic's type of error, where its own words speak of Python."""
PATTERNS = {
    r"^[0-9a-f]{40}$": "a commit: 40 hex digits",
    r"^[A-Za-z0-9][A-Za-z0-9._-]*$": "a name of letters, digits, `.`, `_` and `-`",
}
ALSO = 3
"""So many further places are named."""


def first_of(error: ValidationError, kind: type[Config], lines: Lines, where: str) -> str:
    """The first mistake, and the places of the others."""
    found = [_explained(kind, dict(problem)) for problem in error.errors(include_url=False)]
    place, said = found[0]
    others = list(dict.fromkeys(".".join(map(str, other)) for other, _ in found if other != place))
    more = f" and {len(others) - ALSO} more" if len(others) > ALSO else ""
    also = f" (also: {', '.join(others[:ALSO])}{more})" if others else ""
    return f"{standing(place, lines, where)}: {said}{also}"


def standing(place: Place, lines: Lines, where: str) -> str:
    """`recipe.yaml:3: dpo.beta`: where a knob stands, as far as it is known."""
    dotted = ".".join(map(str, place))
    line = next((lines[place[:n]] for n in range(len(place), -1, -1) if place[:n] in lines), None)
    if line == -1:
        return f"--set {dotted}"
    at = f"{where}:{line}" if line else where
    return f"{at}: {dotted}" if dotted else at


def _explained(kind: type[Config], problem: dict[str, Any]) -> tuple[Place, str]:
    place = _knob(kind, problem["loc"])
    if problem["type"] == "value_error":
        said = problem["msg"].removeprefix("Value error, ")
        # what speaks of one knob by its name is said at that knob
        name, colon, rest = said.partition(": ")
        owner = _owner(kind, place)
        return ((*place, name), rest) if colon and owner is not None and name in owner.model_fields else (place, said)
    if problem["type"] == "missing":
        return place, "missing"
    if problem["type"] == "extra_forbidden":
        owner, name = _owner(kind, place[:-1]), str(place[-1])
        known = list(owner.model_fields) if owner else []
        near = get_close_matches(name, known, n=1, cutoff=0.5)
        return place, f"no such knob; {f'did you mean `{near[0]}`?' if near else 'there are: ' + ', '.join(known)}"
    return place, _found_against_expected(problem)


def _found_against_expected(problem: dict[str, Any]) -> str:
    found, pattern = problem.get("input"), str((problem.get("ctx") or {}).get("pattern"))
    if isinstance(found, str) and "https?" in pattern:
        return f"{shown(found)} found, expected an http:// or https:// address, or ${{env:NAME}}"
    if isinstance(found, str) and "env" in pattern:
        return "a secret is given as ${env:NAME}, never by its value"
    if problem["type"] == "too_short" and isinstance(found, (list, tuple)):
        least = (problem.get("ctx") or {}).get("min_length", 1)
        return f"a list of {len(found)} found, expected at least {least}"
    expected = EXPECTED.get(problem["type"]) or PATTERNS.get(pattern)
    expected = expected or problem["msg"].removeprefix("Input should be ").removeprefix("String should ")
    quote = "; put it in quotes" if problem["type"] == "string_type" and isinstance(found, (int, float)) else ""
    return f"{shown(found)} found, expected {expected.partition(', unable to ')[0]}{quote}"


def shown(found: object) -> str:
    """What was found, in a few words."""
    match found:
        case None:
            return "nothing"
        case dict():
            return "a mapping"
        case list() | tuple():
            return "a list"
    text = repr(found)
    return text if len(text) <= 80 else text[:79] + "…"


def _knob(kind: type[BaseModel], loc: Sequence[str | int]) -> Place:
    """The place of the knob: pydantic also names the branch of a union that it tried, which nobody wrote."""
    place: list[str | int] = []
    owner: type[BaseModel] | None = kind
    for part in loc:
        if isinstance(part, str) and owner is not None:
            place.append(part)
            field = owner.model_fields.get(part)
            owner = _config_in(field.annotation) if field else None
        elif isinstance(part, int):
            place.append(part)
    return tuple(place)


def _owner(kind: type[BaseModel], place: Place) -> type[BaseModel] | None:
    """The config class that stands at a dotted place, through optionals and tuples."""
    for name in place:
        if isinstance(name, int):
            continue
        field = kind.model_fields.get(name)
        inner = _config_in(field.annotation) if field else None
        if inner is None:
            return None
        kind = inner
    return kind


def _config_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for arg in get_args(annotation) if (found := _config_in(arg))), None)
