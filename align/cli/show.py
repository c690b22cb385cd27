"""`align show`: runs and artifacts, and the way back from a number to the data and the judgments behind it."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from align.cli import rollouts
from align.errors import UsageError
from align.ports import Artifact
from align.store import jsonl
from align.store.artifacts import Store, opened, torn
from align.store.fingerprint import replace

PAIRS = ("preferences.train.jsonl", "preferences.test.jsonl")


def show(arguments: argparse.Namespace) -> int:
    """List the store, or trace one artifact or one preference."""
    store = Store(arguments.store)
    if arguments.models is not None:
        return _models(arguments, store)
    by_path = arguments.what is not None and (Path(arguments.what) / "manifest.json").exists()
    if not store.root.is_dir() and not by_path:
        raise UsageError(f"{store.root}: no store there; run a recipe first, or name one with --store")
    told: Any
    if arguments.what is None:
        told = {"runs": list(_runs(store)), "artifacts": [_row(a) for a in store.artifacts()],
                "unreadable": [str(path.relative_to(store.root)) for path in store.unreadable()],
                "unfinished": [str(path.relative_to(store.root)) for path in store.partials()]}  # fmt: skip
        text = _listing(told)
    elif arguments.rollouts is not None:
        artifact = find(store, arguments.what)
        if artifact is None:
            raise UsageError(f"{arguments.what}: no such artifact; `align show` lists them")
        told = rollouts.last(artifact.path, arguments.rollouts)
        text = rollouts.told(told)
    elif (found := find(store, arguments.what)) is not None:
        told = lineage(store, found)
        text = "\n".join(_tree(told, 0))
    else:
        told = _preference(store, arguments.what)
        text = _told(told)
    if arguments.json:
        json.dump(told, sys.stdout, indent=1, ensure_ascii=False)
        print()
    else:
        print(text)
    return 0


def _models(arguments: argparse.Namespace, store: Store) -> int:
    """Every measured model in one table, and in one page of plots beside the other reports."""
    from rich.console import Console as Rich

    from align.report.page import page
    from align.report.side_by_side import rows_of, table
    from align.runner.views import models_view

    if not store.root.is_dir():
        raise UsageError(f"{store.root}: no store there; run a recipe first, or name one with --store")
    view = models_view(store, arguments.models)
    rows = rows_of(view)
    if arguments.json:
        print(json.dumps([row.told() for row in rows], indent=1, ensure_ascii=False))
        return 0
    path = store.root / "reports" / "models.html"
    path.parent.mkdir(parents=True, exist_ok=True)
    replace(path, page(view))
    Rich(file=sys.stdout).print(table(rows))
    print(f"plots: {path}")
    return 0


def find(store: Store, what: str) -> Artifact | None:
    """The artifact meant by a path, `RECIPE:STEP`, a step of the only recipe, `STAGE/KEY`, or the start of a key."""
    path = Path(what)
    if (path / "manifest.json").exists():
        return opened(path)
    recipe, colon, step = what.rpartition(":")
    runs = store.remembered()
    if colon and recipe in runs and step in runs[recipe]["steps"]:
        return _whole(store, what, runs[recipe]["steps"][step])
    named = {s["key"]: s for run in runs.values() for n, s in run["steps"].items() if n == what}
    if len(named) > 1:
        raise UsageError(f"{what}: several recipes have this step; say which: {', '.join(f'{r}:{what}' for r in runs)}")
    if named:
        return _whole(store, what, next(iter(named.values())))
    stage, _, key = what.rpartition("/")
    if len(key) < 4:
        return None
    matches = [a for a in store.artifacts() if a.key.startswith(key) and stage in ("", a.manifest.get("stage"))]
    if len(matches) > 1:
        raise UsageError(f"{what}: {len(matches)} artifacts start so; give more digits")
    return matches[0] if matches else None


def _whole(store: Store, what: str, seen: dict[str, Any]) -> Artifact:
    artifact = store.find(seen["stage"], seen["key"])
    if artifact is None:
        why = store.problem(seen["stage"], seen["key"]) or "it is gone from the store"
        raise UsageError(f"{what}: {why}; run its recipe again")
    return artifact


def lineage(store: Store, artifact: Artifact) -> dict[str, Any]:
    """An artifact and, below it, all that it was made from, down to the data files."""
    by_key = {a.key: a for a in store.artifacts()}
    return _lineage(artifact, by_key)


def _lineage(artifact: Artifact, by_key: dict[str, Artifact]) -> dict[str, Any]:
    below = {}
    for name, source in artifact.manifest.get("inputs", {}).items():
        made = by_key.get(source["key"])
        below[name] = _lineage(made, by_key) if made else {**source, "state": "gone"}
    return {**_row(artifact), **({"files": files} if (files := list(_files(artifact))) else {}),
            **({"numbers": numbers} if (numbers := list(_numbers(artifact))) else {}), "inputs": below}  # fmt: skip


def _files(artifact: Artifact) -> Iterator[dict[str, str]]:
    def walk(value: Any) -> Iterator[dict[str, str]]:
        if isinstance(value, dict):
            if {"file", "sha256"} <= set(value):
                yield {"file": value["file"], "sha256": value["sha256"]}
            for item in value.values():
                yield from walk(item)
        elif isinstance(value, list):
            for item in value:
                yield from walk(item)

    yield from walk(artifact.manifest.get("config", {}))


def _numbers(artifact: Artifact) -> Iterator[str]:
    path = artifact.path / "measurements.jsonl"
    for _, row in jsonl.rows(path) if path.exists() else ():
        value = row.get("value")
        interval = f" [{row['low']:.3f}, {row['high']:.3f}]" if row.get("low") is not None else ""
        yield f"{row['instrument']}.{row['metric']} {'–' if value is None else f'{value:.3f}'}{interval} n {row['n']}"


def _runs(store: Store) -> Iterator[dict[str, Any]]:
    for name, state in store.remembered().items():
        steps = state["steps"]
        whole = sum(store.find(s["stage"], s["key"]) is not None for s in steps.values())
        yield {"recipe": name, "title": state.get("title"), "steps": len(steps), "whole": whole,
               "verdict": _verdict(store, steps)}  # fmt: skip


def _verdict(store: Store, steps: dict[str, Any]) -> str | None:
    gate = store.find("gate", steps["gate"]["key"]) if "gate" in steps else None
    return json.loads((gate.path / "summary.json").read_text())["verdict"] if gate else None


def _row(artifact: Artifact) -> dict[str, Any]:
    manifest = artifact.manifest
    problem = torn(artifact)
    size = sum(file["size"] for file in manifest["files"])
    return {"step": manifest["step"], "stage": manifest["stage"], "key": artifact.key, "digest": artifact.digest,
            "state": problem or "whole", "bytes": size, "seconds": manifest.get("seconds"),
            "created": manifest.get("created"), "path": str(artifact.path)}  # fmt: skip


def _listing(told: dict[str, Any]) -> str:
    lines = []
    for run in told["runs"]:
        lines.append(
            f"run {run['recipe']:<20} {run['whole']} of {run['steps']} steps whole   gate {run['verdict'] or '–'}"
        )
    for row in told["artifacts"]:
        place, took = f"{row['stage']}/{row['key'][:16]}", row["seconds"] or 0
        lines.append(f"{row['step']:<26} {place:<28} {_size(row['bytes']):>9} {took:8.1f} s  {row['state']}")
    lines += [f"{path:<40} its manifest cannot be read: run its recipe again" for path in told["unreadable"]]
    lines += [f"{path:<40} unfinished: it is used when the same command runs again" for path in told["unfinished"]]
    return "\n".join(lines) or "the store is empty"


def _tree(node: dict[str, Any], depth: int, seen: set[str] | None = None, as_: str = "") -> Iterator[str]:
    """Indented lines; what stands under an artifact is written out where it is first met."""
    seen = set() if seen is None else seen
    head = "  " * depth + (f"{as_} ← " if as_ else "") + f"{node['step']}  "
    if node.get("state") == "gone":
        yield f"{head}{node['key'][:16]}  gone from the store"
        return
    again = node["key"] in seen
    seen.add(node["key"])
    yield f"{head}{node['stage']}/{node['key'][:16]}" + (
        "  (above)" if again else f"  {_size(node['bytes'])}  {node['state']}"
    )
    if again:
        return
    for number in node.get("numbers", []):
        yield f"{'  ' * depth}      {number}"
    for file in node.get("files", []):
        yield f"{'  ' * depth}      file {file['file']}  sha256 {file['sha256'][:16]}…"
    for name, below in node["inputs"].items():
        yield from _tree(below, depth + 1, seen, name)


def _preference(store: Store, what: str) -> dict[str, Any]:
    """A preference by the start of its id, with the judgments that it stands on."""
    matches = []
    for artifact in store.artifacts() if len(what) >= 4 else ():
        for file in PAIRS:
            path = artifact.path / file
            for _, row in jsonl.rows(path) if path.exists() else ():
                if row["id"].startswith(what):
                    matches.append((artifact, row))
    if not matches:
        raise UsageError(f"{what}: nothing in {store.root} has this name; `align show` lists what is there")
    artifact, row = matches[0]
    judgments = []
    source = artifact.manifest.get("inputs", {}).get("label")
    label = store.find("label", source["key"]) if source else None
    wanted = set(row.get("judgment_ids", ()))
    for _, judgment in jsonl.rows(label.path / "judgments.jsonl") if label else ():
        if judgment["id"] in wanted:
            judgments.append(judgment)
    return {"preference": row, "artifact": _row(artifact), "judgments": judgments}


def _told(told: dict[str, Any]) -> str:
    row = told["preference"]
    made = told["artifact"]
    lines = [f"preference {row['id'][:16]}  in {made['step']}  {made['stage']}/{made['key'][:16]}"]
    lines += [f"  {m['role']}: {m['content']}" for m in row["prompt"]]
    lines += [f"  chosen:   {row['chosen'][-1]['content']}", f"  rejected: {row['rejected'][-1]['content']}"]
    origin = row.get("provenance", "the data as given")
    lines.append(f"  label {row.get('label', 1.0)}  agreement {row.get('agreement', '–')}  from {origin}")
    for judgment in told["judgments"]:
        verdict = judgment["verdict"]
        groups = verdict.get("groups")
        said = (
            " > ".join(" = ".join("chosen" if i == row.get("chosen_id") else "rejected" for i in g) for g in groups)
            if groups
            else verdict
        )
        lines.append(f"  {judgment['id'][:16]}  {judgment['annotator']} ({judgment['provenance']}): {said}")
    return "\n".join(lines)


def _size(n: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if n < 1024:
            return f"{n:.0f} {unit}" if unit == "B" else f"{n:.1f} {unit}"
        n /= 1024
    return f"{n:.1f} GiB"
