"""Which code decides a stage's result, and whether it is still the code that its VERSION was given to.

$ python -m tests.stage_versions                      # what changed; records the stages whose VERSION was raised
$ python -m tests.stage_versions --same "reason"      # the rest changed in a way that moves no result: recorded so
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RECORD = Path(__file__).with_name("stage_versions.json")
ROOMS = frozenset({"stages", "training", "adapters", "models", "report", "testbed", "evals", "data", "preference"})
"""What stands above these decides no result, and what stands below enters the keys as knobs or records."""
BEHIND = {
    "prepare": ("align.adapters.hub",),
    "base": ("align.training.pretrain", "align.training.origin"),
    "sft": ("align.training.sft",),
    "generate": ("align.adapters.transformers",),
    "label": ("align.adapters.argilla.desk", "align.adapters.judge.desk"),
    "dpo": ("align.training.dpo",),
    "reward": ("align.training.reward",),
    "evaluate": ("align.adapters.transformers",),
    "harness": ("align.adapters.lm_eval", "align.adapters.transformers"),
    "export": ("align.training.export",),
}
"""Modules that a stage reaches through its tools and not by an import."""


@dataclass(frozen=True)
class Code:
    """What stands behind a stage now: its VERSION, and the tree of each module that it reaches."""

    version: int
    trees: dict[str, str]


def code(root: Path = ROOT) -> dict[str, Code]:
    """Every stage that says a VERSION, by name."""
    found = {}
    for path in sorted((root / "align" / "stages").glob("*.py")):
        version = _version(path)
        if version is not None:
            modules = reached((f"align.stages.{path.stem}", *BEHIND.get(path.stem, ())), root)
            found[path.stem] = Code(version, {name: tree_of(_file(name, root).read_text("utf-8")) for name in modules})
    return found


def reached(starts: tuple[str, ...], root: Path = ROOT) -> list[str]:
    """The modules of these rooms that are imported from `starts` on, wherever in the file the import stands."""
    seen: set[str] = set()
    left = list(starts)
    while left:
        name = left.pop()
        if name not in seen:
            seen.add(name)
            left += _imports(name, root)
    return sorted(seen)


@cache
def tree_of(source: str) -> str:
    """sha256 of a module's syntax tree, where comments, docstrings, blank lines and places leave no mark."""
    return hashlib.sha256(repr(_plain(ast.parse(source))).encode("utf-8")).hexdigest()


def _plain(node: object) -> object:
    if isinstance(node, ast.AST):
        # a field without a value is left out: which of them there are differs from Python to Python
        fields = [(name, _plain(value)) for name, value in ast.iter_fields(node) if value not in (None, [])]
        return type(node).__name__, fields
    if isinstance(node, list):
        return [_plain(item) for item in node if not _is_text(item)]
    return repr(node)


def _is_text(node: object) -> bool:
    """A string that stands alone: a docstring, also one under a field."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _imports(name: str, root: Path) -> Iterator[str]:
    for module in _asked(_file(name, root).read_text("utf-8")):
        parts = module.split(".")
        if len(parts) > 1 and parts[0] == "align" and parts[1] in ROOMS and _file(module, root).exists():
            yield module


@cache
def _asked(source: str) -> tuple[str, ...]:
    found: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return tuple(found)


def _file(module: str, root: Path) -> Path:
    path = root.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _version(path: Path) -> int | None:
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "VERSION":
            return int(ast.literal_eval(node.value))
    return None


def recorded() -> dict[str, Any]:
    """What was last entered."""
    return json.loads(RECORD.read_text("utf-8")) if RECORD.exists() else {"modules": {}, "stages": {}}


def changed(now: dict[str, Code], before: dict[str, Any]) -> dict[str, list[str]]:
    """Stages that have the VERSION they had while code behind them has changed, and which modules that is."""
    found = {}
    for stage, seen in now.items():
        old = before["stages"].get(stage)
        modules = [name for name, tree in seen.trees.items() if before["modules"].get(name) != tree]
        gone = sorted(set(old["reaches"]) - set(seen.trees)) if old else []
        if old is not None and old["version"] == seen.version and (modules or gone):
            found[stage] = modules + [f"{name} (no longer reached)" for name in gone]
    return found


def unrecorded(now: dict[str, Code], before: dict[str, Any]) -> list[str]:
    """Stages that are new or have another VERSION than was entered, or that are gone."""
    moved = [s for s, seen in now.items() if before["stages"].get(s, {}).get("version") != seen.version]
    return moved + sorted(set(before["stages"]) - set(now))


def entry(now: dict[str, Code], before: dict[str, Any], *, same: str | None, unmoved: dict[str, list[str]]) -> str:
    """The record's new text."""
    stages: dict[str, Any] = {}
    for stage, seen in now.items():
        old = before["stages"].get(stage, {})
        reason = same if stage in unmoved else old.get("same_because") if old.get("version") == seen.version else None
        stages[stage] = {
            "version": seen.version,
            "reaches": sorted(seen.trees),
            **({"same_because": reason} if reason else {}),
        }
    modules = {name: tree for seen in now.values() for name, tree in seen.trees.items()}
    return json.dumps({"modules": modules, "stages": stages}, indent=1, sort_keys=True) + "\n"


def main() -> int:
    """Say what changed, and enter what may be entered."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--same", metavar="REASON", help="why the changed code gives the results it gave before")
    same = parser.parse_args().same
    now, before = code(), recorded()
    unmoved = changed(now, before)
    for stage, modules in unmoved.items():
        print(f"{stage}: VERSION {now[stage].version} as before, but changed: {', '.join(modules)}")
    if unmoved and same is None:
        print('raise VERSION in each of these stages, or say why no result moves: --same "reason"')
        return 1
    RECORD.write_text(entry(now, before, same=same, unmoved=unmoved), "utf-8")
    print(f"{RECORD.relative_to(ROOT)}: {len(now)} stages entered")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
