"""`align run`, `plan` and `report`: a recipe over a store."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from align import recipe as recipes
from align.errors import AlignError, UsageError
from align.runner import Outlook, Runner
from align.runner.console import Console
from align.store.artifacts import Store


def run(arguments: argparse.Namespace) -> int:
    """Make what is missing; the gate's refusal and waiting have exit codes of their own."""
    console = Console(sys.stderr if arguments.json else sys.stdout)
    runner = _runner(arguments, console, redo=arguments.redo, refresh=arguments.refresh, until=arguments.until)
    refusal: AlignError | None = None
    try:
        result = runner.run()
    except AlignError as error:
        if not {"gate"} & set(runner.state.get("steps", {})) or error.exit_code not in (3, 4, 5):
            raise
        refusal, result = error, None
    report = runner.store.root / "reports" / f"{runner.name}.html"
    if arguments.json:
        told: dict[str, Any] = {
            "recipe": runner.name,
            "verdict": result.verdict if result else _verdict(refusal),
            "report": str(report) if report.exists() else None,
            "ran": list(result.ran) if result else None,
            "steps": {
                name: {"key": seen["key"], "digest": seen["digest"]} for name, seen in runner.state["steps"].items()
            },
        }
        print(json.dumps(told, indent=1))
    elif report.exists() and arguments.until is None:
        _summary(runner, console)
        console.say(f"report: {report}")
    if refusal is not None:
        raise refusal
    return 0


def plan(arguments: argparse.Namespace) -> int:
    """Say what a run would do. Exit 0 whatever that is."""
    runner = _runner(arguments, Console(quiet=True), until=arguments.until)
    outlook = runner.outlook()
    if arguments.json:
        print(json.dumps({"steps": [_row(seen) for seen in outlook]}, indent=1))
        return 0
    colour = {"reuse": "2", "run": "32", "wait": "33"} if sys.stdout.isatty() else {}
    for seen in outlook:
        text = f"{seen.name:<26} {seen.action:<6} {'; '.join(seen.why)}".rstrip()
        print(f"\033[{colour[seen.action]}m{text}\033[0m" if colour else text)
    n = sum(seen.action != "reuse" for seen in outlook)
    print(f"{n} of {len(outlook)} steps to make" if n else "everything is made")
    return 0


def report(arguments: argparse.Namespace) -> int:
    """Write the report of a recipe's last run."""
    from align.report.page import page
    from align.runner.views import run_view

    runner = _ran(arguments, arguments.recipe)
    if arguments.other is not None:
        return _beside(arguments, runner, _ran(arguments, arguments.other))
    path = arguments.out or runner.store.root / "reports" / f"{runner.name}.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(page(run_view(runner.store, runner.state)), encoding="utf-8")
    shutil.move(partial, path)
    print(json.dumps({"report": str(path)}) if arguments.json else path)
    return 0


def _ran(arguments: argparse.Namespace, recipe: Path) -> Runner:
    runner = Runner(recipes.load(recipe, arguments.sets), Store(arguments.store), Console(quiet=True))
    if not runner.state:
        raise UsageError(f"{recipe}: has not been run in {arguments.store}; run: align run {recipe}")
    return runner


def _beside(arguments: argparse.Namespace, one: Runner, other: Runner) -> int:
    """Two runs' tuned models on the same items, in a table."""
    from rich.console import Console as Terminal

    from align.report import two_runs
    from align.runner.views import run_view

    first, second = run_view(one.store, one.state), run_view(other.store, other.state)
    found = two_runs.lines(first, second)
    if arguments.json:
        told = {"first": first.name, "second": second.name, "labels": two_runs.same_labels(first, second)}
        print(json.dumps(told | {"lines": [line.told() for line in found]}, indent=1))
        return 0
    terminal = Terminal()
    terminal.print(two_runs.table(first, second, found))
    terminal.print(two_runs.same_labels(first, second))
    if first.simulated or second.simulated:
        terminal.print("simulated: people, or the truth itself, are made; these numbers say nothing about people")
    return 0


def _runner(arguments: argparse.Namespace, console: Console, **more: Any) -> Runner:
    recipe = recipes.load(arguments.recipe, arguments.sets)
    return Runner(recipe, Store(arguments.store), console, **more)


def _row(seen: Outlook) -> dict[str, Any]:
    row: dict[str, Any] = {"name": seen.name, "action": seen.action, "why": list(seen.why)}
    return row | ({"key": seen.artifact.key} if seen.artifact else {})


def _verdict(refusal: AlignError | None) -> str | None:
    return {3: "fail", 4: "inconclusive", 5: "error"}.get(refusal.exit_code) if refusal else None


def _summary(runner: Runner, console: Console) -> None:
    from rich.console import Console as Rich

    from align.report.terminal import summary
    from align.runner.views import run_view

    console.say()
    Rich(file=console.stream).print(summary(run_view(runner.store, runner.state)))
