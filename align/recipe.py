"""One YAML file, read: YAML 1.2, safe, bounded, and every mistake by file, line and dotted path.

The text is composed into nodes and turned into plain values here, so that each value keeps its line, tags construct
nothing, a repeated key is an error, and an alias cannot blow the recipe up.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from align.configs import Recipe, mistakes
from align.configs.base import Config
from align.configs.mistakes import Lines
from align.errors import RecipeError

MAX_BYTES = 2**18
MAX_DEPTH = 50
MAX_NODES = 10_000
MAX_ALIASES = 100
_SECRET = re.compile(
    r"\b(hf_[A-Za-z0-9]{20,}|sk-[A-Za-z0-9_-]{20,}|AKIA[A-Z0-9]{16}|gh[pousr]_[A-Za-z0-9]{30,}|argilla\.apikey)\b"
    r"|\beyJ[\w-]{8,}\.[\w-]{8,}\.|\b[Bb]earer\s+[\w.~+/-]{12,}|://[^/\s:@]+:[^/\s@]+@"
)
_ENV = re.compile(r"\$\{env:([^}]*)\}")

C = TypeVar("C", bound=Config)


def load(path: str | Path, sets: Sequence[str] = ()) -> Recipe:
    """The recipe at `path`, with each `a.b=value` of `sets` put over it; RecipeError says file, line and knob."""
    path = Path(path)
    values, lines = parse(_text(path), str(path))
    if not isinstance(values, dict):
        raise RecipeError(f"{path}: {mistakes.shown(values)} found, expected a mapping of stages to their knobs")
    for assignment in sets:
        put(values, lines, assignment)
    values.setdefault("name", re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem).strip("-.") or "recipe")
    return checked(Recipe, values, lines, where=str(path), folder=path.resolve().parent)


def checked(kind: type[C], values: dict[str, Any], lines: Lines, *, where: str, folder: Path) -> C:
    """`values` as a config of this kind; the first mistake as one line."""
    _refuse_secrets(values, (), lines, where)
    try:
        return kind.model_validate(values, context={"folder": str(folder)})
    except ValidationError as error:
        raise RecipeError(mistakes.first_of(error, kind, lines, where)) from error


def put(values: dict[str, Any], lines: Lines, assignment: str) -> None:
    """Set one knob from `dotted.path=value`, the value read as YAML."""
    dotted, equals, text = assignment.partition("=")
    names = dotted.strip().split(".")
    if not equals or not all(names):
        raise RecipeError(f"--set {assignment}: expected a.b=value")
    value, _ = parse(text, f"--set {dotted}")
    place: Any = values
    for depth, name in enumerate(names[:-1]):
        step: str | int = int(name) if isinstance(place, list) and name.isdigit() else name
        if isinstance(place, list):
            if not isinstance(step, int) or step >= len(place):
                raise RecipeError(
                    f"--set {dotted}: `{'.'.join(names[:depth])}` is a list of {len(place)}, without a place {name}"
                )
            place = place[step]
        else:
            if place.get(name) is None:
                place[name] = {}
            place = place[name]
        if not isinstance(place, (dict, list)):
            raise RecipeError(
                f"--set {dotted}: `{'.'.join(names[: depth + 1])}` holds {place!r}, and no knobs below it"
            )
    last: Any = int(names[-1]) if isinstance(place, list) and names[-1].isdigit() else names[-1]
    if isinstance(place, list) and (not isinstance(last, int) or last >= len(place)):
        raise RecipeError(f"--set {dotted}: no such place in a list of {len(place)}")
    place[last] = value
    lines[tuple(int(n) if n.isdigit() else n for n in names)] = -1


def secret(reference: str) -> str:
    """The value behind `${env:NAME}`; RecipeError names the variable, never a value."""
    found = _ENV.fullmatch(reference)
    name = found.group(1) if found else ""
    value = os.environ.get(name)
    if not value:
        raise RecipeError(f"the environment variable {name} is not set; export it before the run")
    return value


def _text(path: Path) -> str:
    try:
        with open(path, "rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except FileNotFoundError as error:
        raise RecipeError(f"{path}: no such file") from error
    except (OSError, ValueError) as error:
        raise RecipeError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if len(raw) > MAX_BYTES:
        raise RecipeError(f"{path}: more than {MAX_BYTES:,} bytes, expected a recipe; is it another file?")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path}: not UTF-8 at byte {error.start}; save the file as UTF-8") from error


def parse(text: str, where: str) -> tuple[Any, Lines]:
    """Plain values and the line of each; RecipeError where the YAML is broken or beyond its bounds."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    yaml = YAML(typ="safe", pure=True)
    try:
        _bounded(yaml.parse(text), where)
        node = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        raise RecipeError(f"{where}{line}: not YAML: {error.problem or error.context}") from error
    except (YAMLError, ValueError, RecursionError) as error:
        raise RecipeError(f"{where}: not YAML: {str(error).splitlines()[0]}") from error
    lines: Lines = {}
    return (None if node is None else _Reader(where, lines).value(node, ())), lines


def _bounded(events: Iterable[Any], where: str) -> None:
    depth = aliases = 0
    for n, event in enumerate(events):
        if n > 2 * MAX_NODES:
            raise RecipeError(f"{where}:{event.start_mark.line + 1}: too large: more than {MAX_NODES:,} values")
        kind = type(event).__name__
        depth += kind in ("MappingStartEvent", "SequenceStartEvent")
        depth -= kind in ("MappingEndEvent", "SequenceEndEvent")
        aliases += kind == "AliasEvent"
        if depth > MAX_DEPTH:
            raise RecipeError(f"{where}:{event.start_mark.line + 1}: nested more than {MAX_DEPTH} deep")
        if aliases > MAX_ALIASES:
            raise RecipeError(f"{where}:{event.start_mark.line + 1}: more than {MAX_ALIASES} aliases")


class _Reader:
    """Turns composed nodes into plain values, counting them, for an alias is read again wherever it stands."""

    def __init__(self, where: str, lines: Lines) -> None:
        self.where, self.lines, self.n = where, lines, 0

    def value(self, node: Any, place: tuple[str | int, ...]) -> Any:
        self.n += 1
        line = node.start_mark.line + 1
        if self.n > MAX_NODES or len(place) > MAX_DEPTH:
            raise RecipeError(f"{self.where}:{line}: too large once its aliases are written out")
        self.lines[place] = line
        kind = str(node.tag if isinstance(node.tag, str) else node.ctag).rpartition(":")[2]
        if kind == "map" and isinstance(node.value, list):
            return self._mapping(node, place)
        if kind == "seq" and isinstance(node.value, list):
            return [self.value(item, (*place, i)) for i, item in enumerate(node.value)]
        if isinstance(node.value, str):
            return self._scalar(kind, node.value, line)
        raise RecipeError(f"{self.where}:{line}: the tag {node.tag} is not allowed in a recipe")

    def _mapping(self, node: Any, place: tuple[str | int, ...]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key, item in node.value:
            line, name = key.start_mark.line + 1, key.value
            if not isinstance(name, str) or name == "<<":
                raise RecipeError(f"{self.where}:{line}: a key must be a plain word")
            if name in values:
                dotted = ".".join(map(str, (*place, name)))
                raise RecipeError(
                    f"{self.where}:{line}: {dotted}: given twice, first on line {self.lines[(*place, name)]}"
                )
            values[name] = self.value(item, (*place, name))
            self.lines[(*place, name)] = line
        return values

    def _scalar(self, kind: str, text: str, line: int) -> Any:
        try:
            match kind:
                case "str":
                    return text
                case "null":
                    return None
                case "bool":
                    return text.lower() == "true"
                case "int":
                    return (
                        int(text.replace("_", ""), 0)
                        if text[:2].lower() in ("0x", "0o", "0b")
                        else int(text.replace("_", ""))
                    )
                case "float":
                    return float(
                        text.replace("_", "")
                        .replace(".inf", "inf")
                        .replace(".Inf", "inf")
                        .replace(".INF", "inf")
                        .lower()
                        .replace(".nan", "nan")
                    )
        except ValueError:
            return text
        if kind == "timestamp":
            return text
        raise RecipeError(f"{self.where}:{line}: the tag !{kind} is not allowed in a recipe")


def _refuse_secrets(value: Any, place: tuple[str | int, ...], lines: Lines, where: str) -> None:
    if isinstance(value, dict):
        for name, item in value.items():
            _refuse_secrets(item, (*place, name), lines, where)
    elif isinstance(value, list):
        for i, item in enumerate(value):
            _refuse_secrets(item, (*place, i), lines, where)
    elif isinstance(value, str) and _SECRET.search(value):
        raise RecipeError(
            f"{mistakes.standing(place, lines, where)}: a secret stands in the recipe; "
            "write ${env:NAME} and export NAME instead"
        )
