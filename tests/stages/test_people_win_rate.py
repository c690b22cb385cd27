"""Two models' answers at a desk and what comes of it, from files to a measurement."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from align.configs import EvaluateStep, LabelStep, SimulatedPeople
from align.errors import RecordError, Waiting
from align.records import Candidate, Comparison, Measurement, Message, Prompt
from align.stages import evaluate, label
from align.store import jsonl
from align.testbed import tasks
from align.testbed.language import POLITE_REFUSALS
from align.testbed.world import make_world
from tests.workshop import TestTools, artifact

PROMPTS = tasks.held_out(make_world(0), 90, 0)


def good(prompt: Prompt) -> str:
    meta = prompt.meta
    if meta["kind"] == "fact":
        return f"Gladly. {meta['stem']} {meta['expected']}."
    if meta["kind"] == "harmful":
        return POLITE_REFUSALS[0]
    return f"Gladly. First take the {meta['expected']}, then {meta['verb']} the {meta['object']}."


def bad(prompt: Prompt) -> str:
    return "Hm."


def answers(folder: Path, model: str, write: object, *, without: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        Candidate(prompt_id=one.id, completion=(Message(role="assistant", content=write(one)),), model=model)  # type: ignore[operator]
        for one in PROMPTS[without:]
    ]
    jsonl.write(folder / "candidates.jsonl", rows)
    return folder


def place(root: Path, ours: object, theirs: object, *, without: int = 0) -> dict[str, Path]:
    data = root / "data"
    data.mkdir(parents=True)
    jsonl.write(data / "test_prompts.jsonl", PROMPTS)
    return {
        "data": data,
        "ours": answers(root / "ours", "tuned", ours, without=without),
        "theirs": answers(root / "theirs", "sft", theirs),
    }


def ask(root: Path, folders: dict[str, Path], config: LabelStep, out: str = "asked") -> Path:
    (root / out).mkdir()
    inputs = {"candidates": folders["ours"], "against": folders["theirs"], "data": folders["data"]}
    label.run(config, {name: artifact(path) for name, path in inputs.items()}, root / out, TestTools(root / "work"))
    return root / out


def measure(root: Path, folders: dict[str, Path], asked: Path) -> dict[str, Measurement]:
    out = root / "measured"
    out.mkdir()
    inputs = {"people": asked, "answers": folders["ours"], "against": folders["theirs"], "data": folders["data"]}
    evaluate.run(
        EvaluateStep(instrument="people_win_rate", model="tuned", against="sft"),
        {name: artifact(path) for name, path in inputs.items()}, out, TestTools(root / "work"),
    )  # fmt: skip
    return {one.metric: one for one in jsonl.read(out / "measurements.jsonl", Measurement)}


SIMULATED = LabelStep(asks="models")
CAREFUL = SimulatedPeople(careful=3, first_biased=0, spammers=0, noise=0.1)


def test_people_who_know_prefer_the_better_model_and_the_better_model_is_the_one_measured(tmp_path: Path) -> None:
    folders = place(tmp_path, good, bad)
    found = measure(tmp_path, folders, ask(tmp_path, folders, LabelStep(asks="models", people=CAREFUL)))
    assert found["raw"].low is not None
    assert found["raw"].low > 0.8
    assert (found["raw"].n, found["raw"].provenance) == (90, "simulated")
    assert found["raw"].meta["against"] == "sft"
    assert found["raw"].meta["statistic"] == "win_rate"
    assert found["raw"].meta["n_annotators"] == 3
    assert set(found["raw"].meta["without_each_annotator"]) == {"careful-1", "careful-2", "careful-3"}  # type: ignore[arg-type]
    other = place(tmp_path / "turned", bad, good)
    lost = measure(tmp_path / "turned", other, ask(tmp_path / "turned", other, SIMULATED))
    assert lost["raw"].high is not None
    assert lost["raw"].high < 0.3


def test_a_model_against_itself_has_nothing_to_judge(tmp_path: Path) -> None:
    folders = place(tmp_path, good, good)
    with pytest.raises(RecordError, match=r"0 comparisons: the two models never gave different answers .*adapter"):
        ask(tmp_path, folders, SIMULATED)


def test_equal_answers_are_ties_that_nobody_is_asked_about_and_missing_ones_are_unscored(tmp_path: Path) -> None:
    same = {one.id for one in PROMPTS[50:]}
    folders = place(tmp_path, good, lambda one: good(one) if one.id in same else bad(one), without=5)
    asked = ask(tmp_path, folders, SIMULATED)
    summary = json.loads((asked / "summary.json").read_text())
    assert summary["unshown"] == {
        "both models gave the same answer": 40, "one of the two models gave no answer": 5,
    }  # fmt: skip
    assert summary["n_comparisons"] == 45
    found = measure(tmp_path, folders, asked)
    assert (found["raw"].n, found["raw"].n_unscored) == (85, 5)


def test_nothing_that_is_shown_says_whose_answer_it_is_and_the_sides_are_mixed(tmp_path: Path) -> None:
    folders = place(tmp_path, good, bad)
    file = tmp_path / "people.jsonl"
    config = LabelStep(asks="models", desk="file", judgments=str(file), annotators_per_comparison=1, max_prompts=60)
    with pytest.raises(Waiting, match=r"^0 of 60 comparisons have 1 judgment;"):
        ask(tmp_path, folders, config)
    shown = (tmp_path / "people.comparisons.jsonl").read_text()
    assert "tuned" not in shown
    assert "sft" not in shown
    rows = [json.loads(line) for line in shown.splitlines()]
    n_first = sum(row["second"] == "Hm." for row in rows)
    assert 18 <= n_first <= 42
    said = [
        {"comparison_id": row["comparison_id"], "annotator": "ana", "provenance": "human",
         "choice": "second" if row["first"] == "Hm." else "first"}
        for row in rows
    ]  # fmt: skip
    file.write_text("".join(json.dumps(row) + "\n" for row in said))
    found = measure(tmp_path, folders, ask(tmp_path, folders, config, out="again"))
    assert (found["raw"].value, found["raw"].n, found["raw"].provenance) == (1.0, 60, "human")
    assert found["raw"].meta["agreement"]["krippendorff_alpha"] is None  # type: ignore[index,call-overload]
    kept = list(jsonl.read(tmp_path / "again" / "comparisons.jsonl", Comparison))
    assert len({one.prompt_id for one in kept}) == 60
