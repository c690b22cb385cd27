"""People read some of a model's answers: which, how their words are counted, and what is waited for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from align.configs import AuditConfig
from align.errors import RecordError, Waiting
from align.records import Candidate, Judgment, Message, Prompt
from align.stages import audit
from align.store import jsonl
from align.testbed import tasks
from align.testbed.world import make_world
from tests.workshop import TestTools, artifact

PROMPTS = tasks.held_out(make_world(0), 60, 0)
REFUSAL, ANSWER = "I am sorry, but I cannot help with that.", "First take the rope."


def made(root: Path) -> dict[str, Any]:
    """Answers to 60 prompts, every third a refusal."""
    answers = [
        Candidate(
            prompt_id=p.id, completion=(Message(role="assistant", content=ANSWER if i % 3 else REFUSAL),), model="m"
        )
        for i, p in enumerate(PROMPTS)
    ]
    (root / "data").mkdir()
    (root / "answers").mkdir()
    jsonl.write(root / "data" / "test_prompts.jsonl", PROMPTS)
    jsonl.write(root / "answers" / "candidates.jsonl", answers)
    return {name: artifact(root / name) for name in ("data", "answers")}


def run(root: Path, inputs: dict[str, Any], **knobs: object) -> dict[str, Any]:
    out = root / "out"
    out.mkdir(exist_ok=True)
    audit.run(AuditConfig.model_validate(knobs), inputs, out, TestTools(root / "work"))
    found: dict[str, Any] = json.loads((out / "summary.json").read_text())
    return found


def test_the_truth_of_the_testbed_agrees_with_the_detector_on_its_refusals(tmp_path: Path) -> None:
    found = run(tmp_path, made(tmp_path), answers=40)
    assert (found["n"], found["provenance"]) == (40, "simulated")
    assert found["kappa"]["opening"]["value"] == 1
    assert 0 < found["n_refused"] < 40
    said = list(jsonl.read(tmp_path / "out" / "judgments.jsonl", Judgment))
    assert len(said) == 40
    assert {one.provenance for one in said} == {"simulated"}


def test_people_are_waited_for_and_then_counted(tmp_path: Path) -> None:
    inputs, labels = made(tmp_path), tmp_path / "people.jsonl"
    knobs: dict[str, object] = {"desk": "file", "judgments": str(labels), "answers": 30}
    with pytest.raises(Waiting, match=r"0 of 30 answers have 1 label; write .* Does this answer refuse"):
        run(tmp_path, inputs, **knobs)
    shown = [row for _, row in jsonl.rows(tmp_path / "people.comparisons.jsonl")]
    assert {tuple(sorted(row)) for row in shown} == {("comparison", "comparison_id", "first", "pair_id", "prompt")}
    rows = [
        {"comparison_id": row["comparison_id"], "annotator": "ana", "provenance": "human",
         "choice": "refuses" if row["first"] == REFUSAL else "answers"}
        for row in shown
    ]  # fmt: skip
    rows[0]["choice"] = "answers" if rows[0]["choice"] == "refuses" else "refuses"
    labels.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = run(tmp_path, inputs, **knobs)
    assert (found["n"], found["provenance"]) == (30, "human")
    assert 0.8 < found["kappa"]["opening"]["value"] < 1


def test_of_two_annotators_who_disagree_nothing_is_learnt(tmp_path: Path) -> None:
    inputs, labels = made(tmp_path), tmp_path / "people.jsonl"
    knobs: dict[str, object] = {"desk": "file", "judgments": str(labels), "answers": 20, "annotators_per_answer": 2}
    with pytest.raises(Waiting):
        run(tmp_path, inputs, **knobs)
    shown = [row for _, row in jsonl.rows(tmp_path / "people.comparisons.jsonl")]
    rows = [
        {"comparison_id": row["comparison_id"], "annotator": who, "provenance": "human",
         "choice": "refuses" if (row["first"] == REFUSAL) != (i < 5 and who == "bo") else "answers"}
        for i, row in enumerate(shown)
        for who in ("ana", "bo")
    ]  # fmt: skip
    labels.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run(tmp_path, inputs, **knobs)["n"] == 15


def test_published_labels_need_no_desk(tmp_path: Path) -> None:
    path = tmp_path / "said.jsonl"
    jsonl.write(path, [{"answer": ANSWER if i % 3 else REFUSAL, "refused": i % 3 == 0} for i in range(120)])
    found = run(tmp_path, {}, desk="file", published=str(path))
    assert (found["n"], found["n_refused"], found["provenance"]) == (120, 40, "human")


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"answer": "No."}, r"said.jsonl:1: expected a text under `answer`"),
        ({"answer": "No.", "refused": True, "provenance": "alien"}, "provenance: 'alien' is not one of"),
    ],
)
def test_a_label_that_says_nothing_is_refused(tmp_path: Path, row: dict[str, object], says: str) -> None:
    jsonl.write(tmp_path / "said.jsonl", [row])
    with pytest.raises(RecordError, match=says):
        run(tmp_path, {}, desk="file", published=str(tmp_path / "said.jsonl"))


def test_answers_to_prompts_that_nobody_made_have_no_made_truth(tmp_path: Path) -> None:
    inputs = made(tmp_path)
    real = [Prompt(messages=p.messages, source="a file") for p in PROMPTS]
    jsonl.write(tmp_path / "data" / "test_prompts.jsonl", real)
    found = run(tmp_path, inputs)
    assert (found["n"], found.get("provenance")) == (0, None)
