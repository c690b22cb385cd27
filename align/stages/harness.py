"""Stage `harness`: one model under lm-eval's tasks, asked through our own scorer and sampler."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from align.configs import HarnessStep
from align.evals import harness
from align.ports import Inputs, Sampler, Scorer, Tools
from align.records import Source, canonical
from align.store import jsonl

VERSION = 1


def run(config: HarnessStep, inputs: Inputs, out: Path, tools: Tools) -> None:
    """Write `scores.jsonl`, a row an item and metric, and `measurements.jsonl`, a row a metric."""
    model = inputs["model"]
    folder = model.path / "model"

    @cache
    def scorer() -> Scorer:
        return tools.scorer(folder)

    @cache
    def sampler() -> Sampler:
        return tools.sampler(folder)

    foreign = tools.harness()
    found = list(foreign.scores(config, scorer, sampler, tools.renderer(folder)))
    said = hashlib.sha256(canonical(sorted([one.metric, one.item_id, one.said] for one in found)).encode()).hexdigest()
    rows = harness.item_scores(config.model, found)
    made = harness.measurements(
        config.model,
        found,
        rows,
        sources=(Source(name="model", digest=model.digest), *foreign.sources(config)),
        meta={"outputs": said},
    )
    rows.sort(key=lambda row: (row.metric, row.item_id))
    jsonl.write(out / "scores.jsonl", rows)
    jsonl.write(out / "measurements.jsonl", made)
