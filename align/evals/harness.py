"""Foreign benchmarks by name: lm-eval's scores as measurements of ours, a metric `lm_eval.TASK.METRIC` each."""

from __future__ import annotations

from collections.abc import Sequence

from align.evals import summary
from align.evals.evidence import Metric, item_score
from align.ports import HarnessScore
from align.records import ItemScore, Measurement, Meta, Source

NAME = "lm_eval"
FLAWS = (
    "its items are its own: look at the task's file for what is asked and how an answer is found in a text",
    "asked in the chat template by default, so its figures are not those of tables made in plain text",
    "metrics that are no mean over items (perplexity, F1 over a whole set) have no interval and are left out",
)


def metric(name: str, better: str = "higher", unit: str = "share") -> Metric:
    """A metric that only the harness knows."""
    return Metric(name, "lower" if better == "lower" else "higher", unit, "as lm-eval's task scores it")


def item_scores(model: str, found: Sequence[HarnessScore]) -> list[ItemScore]:
    """A row for each item and metric."""
    return [item_score(NAME, one.metric, model, one.item_id, one.value, because=one.because) for one in found]


def measurements(
    model: str, found: Sequence[HarnessScore], rows: Sequence[ItemScore], *, sources: tuple[Source, ...], meta: Meta
) -> list[Measurement]:
    """One a metric, in the harness's order; a share where every value lies between 0 and 1."""
    made = []
    for name in dict.fromkeys(one.metric for one in found):
        of = [row for row in rows if row.metric == name]
        values = [row.value for row in of if row.value is not None]
        better = next((one.better for one in found if one.metric == name and one.value is not None), "higher")
        known = metric(name, better, "share" if all(0 <= v <= 1 for v in values) else "score")
        made.append(
            summary.measurement(
                NAME, known, summary.estimate(known, of), sum(row.value is None for row in of),
                model=model, provenance=None, sources=sources, meta=meta,
            )
        )  # fmt: skip
    return made
