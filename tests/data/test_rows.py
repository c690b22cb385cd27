"""Rows of every kind of file, and files that are not what they are called."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from align.configs import DataFile
from align.data import rows
from align.errors import RecordError

ROWS: list[dict[str, Any]] = [{"text": "one"}, {"text": "two\u2028lines\u0085in one string"}, {"text": "drei é"}]
REVISION = "a" * 40


def no_hub(hub: str, revision: str, subset: str | None, split: str) -> list[dict[str, Any]]:
    raise AssertionError("nothing here comes from a hub")


def read(path: Path) -> list[rows.Row]:
    return list(rows.read(DataFile(path=str(path)), no_hub))


def jsonl_text() -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)


def test_the_same_rows_come_out_of_every_form(tmp_path):
    (tmp_path / "a.jsonl").write_text(jsonl_text(), encoding="utf-8")
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(jsonl_text().encode()))
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), tmp_path / "a.parquet")
    for name in ("a.jsonl", "a.jsonl.gz", "a.parquet"):
        assert [row.data for row in read(tmp_path / name)] == ROWS, name


def test_a_row_knows_its_place_and_tells_artifacts_the_file_name_alone(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n\n{"text": "three"}\n')
    last = read(tmp_path / "a.jsonl")[-1]
    assert (last.place, last.source) == (f"{tmp_path}/a.jsonl:3", "a.jsonl:3")


def test_plain_text_gives_a_row_for_each_line_that_says_something(tmp_path):
    (tmp_path / "a.txt").write_bytes("\ufeffone \r\n\n  two\n".encode())
    assert [row.data for row in read(tmp_path / "a.txt")] == [{"text": "one"}, {"text": "two"}]


def test_nested_parquet_rows_come_out_as_messages(tmp_path):
    nested = [{"messages": [{"role": "user", "content": "hi"}]}] * 300
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(nested), tmp_path / "a.parquet")
    found = read(tmp_path / "a.parquet")
    assert [row.data for row in found] == nested
    assert found[299].source == "a.parquet:300"


def test_a_hub_set_is_asked_for_at_its_revision():
    asked = []

    def hub(name: str, revision: str, subset: str | None, split: str) -> list[dict[str, Any]]:
        asked.append((name, revision, subset, split))
        return ROWS

    file = DataFile(hub="some/set", revision=REVISION, subset="small", split="test")
    assert [row.source for row in rows.read(file, hub)] == [f"some/set/small/test:{n}" for n in (1, 2, 3)]
    assert asked == [("some/set", REVISION, "small", "test")]
    assert rows.source(file).revision == REVISION


def test_a_source_is_its_name_and_bytes_never_its_folder(tmp_path):
    (tmp_path / "a.jsonl").write_text(jsonl_text(), encoding="utf-8")
    told = rows.source(DataFile(path=str(tmp_path / "a.jsonl"), licence="MIT"))
    assert told.digest == hashlib.sha256(jsonl_text().encode()).hexdigest()
    assert (told.name, told.licence) == ("a.jsonl", "MIT")
    assert str(tmp_path) not in told.model_dump_json()


BAD: list[tuple[str, bytes, str]] = [
    ("pointer.jsonl", b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "a git-LFS pointer found"),
    ("page.jsonl", b"<!DOCTYPE html><html>Sign in</html>", "an HTML page found"),
    ("list.jsonl", b'{"text": "a"}\n[1]\n', "list.jsonl:2: list found, expected a JSON object"),
    ("torn.jsonl", b'{"text": "a"}\n{"text": "b', "torn.jsonl:2: not JSON"),
    ("nan.jsonl", b'{"text": NaN}\n', "nan.jsonl:1: not JSON: NaN"),
    ("huge.jsonl", b'{"text": 1e400}\n', "huge.jsonl:1: not JSON: 1e400"),
    ("surrogate.jsonl", b'{"text": "\\ud800"}\n', "surrogate.jsonl:1: a lone surrogate"),
    ("latin.jsonl", b'{"text": "caf\xe9"}\n', "latin.jsonl:1: not UTF-8 at byte 13"),
    ("deep.jsonl", b'{"text": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n", "deep.jsonl:1: JSON nested "),
    ("not.jsonl.gz", b'{"text": "a"}\n', "not.jsonl.gz: cannot be read"),
    ("cut.jsonl.gz", gzip.compress(b'{"text": "abcdefgh"}\n' * 9)[:-12], "cut.jsonl.gz: cannot be read"),
    ("not.parquet", b"PAR1 and then nothing", "not.parquet: not a Parquet file"),
    ("latin.txt", b"caf\xe9\n", "latin.txt:1: not UTF-8 at byte 3"),
    ("binary.txt", b"a\0b\n", "binary.txt:1: a NUL character"),
    ("rows.csv", b"text\na\n", "`.csv` found, expected one of .jsonl"),
]


@pytest.mark.parametrize(("name", "content", "message"), BAD, ids=[name for name, _, _ in BAD])
def test_a_file_that_is_not_what_it_should_be_is_named_in_one_line(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RecordError) as caught:
        read(tmp_path / name)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_folder_are_told_apart(tmp_path):
    (tmp_path / "folder.jsonl").mkdir()
    with pytest.raises(RecordError, match=r"gone\.jsonl: no such file"):
        read(tmp_path / "gone.jsonl")
    with pytest.raises(RecordError, match="a folder"):
        read(tmp_path / "folder.jsonl")
