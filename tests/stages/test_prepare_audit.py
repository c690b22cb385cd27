"""What names a person and what is nearly there already is counted, told without what it is, and left out when asked."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest

from align.configs import DataConfig, DataFile
from align.errors import RecordError
from align.records import Preference, Prompt
from align.stages import prepare
from align.store import jsonl
from tests.workshop import TestTools

WORDS = [f"word{i}" for i in range(300)]


def said(seed: object, n: int = 40) -> str:
    return " ".join(Random(str(seed)).choices(WORDS, k=n))


ROWS = [{"prompt": said(f"q{i}"), "chosen": said(f"c{i}"), "rejected": said(f"r{i}")} for i in range(40)]


def run(root: Path, rows: list[dict[str, str]], name: str = "out", **knobs: Any) -> dict[str, Any]:
    (root / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    test = root / "test.jsonl"
    test.write_text("".join(json.dumps({**row, "prompt": said(f"t{i}")}) + "\n" for i, row in enumerate(ROWS[:10])))
    out = root / name
    out.mkdir()
    files = (DataFile(path=str(root / "rows.jsonl"), role="train"), DataFile(path=str(test), role="test"))
    prepare.run(DataConfig(preferences=files, **knobs), {}, out, TestTools(root / "work"))
    return dict(json.loads((out / "summary.json").read_text()))


def trained_on(root: Path, name: str = "out") -> list[Preference]:
    return list(jsonl.read(root / name / "preferences.train.jsonl", Preference))


def with_address(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    return [{**row, "chosen": row["chosen"] + " mail mira@example.com"} if i % 4 == 0 else row
            for i, row in enumerate(rows)]  # fmt: skip


def test_personal_data_are_counted_and_what_they_are_is_told_nowhere(tmp_path: Path) -> None:
    told = run(tmp_path, with_address(ROWS))
    assert told["personal_data"]["e-mail"]["rows"] == 10
    assert told["personal_data"]["e-mail"]["some_places"][0].startswith("rows.jsonl:1: m…m (16 characters)")
    assert "mira" not in json.dumps(told)
    assert len(trained_on(tmp_path)) == 40
    assert sum("mira@example.com" in one.chosen[0].content for one in trained_on(tmp_path)) == 10


def test_personal_data_are_taken_out_of_the_pair_and_the_pair_stays_one(tmp_path: Path) -> None:
    run(tmp_path, with_address(ROWS), personal="redact")
    rows = trained_on(tmp_path)
    assert len(rows) == 40
    assert sum(one.chosen[0].content.endswith(" mail [e-mail]") for one in rows) == 10
    assert "mira" not in (tmp_path / "out/preferences.train.jsonl").read_text()
    assert all(one.prompt_id == Prompt(messages=one.prompt).id for one in rows)
    assert {one.chosen[0].role for one in rows} == {"assistant"}


def test_rows_with_personal_data_are_left_out_and_counted(tmp_path: Path) -> None:
    told = run(tmp_path, with_address(ROWS), personal="drop")
    assert len(trained_on(tmp_path)) == 30
    assert told["dropped_between_files"]["preferences"] == {"holds personal data": 10}
    everywhere = [{**row, "chosen": row["chosen"] + " mail mira@example.com"} for row in ROWS]
    with pytest.raises(RecordError, match=r"0 of 40 rows are left to train on: 40 holds personal data"):
        run(tmp_path, everywhere, name="none", personal="drop")


def test_answers_that_differ_in_nothing_but_an_address_are_no_pair_without_it(tmp_path: Path) -> None:
    row = {"prompt": "Whom do I ask?", "chosen": "ask a@example.com", "rejected": "ask b@example.com"}
    told = run(tmp_path, [*ROWS, row], personal="redact")
    assert len(trained_on(tmp_path)) == 40
    assert told["dropped_between_files"]["preferences"] == {"holds personal data": 1}


def near(text: str) -> str:
    return " ".join(["Well,", *text.split()[1:]])


def test_rows_that_ask_nearly_what_is_held_out_are_counted_and_left_out_when_asked(tmp_path: Path) -> None:
    leaks = [{**ROWS[i], "prompt": near(said(f"t{i}"))} for i in range(6)]
    repeats = [{key: near(text) for key, text in row.items()} for row in ROWS[20:24]]
    told = run(tmp_path, ROWS + leaks + repeats)["nearly_alike"]["preferences"]
    assert told["asks nearly what a held-out row asks"]["rows"] == 6
    assert told["nearly another row"]["rows"] == 4
    assert "rows.jsonl:" in told["nearly another row"]["some_places"][0]
    assert len(trained_on(tmp_path)) == 50
    left = run(tmp_path, ROWS + leaks + repeats, name="left", alike="drop")
    assert left["dropped_between_files"]["preferences"] == {
        "asks nearly what a held-out row asks": 6, "nearly another row": 4,
    }  # fmt: skip
    assert len(trained_on(tmp_path, "left")) == 40


def test_clean_rows_say_nothing_of_it(tmp_path: Path) -> None:
    assert {"personal_data", "nearly_alike"} & set(run(tmp_path, ROWS)) == set()
