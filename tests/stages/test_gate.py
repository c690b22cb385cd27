"""From evaluate artifacts to a verdict: the files, and the word the runner acts on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from align.configs import GateConfig, Margin
from align.errors import GateFailed, RecipeError, RecordError
from align.evals import validation
from align.evals.facts import INSTRUMENT
from align.evals.refusal import INSTRUMENT as REFUSAL
from align.evals.summary import measurements
from align.ports import Artifact, Inputs
from align.records import GateVerdict, ItemScore, Measurement
from align.stages import gate
from align.store import jsonl
from tests.workshop import TestTools

NO_WORSE = Margin(metric="facts.accuracy", at_most_worse=0.05)


def evaluated(folder: Path, model: str, n_right: int, *, n: int = 400, outputs: str | None = None) -> Artifact:
    """What `evaluate` leaves of a model that got the first `n_right` of its items right."""
    folder.mkdir(parents=True)
    rows = [
        ItemScore(instrument="facts", metric="accuracy", model=model, item_id=str(i), value=float(i < n_right))
        for i in range(n)
    ]
    jsonl.write(folder / "scores.jsonl", rows)
    meta = {"outputs": outputs or model}
    jsonl.write(
        folder / "measurements.jsonl", measurements(INSTRUMENT, rows, model=model, provenance="simulated", meta=meta)
    )
    return Artifact(path=folder, key=model, digest=model)


def inputs(folder: Path, **n_right: int) -> dict[str, Artifact]:
    return {f"evaluate/{model}/facts": evaluated(folder / model, model, n) for model, n in n_right.items()}


def judged(folder: Path, given: Inputs, *margins: Margin, **knobs: object) -> dict[str, object]:
    out = folder / "gate"
    out.mkdir()
    gate.run(GateConfig.model_validate({"margins": margins, **knobs}), given, out, TestTools(folder / "work"))
    summary: dict[str, object] = json.loads((out / "summary.json").read_text())
    return summary


@pytest.mark.parametrize(("tuned", "verdict"), [(300, "pass"), (280, "inconclusive"), (200, "fail")])
def test_the_verdict_on_a_tuned_model_of_400_facts_whose_sft_knew_300(tmp_path: Path, tuned: int, verdict: str) -> None:
    given = inputs(tmp_path, sft=300, tuned=tuned)
    summary = judged(tmp_path, given, NO_WORSE)
    assert summary["verdict"] == verdict
    assert summary["blocks"] is (verdict != "pass")
    (line,) = jsonl.read(tmp_path / "gate" / "verdicts.jsonl", GateVerdict)
    assert (line.verdict, line.against, line.n) == (verdict, "sft", 400)


def test_a_gate_that_only_reports_blocks_nothing(tmp_path: Path) -> None:
    summary = judged(tmp_path, inputs(tmp_path, sft=300, tuned=200), NO_WORSE, on_fail="report")
    assert (summary["verdict"], summary["blocks"]) == ("fail", False)


def test_an_accepted_doubt_passes_and_is_named(tmp_path: Path) -> None:
    summary = judged(tmp_path, inputs(tmp_path, sft=300, tuned=280), NO_WORSE, accept_inconclusive=["facts.accuracy"])
    assert (summary["verdict"], summary["accepted"]) == ("pass", ["facts.accuracy"])


def test_what_was_not_measured_is_an_error_and_the_stage_still_writes(tmp_path: Path) -> None:
    summary = judged(
        tmp_path, inputs(tmp_path, sft=300, tuned=300), NO_WORSE, Margin(metric="win_rate.raw", at_least=0.5)
    )
    assert summary["verdict"] == "error"
    assert [line["verdict"] for line in summary["lines"]] == ["pass", "error"]  # type: ignore[attr-defined,index]


def test_without_margins_the_default_lines_judge_what_was_measured(tmp_path: Path) -> None:
    summary = judged(tmp_path, inputs(tmp_path, base=100, tuned=200))
    assert summary["margins"] == "default"
    (line,) = summary["lines"]  # type: ignore[misc]
    assert (line["metric"], line["against"], line["verdict"]) == ("facts.accuracy", "base", "pass")


def test_nothing_measured_is_nothing_certified(tmp_path: Path) -> None:
    assert judged(tmp_path, {})["verdict"] == "error"


def test_comparisons_are_written_for_every_pair_of_models(tmp_path: Path) -> None:
    judged(tmp_path, inputs(tmp_path, base=100, sft=300, tuned=280), NO_WORSE)
    found = {
        (m.model, m.meta["against"]): m.value for m in jsonl.read(tmp_path / "gate" / "compared.jsonl", Measurement)
    }
    assert found == {
        ("sft", "base"): pytest.approx(0.5),
        ("tuned", "base"): pytest.approx(0.45),
        ("tuned", "sft"): pytest.approx(-0.05),
    }
    assert {m.provenance for m in jsonl.read(tmp_path / "gate" / "compared.jsonl", Measurement)} == {"simulated"}


def test_a_metric_with_a_slip_of_the_pen_is_named_before_anything_is_judged(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"facts\.accurracy: no such metric; did you mean `facts\.accuracy`\?"):
        judged(tmp_path, inputs(tmp_path, sft=1, tuned=1), Margin(metric="facts.accurracy", at_most_worse=0.05))


def test_an_input_of_another_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="expected evaluate/<model>/<instrument>"):
        judged(tmp_path, {"evaluate/tuned": evaluated(tmp_path / "x", "tuned", 1)}, NO_WORSE)


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"metric": "facts.accuracy"}, "no bound"),
        ({"metric": "facts.accuracy", "at_most_worse": 0.1, "against": None}, "worse than which model"),
        ({"metric": "win_rate.raw", "at_most_worse": 0.1}, "compares two models already"),
        ({"metric": "facts.accuracy", "model": "sft", "at_most_worse": 0.1}, "against itself"),
    ],
)
def test_a_line_that_says_nothing_is_refused(bad: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Margin.model_validate(bad)


def test_a_floor_under_another_model_may_be_asked() -> None:
    assert Margin(metric="utility.well_formed", model="sft", at_least=0.9).at_least == 0.9


LINES = [
    {"metric": f"m.{i}", "verdict": verdict, "why": f"why {i}"} for i, verdict in enumerate(["pass", *["fail"] * 5])
]


def test_what_blocks_names_the_first_lines_that_do_and_counts_the_rest() -> None:
    said = gate.refusal({"verdict": "fail", "blocks": True, "lines": LINES})
    assert isinstance(said, GateFailed)
    assert str(said) == "gate: fail: m.1: why 1; m.2: why 2; m.3: why 3 (and 2 more); nothing was exported"


@pytest.mark.parametrize("summary", [{"verdict": "pass"}, {"verdict": "fail", "blocks": False}])
def test_what_does_not_block_is_no_refusal(summary: dict[str, object]) -> None:
    assert gate.refusal(summary) is None


def test_a_verdict_of_no_gate_of_ours_lets_nothing_through() -> None:
    with pytest.raises(RecordError, match="verdict: 'perhaps' is not one of pass, fail, inconclusive, error"):
        gate.refusal({"verdict": "perhaps"})


def test_the_previous_release_is_a_folder_of_measurements(tmp_path: Path) -> None:
    evaluated(tmp_path / "release" / "facts", "tuned", 300, outputs="of the release")
    line = Margin(metric="facts.accuracy", at_most_worse=0.05, against="previous")
    for tuned, verdict in ((300, "pass"), (200, "fail")):
        folder = tmp_path / str(tuned)
        summary = judged(folder, inputs(folder, tuned=tuned), line, previous=(str(tmp_path / "release"),))
        assert summary["verdict"] == verdict
        (compared,) = jsonl.read(folder / "gate" / "compared.jsonl", Measurement)
        assert compared.meta["against"] == "previous"


def test_a_previous_release_that_holds_nothing_or_two_of_a_kind_is_refused(tmp_path: Path) -> None:
    line = Margin(metric="facts.accuracy", at_most_worse=0.05, against="previous")
    (tmp_path / "empty").mkdir()
    with pytest.raises(RecordError, match=r"holds no scores\.jsonl"):
        judged(tmp_path / "a", inputs(tmp_path / "a", tuned=300), line, previous=(str(tmp_path / "empty"),))
    evaluated(tmp_path / "two" / "one", "tuned", 300)
    evaluated(tmp_path / "two" / "other", "base", 300)
    with pytest.raises(RecordError, match="facts is measured twice"):
        judged(tmp_path / "b", inputs(tmp_path / "b", tuned=300), line, previous=(str(tmp_path / "two"),))


def test_an_audit_is_read_by_the_model_it_is_of(tmp_path: Path) -> None:
    folder = tmp_path / "audit"
    folder.mkdir()
    answers = ["I cannot help.", "Take the rope."] * 60
    found = validation.audit(answers, [True, False] * 60, provenance="human")
    (folder / "summary.json").write_text(json.dumps(found.document()))
    given = {"audit/tuned": Artifact(path=folder, key="a", digest="a")}
    for model in ("tuned", "sft"):
        out = tmp_path / model
        out.mkdir()
        rows = [
            ItemScore(instrument="refusal", metric="harmful", model=model, item_id=str(i), value=float(i % 2))
            for i in range(400)
        ]
        jsonl.write(out / "scores.jsonl", rows)
        jsonl.write(out / "measurements.jsonl", measurements(REFUSAL, rows, model=model, meta={"outputs": model}))
        given[f"evaluate/{model}/refusal"] = Artifact(path=out, key=model, digest=model)
    line = Margin(metric="refusal.harmful", at_most_worse=0.05)
    (tmp_path / "x").mkdir()
    (tmp_path / "y").mkdir()
    assert judged(tmp_path / "x", given, line)["verdict"] == "pass"
    del given["audit/tuned"]
    assert judged(tmp_path / "y", given, line)["verdict"] == "error"
