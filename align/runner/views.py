"""A run as the report reads it: every step that was made, with its folder and manifest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

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
