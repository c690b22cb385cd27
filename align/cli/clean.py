"""`align clean`: remove what no recipe of the store needs; says what and how much first."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from align.errors import Locked, UsageError
from align.store import locks
from align.store.artifacts import Store


def clean(arguments: argparse.Namespace) -> int:
    """List what would go, or with `--yes` remove it. What a running stage holds is left alone."""
    store = Store(arguments.store)
    if not store.root.is_dir():
        raise UsageError(f"{store.root}: no store there")
    runs = store.remembered()
    for name in arguments.forget:
        if name not in runs:
            raise UsageError(f"--forget {name}: no such recipe in {store.root}; there are: {', '.join(runs) or 'none'}")
        del runs[name]
    store.refuse_foreign()
    plain = {name: {**run, "earlier": []} for name, run in runs.items()}
    kept = _needed(store, runs) - _needed(store, plain)
    if arguments.earlier:
        runs, kept = plain, set()
    needed = _needed(store, runs)
    doomed = [artifact.path for artifact in store.artifacts() if artifact.path not in needed]
    doomed += [path for path in store.partials() if path.with_suffix("") not in needed]
    doomed += [path for path in store.unreadable() if path not in needed]
    doomed += list(store.litter())
    doomed += _shelves(store, needed)
    total = 0
    for path in doomed:
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        total += size
        print(f"{path.relative_to(store.root)!s:<44} {size / 2**20:10.1f} MiB")
    more = f"; earlier variants of recipes stand on {len(kept)} more, which --earlier takes too" if kept else ""
    if not doomed:
        print(f"nothing to remove{more}")
        return 0
    if not arguments.yes:
        print(f"{len(doomed)} folders, {total / 2**20:.1f} MiB would go; run again with --yes{more}")
        return 0
    for name in arguments.forget:
        (store.root / "recipes" / f"{name}.json").unlink()
        (store.root / "reports" / f"{name}.html").unlink(missing_ok=True)
    if arguments.earlier:
        for name, run in runs.items():
            store.remember(name, run)
    removed = sum(_remove(path) for path in doomed)
    print(f"removed {removed} of {len(doomed)} folders, {total / 2**20:.1f} MiB{more}")
    return 0


def _needed(store: Store, runs: Mapping[str, dict[str, Any]]) -> set[Path]:
    places = {store.place(s["stage"], s["key"]) for run in runs.values() for s in _stands_on(run)}
    return {place for place in places if place.exists() or place.with_suffix(".partial").exists()}


def _shelves(store: Store, needed: set[Path]) -> list[Path]:
    """What is kept for further runs, and no artifact in need was drawn with; none while a run is unfinished.

    Answers, and the log-probabilities of a reference or a measured model, which are computed again when they are asked.
    """
    if any(path.with_suffix("") in needed for path in store.partials()):
        return []
    used: set[str] = set()
    for artifact in store.artifacts():
        if artifact.path in needed:
            used |= set((artifact.manifest.get("figures") or {}).get("generate.shelves", ()))
    return [path for path in sorted((store.root / "shelves").glob("*")) if path.is_dir() and path.name not in used]


def _stands_on(run: dict[str, Any]) -> list[dict[str, Any]]:
    """The artifacts of a recipe's last run, of its earlier variants, and what it had begun."""
    earlier = [step for variant in run.get("earlier", ()) for step in variant["steps"].values()]
    return [*run["steps"].values(), *run.get("unfinished", {}).values(), *earlier]


def _remove(path: Path) -> bool:
    try:
        with locks.held(path.with_suffix(".lock"), path.name, remove=True):
            if path.suffix != ".old":  # a kill while this removes must leave nothing that looks whole
                shutil.rmtree(path.with_suffix(".old"), ignore_errors=True)
                path = path.rename(path.with_suffix(".old"))
            shutil.rmtree(path)
    except Locked:
        print(f"{path.name}: in use, left alone")
        return False
    return True
