"""What is taken ready-made: whole, of the right kind, and never what the recipe holds out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from align.errors import RecordError
from align.ports import Inputs
from align.records import Message, Preference, Prompt
from align.stages import ready
from align.stages.ready import Ready
from align.store import jsonl
from tests.workshop import TestTools, artifact


def asked(*turns: str) -> tuple[Message, ...]:
    return tuple(Message(role="assistant" if i % 2 else "user", content=text) for i, text in enumerate(turns))


def pair(*turns: str) -> Preference:
    yes, no = (Message(role="assistant", content=text) for text in ("Yes.", "No."))
    return Preference(prompt=asked(*turns), chosen=(yes,), rejected=(no,))


PAIRS = [pair("Question 1?"), pair("question 2?", "Hm?", "And then?"), pair("Question 3?")]


@pytest.fixture
def given(tmp_path: Path) -> Path:
    """A folder such as `pair` makes."""
    folder = tmp_path / "given"
    folder.mkdir()
    jsonl.write(folder / "preferences.train.jsonl", PAIRS)
    jsonl.write(folder / "preferences.test.jsonl", [pair("Question 2?")])
    (folder / "summary.json").write_text("{}\n")
    (folder / "manifest.json").write_text("{}\n")
    (folder / "judgments.jsonl").write_text("{}\n")
    return folder


def data(root: Path, *held_out: str) -> Inputs:
    folder = root / "data"
    folder.mkdir()
    jsonl.write(folder / "test_prompts.jsonl", [Prompt(messages=asked(text)) for text in held_out])
    return {"data": artifact(folder)}


def run(root: Path, inputs: Inputs, **knobs: Any) -> tuple[Path, list[str]]:
    out, tools = root / "out", TestTools(root / "work")
    out.mkdir()
    ready.run(Ready(**knobs), inputs, out, tools)
    return out, tools.notes


def test_ready_pairs_are_taken_byte_for_byte_and_nothing_else_is(given: Path, tmp_path: Path) -> None:
    out, notes = run(tmp_path, data(tmp_path, "Another?"), path=str(given), holds="preferences")
    assert {path.name for path in out.iterdir()} == {
        "preferences.train.jsonl",
        "preferences.test.jsonl",
        "summary.json",
    }
    for path in out.iterdir():
        assert path.read_bytes() == (given / path.name).read_bytes()
    assert notes == ["taken ready-made, not run here"]


@pytest.mark.parametrize(("split_by", "left"), [("opening", [PAIRS[0], PAIRS[2]]), ("prompt", PAIRS)])
def test_pairs_of_held_out_prompts_are_not_trained_on(
    given: Path, tmp_path: Path, split_by: str, left: list[Preference]
) -> None:
    held = data(tmp_path, "QUESTION 2?")
    out, notes = run(tmp_path, held, path=str(given), holds="preferences", split_by=split_by)
    assert list(jsonl.read(out / "preferences.train.jsonl", Preference)) == left
    told = "preferences.train.jsonl: 1 of 3 rows left out: their prompts are held out"
    assert (told in notes) is (split_by == "opening")
    assert len(list(jsonl.read(out / "preferences.test.jsonl", Preference))) == 1


def test_where_every_pair_is_held_out_there_is_nothing_to_learn_from(given: Path, tmp_path: Path) -> None:
    held = data(tmp_path, *(f"Question {i}?" for i in (1, 2, 3)))
    with pytest.raises(RecordError, match="all 3 rows are of prompts that the recipe holds out"):
        run(tmp_path, held, path=str(given), holds="preferences")


def test_ready_data_are_held_to_their_own_test_prompts(given: Path, tmp_path: Path) -> None:
    jsonl.write(given / "prompts.jsonl", [Prompt(messages=asked(text)) for text in ("Question 1?", "Question 9?")])
    jsonl.write(given / "test_prompts.jsonl", [Prompt(messages=asked("Question 1?"))])
    (given / "judgments.jsonl").unlink()
    out, _ = run(tmp_path, {}, path=str(given), holds="data")
    assert [row.messages for row in jsonl.read(out / "prompts.jsonl", Prompt)] == [asked("Question 9?")]
    assert len(list(jsonl.rows(out / "preferences.train.jsonl"))) == 2
    assert len(list(jsonl.rows(out / "test_prompts.jsonl"))) == 1


@pytest.mark.parametrize(
    ("holds", "where", "said"),
    [
        ("preferences", "", "holds no preferences of ours; expected files such as preferences.train.jsonl"),
        ("candidates", "", "holds no candidates of ours; expected files such as candidates.jsonl"),
        ("preferences", "judgments.jsonl", "a file found, expected a folder made by stage `prepare`"),
        ("judgments", "gone", "gone: no such file or folder; expected judgments of ours"),
    ],
)
def test_what_is_of_another_kind_is_refused(given: Path, tmp_path: Path, holds: str, where: str, said: str) -> None:
    (given / "preferences.train.jsonl").unlink()
    with pytest.raises(RecordError, match=said):
        run(tmp_path, {}, path=str(given / where), holds=holds)


def test_rows_of_another_kind_are_named_by_line(given: Path, tmp_path: Path) -> None:
    (given / "preferences.train.jsonl").write_text(json.dumps({"prompt": 1}) + "\n")
    with pytest.raises(RecordError, match=r"preferences\.train\.jsonl:1: "):
        run(tmp_path, {}, path=str(given), holds="preferences")
