"""`align argilla import` from the server to a folder of records that a recipe can name."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

from align.adapters.argilla import importing
from align.adapters.argilla.opening import open_server
from align.configs.argilla import ArgillaConfig
from align.errors import RecipeError, RecordError, UsageError
from align.records import Annotator, canonical
from align.store import jsonl


def bring(asked: ArgillaConfig, dataset: str, out: Path, *, workspace: str | None) -> dict[str, Any]:
    """Read a data set by `asked.mapping` and write its records to `out`, which must not exist; what came, counted."""
    if out.exists():
        raise UsageError(f"{out}: exists already; name a folder that does not")
    server, people = open_server(asked)
    found = importing.find(server, dataset, workspace)
    people.at(found["workspace_id"])
    fields, questions = server.settings(found["id"])
    if asked.mapping is None:
        there = ", ".join(f"{one['name']} ({one['settings']['type']})" for one in fields)
        said = ", ".join(f"{one['name']} ({_options(one)})" for one in questions)
        raise RecipeError(
            f"label.argilla.mapping: missing; {dataset} has the fields {there} and the questions {said}; say at least "
            "mapping.prompt, mapping.answers and mapping.question (in a recipe, or by --set)"
        )
    kind = importing.check(fields, questions, asked.mapping)
    rows = server.records(found["id"])
    read = importing.read(rows, kind, asked.mapping, people)
    if not read.judgments:
        reasons = Counter(row["reason"] for row in read.set_aside)
        told = "".join(f", {n} {why}" for why, n in sorted(reasons.items()))
        raise RecordError(
            f"{dataset}: 0 judgments in {len(rows)} records: {read.counts['submitted']} submitted, "
            f"{read.counts['draft']} drafts, {read.counts['discarded']} discarded{told}"
        )
    who = sorted({(one.annotator, one.provenance) for one in read.judgments})
    summary = {
        "n_prompts": len(read.prompts),
        "n_candidates": len(read.candidates),
        "n_comparisons": len(read.comparisons),
        "n_judgments": len(read.judgments),
        "n_annotators": len(who),
        "provenance": dict(sorted(Counter(one.provenance for one in read.judgments).items())),
        "server": dict(sorted(read.counts.items())),
        "set_aside": dict(sorted(Counter(row["reason"] for row in read.set_aside).items())),
    }
    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    jsonl.write(partial / "prompts.jsonl", read.prompts.values())
    jsonl.write(partial / "candidates.jsonl", read.candidates.values())
    jsonl.write(partial / "comparisons.jsonl", read.comparisons.values())
    jsonl.write(partial / "judgments.jsonl", read.judgments)
    jsonl.write(partial / "annotators.jsonl", (Annotator(name=name, provenance=kind) for name, kind in who))
    if read.set_aside:
        jsonl.write(partial / "set_aside.jsonl", read.set_aside)
    (partial / "summary.json").write_text(canonical(summary) + "\n", encoding="utf-8")
    partial.rename(out)
    return summary


def _options(question: dict[str, Any]) -> str:
    options = [str(one["value"]) for one in question["settings"].get("options") or ()]
    return ": ".join(filter(None, (question["settings"]["type"], ", ".join(options))))
