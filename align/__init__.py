"""Turns people's preferences into a language model one can trust.

    import align
    recipe = align.load("recipes/quickstart.yaml")
    result = align.run(recipe)
    result.verdict, result.model, result.report

Importing this costs nothing: each name is loaded when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from align.configs import Recipe as Recipe
    from align.errors import AlignError as AlignError
    from align.errors import Waiting as Waiting
    from align.runner import Outlook as Outlook
    from align.runner import Result as Result

__all__ = ["AlignError", "Outlook", "Recipe", "Result", "Waiting", "load", "plan", "run"]
__version__ = "0.1.0"

_ELSEWHERE = {"AlignError": "align.errors", "Waiting": "align.errors", "Recipe": "align.configs",
              "Result": "align.runner", "Outlook": "align.runner"}  # fmt: skip


def load(path: str | Path, sets: Sequence[str] = ()) -> Recipe:
    """The recipe at `path`, each `"a.b=value"` of `sets` put over it; RecipeError names file, line and knob."""
    from align.recipe import load as read

    return read(path, sets)


def plan(recipe: Recipe, *, store: str | Path = "runs") -> list[Outlook]:
    """What `run` would do with each step, and why."""
    outlook: list[Outlook] = _runner(recipe, store, quiet=True).outlook()
    return outlook


def run(recipe: Recipe, *, store: str | Path = "runs", until: str | None = None, redo: Sequence[str] = (),
        refresh: Sequence[str] = (), quiet: bool = False) -> Result:  # fmt: skip
    """Make what is missing, as `align run` does.

    Raises Waiting while people have still to judge, GateFailed, GateInconclusive or GateBroken where the gate refuses,
    and another AlignError for everything else that the user can mend.
    """
    result: Result = _runner(recipe, store, quiet=quiet, until=until, redo=redo, refresh=refresh).run()
    return result


def _runner(recipe: Recipe, store: str | Path, *, quiet: bool, **more: Any) -> Any:
    from pathlib import Path

    from align.runner import Runner
    from align.runner.console import Console
    from align.store.artifacts import Store

    return Runner(recipe, Store(Path(store)), Console(quiet=quiet), **more)


def __getattr__(name: str) -> Any:
    if name in _ELSEWHERE:
        from importlib import import_module

        return getattr(import_module(_ELSEWHERE[name]), name)
    raise AttributeError(f"module 'align' has no attribute {name!r}")
