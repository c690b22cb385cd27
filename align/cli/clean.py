"""`align clean`: remove what no recipe of the store needs; says what and how much first."""

from __future__ import annotations

import argparse
import shutil
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
    needed = {store.place(s["stage"], s["key"]) for run in runs.values() for s in _stands_on(run)}
    doomed = [artifact.path for artifact in store.artifacts() if artifact.path not in needed]
    doomed += [path for path in store.partials() if path.with_suffix("") not in needed]
    doomed += [path for path in store.unreadable() if path not in needed]
    doomed += list(store.litter())
    total = 0
    for path in doomed:
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
        total += size
        print(f"{path.relative_to(store.root)!s:<44} {size / 2**20:10.1f} MiB")
    if not arguments.yes:
        print(
            f"{len(doomed)} folders, {total / 2**20:.1f} MiB would go; run again with --yes"
            if doomed
            else "nothing to remove"
        )
        return 0
    for name in arguments.forget:
        (store.root / "recipes" / f"{name}.json").unlink()
        (store.root / "reports" / f"{name}.html").unlink(missing_ok=True)
    removed = sum(_remove(path) for path in doomed)
    print(f"removed {removed} of {len(doomed)} folders, {total / 2**20:.1f} MiB")
    return 0


def _stands_on(run: dict[str, Any]) -> list[dict[str, Any]]:
    """The artifacts of a recipe's last run, and what it had begun."""
    return [*run["steps"].values(), *run.get("unfinished", {}).values()]


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
