"""Two runs side by side: paired on the same items, and silent where nothing can be compared."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from align.errors import UsageError
from align.evals.instruments import INSTRUMENTS
from align.evals.summary import measurements
from align.records import ItemScore
from align.report.two_runs import lines, same_labels
from align.report.view import RunView, StepView
from align.store import jsonl


def made(
    folder: Path, name: str, *, right: float, n: int = 400, labels: str = "l", seed: int = 1, items: str = "q"
) -> RunView:
    """A run whose tuned model gets a share `right` of facts right, the same questions harder for all."""
    rng = Random(seed)
    values = [float(rng.random() < right) for _ in range(n)]
    rows = [
        ItemScore(instrument="facts", metric="accuracy", model="tuned", item_id=f"{items}{i}", value=value)
        for i, value in enumerate(values)
    ]
    step = folder / name
    step.mkdir(parents=True)
    jsonl.write(step / "scores.jsonl", rows)
    found = measurements(INSTRUMENTS["facts"], rows, model="tuned", provenance="simulated")
    jsonl.write(step / "measurements.jsonl", found)
    steps = (
        StepView("pair", "pair", folder, {"digest": labels}),
        StepView("evaluate/tuned/facts", "evaluate", step, {"digest": name}),
    )
    return RunView(name, None, {}, steps, None, simulated=True)


def test_a_difference_is_paired_and_marked_where_it_is_sure(tmp_path: Path) -> None:
    worse, better = made(tmp_path, "dpo", right=0.5), made(tmp_path, "rlhf", right=0.8, seed=2)
    (line,) = lines(worse, better)
    assert line.significant
    assert line.found.value == pytest.approx(0.3, abs=0.1)
    assert line.found.low is not None
    assert line.found.low > 0.15
    assert line.first is not None
    assert line.second is not None
    assert line.second.value - line.first.value == pytest.approx(line.found.value)  # type: ignore[operator]
    same = made(tmp_path, "again", right=0.5, seed=3)
    assert not lines(worse, same)[0].significant


def test_whether_the_labels_were_the_same_is_said(tmp_path: Path) -> None:
    one, two = made(tmp_path, "a", right=0.5), made(tmp_path, "b", right=0.5, labels="other")
    assert same_labels(one, one) == "Both learnt from the same labels."
    assert "different labels" in same_labels(one, two)


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    one = made(tmp_path, "a", right=0.5)
    empty = RunView("none", None, {}, (), None, simulated=False)
    with pytest.raises(UsageError, match="measured nothing of their tuned models by the same instruments"):
        lines(one, empty)
    other = made(tmp_path, "b", right=0.5, items="x")
    with pytest.raises(UsageError, match="were measured on different items"):
        lines(one, other)
