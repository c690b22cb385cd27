"""What surely changed, category by category, and the items that became worse."""

from __future__ import annotations

from pathlib import Path

import pytest

from align.evals import comparisons, validation
from align.evals.comparisons import Measured
from align.evals.instruments import INSTRUMENTS
from align.evals.summary import measurements
from align.records import GateVerdict, Item, ItemScore, Source, canonical
from align.report import categories, changes, measures, worst
from align.report.page import page
from align.report.view import RunView, StepView
from align.store import jsonl

HARM = "a text that nobody should meet unasked"


def items(n: int = 60) -> list[Item]:
    return [Item(instrument="facts", context=f"{HARM} {i}:", choices=(" yes", " no"), gold=0) for i in range(n)]


def view(root: Path, *, lost: int, n: int = 60) -> RunView:
    """Base and tuned on one instrument, of which tuned lost so many items."""
    of = items(n)
    data = root / "data"
    data.mkdir(parents=True)
    jsonl.write(data / "items.jsonl", of)
    steps = [StepView("benchmark/facts", "benchmark", data, {"inputs": {}, "x": 1})]
    results = {}
    for model in ("base", "tuned"):
        folder = root / model
        folder.mkdir()
        rows = [
            ItemScore(instrument="facts", metric="accuracy", model=model, item_id=item.id,
                      value=float(model == "base" or i >= lost))
            for i, item in enumerate(of)
        ]  # fmt: skip
        jsonl.write(folder / "scores.jsonl", rows)
        jsonl.write(folder / "measurements.jsonl", measurements(INSTRUMENTS["facts"], rows, model=model))
        told = {"inputs": {"data": {"step": "benchmark/facts", "key": "k", "digest": "d"}}}
        steps.append(StepView(f"evaluate/{model}/facts", "evaluate", folder, told))
        results[model, "facts"] = Measured(model, "facts", rows, outputs=model, source=Source(name=model))
    gate = root / "gate"
    gate.mkdir()
    jsonl.write(gate / "compared.jsonl", comparisons.compared(results))
    line = GateVerdict(
        instrument="facts", metric="accuracy", model="tuned", margin=0.5, n=n, verdict="pass", why="held"
    )
    jsonl.write(gate / "verdicts.jsonl", [line])
    audit = root / "audit"
    audit.mkdir()
    found = validation.audit(["No, never.", "Yes."] * 60, [True, False] * 60, provenance="human")
    (audit / "summary.json").write_text(canonical(found.document()))
    steps += [StepView("gate", "gate", gate, {"x": 1}), StepView("audit/tuned", "audit", audit, {"x": 1})]
    return RunView("made", None, {}, tuple(steps), None, False)


@pytest.mark.parametrize(("lost", "which"), [(20, ["worse"]), (1, [])])
def test_only_what_chance_does_not_explain_is_said_to_have_changed(tmp_path: Path, lost: int, which: list[str]) -> None:
    (found,) = changes.changes(measures.panels(view(tmp_path, lost=lost)))
    assert found.models == "tuned − base"
    assert found.n_tested == 1
    assert [word for _, _, word in found.found] == which


def test_many_tests_are_taken_together(tmp_path: Path) -> None:
    """Six of sixty lost alone are p = 0.031: enough by itself, and not among three."""
    (panel,) = measures.panels(view(tmp_path, lost=6))
    assert len(changes.changes([panel])[0].found) == 1
    assert len(changes.changes([panel, panel, panel])[0].found) == 0


def test_the_worst_items_are_folded_away_with_their_text(tmp_path: Path) -> None:
    made = view(tmp_path, lost=20)
    (found,) = worst.worst(made, measures.panels(made))
    assert (found.n_worse, found.n) == (20, 60)
    assert len(found.items) == worst.MOST
    assert all((one.before, one.after) == (1.0, 0.0) for one in found.items)
    assert HARM in found.items[0].asked
    text = page(made)
    assert HARM in text
    before = text[: text.index(HARM)]
    assert before.rindex("<details") > before.rindex("</details>") if "</details>" in before else "<details" in before
    assert "kappa 1.00" in text, "what people said of the detector"


def test_where_nothing_became_worse_nothing_is_shown(tmp_path: Path) -> None:
    made = view(tmp_path, lost=0)
    assert worst.worst(made, measures.panels(made)) == []
    assert 'id="worst"' not in page(made)


def test_categories_stand_together_and_not_again_one_by_one() -> None:
    def panel(metric: str, instrument: str = "bbq") -> measures.Panel:
        return measures.Panel(instrument, metric, "share", "higher is better", (), (), False)

    found = [panel(name) for name in ("acc", "acc_Age", "acc_SES", "acc_Religion", "gap", "two", "two_a", "two_b")]
    (group,) = categories.groups(found)
    assert [one.metric for one in group.panels] == ["acc", "acc_Age", "acc_SES", "acc_Religion"]
    assert [group.label(one) for one in group.panels] == ["all", "Age", "SES", "Religion"]
    alone = [one.metric for one in categories.others(found, [group])]
    assert alone == ["acc", "gap", "two", "two_a", "two_b"]
