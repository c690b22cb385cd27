"""A run as the report reads it: every step that was made, with its folder and manifest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from align.errors import UsageError
from align.evals.gates import gravest
from align.report.view import RunView, StepView, in_order
from align.store.artifacts import Store
from align.store.fingerprint import read_json


def run_view(store: Store, state: Mapping[str, Any]) -> RunView:
    """The view of one recipe's last run in a store."""
    steps = []
    for name, seen in state.get("steps", {}).items():
        folder = store.place(seen["stage"], seen["key"])
        made = (folder / "manifest.json").exists()
        manifest = read_json(folder / "manifest.json") if made else {}
        steps.append(StepView(name, seen["stage"], folder, manifest, "done" if made else "missing"))
    said = [read_json(one.path / "summary.json")["verdict"] for one in steps if one.stage == "gate" and one.manifest]
    verdict = gravest(said) if said else None
    recipe = state.get("recipe", {})
    simulated = bool((recipe.get("data") or {}).get("testbed"))
    return RunView(state["name"], state.get("title"), recipe, in_order(steps), verdict, simulated)


def models_view(store: Store, wanted: Sequence[str]) -> RunView:
    """Everything that was measured of models in a store, whatever run measured them, side by side.

    `wanted` names models as `RUN:MODEL`, whole runs, or models of any run; nothing is everything. A model that several
    runs measured under one name is told apart by its run.
    """
    found: dict[tuple[str, str], list[StepView]] = {}
    for run, state in store.remembered().items():
        for step in run_view(store, state).steps:
            parts = step.name.split("/")
            if parts[0] == "evaluate" and len(parts) == 3 and step.manifest:
                found.setdefault((run, parts[1]), []).append(step)
    known = {f"{run}:{model}": (run, model) for run, model in found}
    taken = [key for key in known.values() if not wanted or {key[0], key[1], ":".join(key)} & set(wanted)]
    for word in wanted:
        if not any(word in (run, model, f"{run}:{model}") for run, model in taken):
            raise UsageError(f"{word}: nothing measured goes by this name; there are: {', '.join(known) or 'none'}")
    if not taken:
        raise UsageError(f"{store.root}: no model was measured there; run a recipe, or align evaluate MODEL")
    runs_of: dict[str, set[str]] = {}
    for run, model in taken:
        runs_of.setdefault(model, set()).add(run)
    steps, seen = [], set()
    for run, model in taken:
        label = model if len(runs_of[model]) == 1 else f"{run}:{model}"
        for step in found[run, model]:
            if (label, step.path) not in seen:  # one artifact may serve many runs
                seen.add((label, step.path))
                steps.append(replace(step, name=f"evaluate/{label}/{step.name.split('/')[2]}"))
    made = any((state.get("recipe", {}).get("data") or {}).get("testbed") for state in store.remembered().values())
    return RunView("models", "Measured models side by side", {}, in_order(steps), None, bool(made))
