"""A team's own questions: what is read, what is right, and precision, recall and F1 with their intervals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from align.data import published
from align.errors import RecordError
from align.evals import questions, summary
from align.evals.evidence import Evidence
from align.ports import Score
from align.records import Item, Measurement, Prompt


def read(path: Path, *rows: dict[str, Any]) -> list[Item | Prompt]:
    path.write_text("\n".join(map(json.dumps, rows)))
    assert questions.INSTRUMENT.published is not None
    return published.read(questions.INSTRUMENT.published, path)[0]


def measured(asked: list[Item | Prompt], answers: list[str]) -> dict[str, Measurement]:
    prompts = [one for one in asked if isinstance(one, Prompt)]
    said = {prompt.id: [answer] for prompt, answer in zip(prompts, answers, strict=True)}
    rows = questions.score(Evidence("m", prompts=prompts, answers=said))
    return {m.metric: m for m in summary.measurements(questions.INSTRUMENT, rows, model="m")}


def test_precision_recall_and_f1_are_those_of_the_table(tmp_path: Path) -> None:
    """Of 20 mails 8 are spam; the model calls 6 of them spam and 3 of the others: P 6/9, R 6/8, F1 12/17."""
    rows = [
        {"prompt": f"mail {i}", "expected": "spam" if i < 8 else "ham", "labels": ["spam", "ham"], "positive": "spam"}
        for i in range(20)
    ]
    found = measured(
        read(tmp_path / "q.jsonl", *rows), ["spam." if i < 6 or i >= 17 else "It is ham" for i in range(20)]
    )
    assert found["precision"].value == pytest.approx(6 / 9)
    assert found["recall"].value == pytest.approx(6 / 8)
    assert found["f1"].value == pytest.approx(12 / 17)
    assert found["label"].value == pytest.approx(15 / 20)
    for metric in found.values():
        assert metric.value is not None
        assert metric.low is not None
        assert metric.high is not None
        assert 0 <= metric.low < metric.value < metric.high <= 1


def test_a_perfect_classifier_is_not_certain_to_be_perfect(tmp_path: Path) -> None:
    rows = [{"prompt": f"{i}", "expected": "a", "labels": ["a", "b"], "positive": "a"} for i in range(20)]
    found = measured(read(tmp_path / "q.jsonl", *rows), ["a"] * 20)["f1"]
    assert found.value == 1
    assert found.low == pytest.approx(0.8316, abs=1e-3), "Clopper-Pearson of 20 of 20"


def test_case_quotes_and_a_full_stop_make_no_other_answer(tmp_path: Path) -> None:
    asked = read(tmp_path / "q.jsonl", {"prompt": "Capital of France?", "expected": ["Paris", "the city of Paris"]})
    for said, exact, contains in (("“paris.”", 1, 1), ("It is Paris, I think.", 0, 1), ("Parisian", 0, 0)):
        found = measured(asked, [said])
        assert (found["exact"].value, found["contains"].value) == (exact, contains), said


@pytest.mark.parametrize(
    ("answer", "label"),
    [("positive", "positive"), ("not positive", "not positive"), ("positive or negative", None), ("who knows", None)],
)
def test_a_label_is_named_once_or_not_at_all(answer: str, label: str | None) -> None:
    assert questions.label_in(answer, ["positive", "negative", "not positive"]) == label


def test_choices_are_ranked_by_log_probability_and_ties_are_shared(tmp_path: Path) -> None:
    (item,) = read(tmp_path / "q.jsonl", {"prompt": "1 + 1 =", "expected": "2", "choices": ["2", "3", "4"]})
    for logps, value in (({" 2": -1.0}, 1.0), ({" 3": -1.0}, 0.0), ({}, 1 / 3)):
        scores = questions.score(
            Evidence("m", [item], logp=lambda rs, t=logps: [Score(t.get(r.continuation, -9.0), 1) for r in rs])  # type: ignore
        )
        assert scores[0].value == pytest.approx(value)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"prompt": "x", "expected": "5", "choices": ["2", "3"]}, "expected: '5' found, expected one of the choices"),
        ({"prompt": "x", "expected": "5", "answer": "3"}, "answer: '3' found, expected no other columns"),
        ({"prompt": "", "expected": "5"}, "prompt: '' found"),
        ({"prompt": "x", "expected": 5}, "expected: 5 found"),
        ({"prompt": "x"}, "no column expected"),
        ({"prompt": "x", "expected": "a", "labels": ["a"], "positive": "z"}, "positive: 'z' found"),
    ],
)
def test_a_wrong_row_is_told_by_its_line_and_field(tmp_path: Path, row: dict[str, Any], said: str) -> None:
    with pytest.raises(RecordError) as told:
        read(tmp_path / "q.jsonl", {"prompt": "fine", "expected": "yes"}, row)
    assert said in str(told.value)
    assert "q.jsonl" in str(told.value)
