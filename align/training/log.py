"""The log of a training run: one row a logged step, without times, the same however often the run was killed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

TIMES = ("_runtime", "_per_second", "total_flos", "num_tokens", "step_time")
"""Endings of metrics that say how fast the machine was, or that start again at zero after a kill."""


def log_rows(history: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """Rows of `log.jsonl` from a trainer's history; the closing row, which sums up the run, is left out."""
    for entry in history:
        if "train_runtime" in entry:
            continue
        phase = "eval" if any(key.startswith("eval_") for key in entry) else "train"
        metrics = {k: v for k, v in entry.items() if k not in ("step", "epoch") and not k.endswith(TIMES)}
        yield {"step": entry["step"], "epoch": round(float(entry.get("epoch", 0.0)), 6), "phase": phase, **metrics}
