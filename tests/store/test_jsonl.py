"""JSON Lines: what is read is exactly what was written, and everything else is named by its row."""

# ruff: noqa: E501

from __future__ import annotations

import gzip
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from align.errors import RecordError
from align.records import Annotator, Prompt
from align.store import jsonl

GOOD = b'{"name":"a","provenance":"human"}\n'


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "rows.jsonl"


def refused(path: Path, kind: type[Annotator] | type[Prompt] = Annotator) -> str:
    """The one line with which the file is refused, from the file's name on."""
    with pytest.raises(RecordError) as caught:
        list(jsonl.read(path, kind))
    said = str(caught.value)
    assert "\n" not in said
    return re.sub(r"^\S*/", "", said)


BAD = {
    "cut off in its last row": (GOOD + b'{"name":"a","prov',
                                "rows.jsonl:2: not JSON: Unterminated string", "the file ends in the middle of this row"),
    "NaN": (b'{"name":NaN}\n', "rows.jsonl:1: not JSON: NaN is not a number", ""),
    "minus infinity": (b'{"name":-Infinity}\n', "rows.jsonl:1: not JSON: -Infinity is not a number", ""),
    "a number beyond floats": (b'{"name":1e400}\n', "rows.jsonl:1: not JSON: 1e400 is too large", ""),
    "a lone surrogate": (b'{"name":"\\ud800"}\n', "rows.jsonl:1: a lone surrogate", ""),
    "a lone surrogate in a key": (b'{"\\udfff":1}\n', "rows.jsonl:1: a lone surrogate", ""),
    "latin-1": (GOOD + b'{"name":"\xe9"}\n', "rows.jsonl:2: not UTF-8 at byte 9", ""),
    "a NUL byte": (b'{"name":"a\x00b"}\n', "rows.jsonl:1: not JSON: Invalid control character", "char 10"),
    "100,000 deep": (b'{"name":' + b"[" * 100_000 + b"]" * 100_000 + b"}\n", "rows.jsonl:1: JSON nested more than 200 deep", ""),
    "201 deep": (b'{"name":' + b"[" * 201 + b"]" * 201 + b"}\n", "rows.jsonl:1: JSON nested more than 200 deep", ""),
    "a list": (b"[1]\n", "rows.jsonl:1: list found, expected a JSON object", ""),
    "a web page": (b"<html></html>\n", "rows.jsonl:1: not JSON: Expecting value", ""),
    "two objects on a line": (GOOD[:-1] + GOOD, "rows.jsonl:1: not JSON: Extra data", ""),
    "UTF-16": ("{}\n".encode("utf-16"), "rows.jsonl:1: not UTF-8 at byte 0", ""),
    "an unknown field": (b'{"nam":"a","provenance":"human"}\n', "rows.jsonl:1: name: missing", "expected one Annotator per line"),
    "a field too many": (GOOD[:-2] + b',"nme":1}\n', "rows.jsonl:1: nme: no such field; did you mean `name`?", ""),
    "another word": (b'{"name":"a","provenance":"bot"}\n', "rows.jsonl:1: provenance: 'bot' found, input should be 'human', 'judge'", ""),
    "after blank lines": (b"\n  \n" + b"{}\n", "rows.jsonl:3: name: missing", ""),
}  # fmt: skip


@pytest.mark.parametrize(("content", "head", "part"), BAD.values(), ids=BAD.keys())
def test_a_bad_row_is_named_by_file_and_line(file: Path, content: bytes, head: str, part: str) -> None:
    file.write_bytes(content)
    said = refused(file)
    assert said.startswith(head)
    assert part in said


def test_a_long_wrong_value_is_shown_in_part(file: Path) -> None:
    file.write_bytes(b'{"name":"a","provenance":"' + b"x" * 5000 + b'"}\n')
    assert len(refused(file)) < 250


@pytest.mark.parametrize("mark", ["\u2028", "\u0085", "\u2029", "\x1c", "\v"])
def test_line_marks_inside_strings_end_no_row(file: Path, mark: str) -> None:
    names = [f"a{mark}b", "c"]
    jsonl.write(file, [Annotator(name=name, provenance="human") for name in names])
    assert [record.name for record in jsonl.read(file, Annotator)] == names


def test_a_byte_order_mark_windows_line_ends_blank_lines_and_no_last_newline_are_read(file: Path) -> None:
    row = GOOD.strip()
    file.write_bytes(b"\xef\xbb\xbf" + row + b"\r\n\r\n" + row)
    assert len(list(jsonl.read(file, Annotator))) == 2


def test_a_gzipped_file_reads_the_same_and_a_broken_one_is_named(tmp_path: Path) -> None:
    packed = tmp_path / "rows.jsonl.gz"
    packed.write_bytes(gzip.compress(GOOD * 200))
    assert len(list(jsonl.read(packed, Annotator))) == 200
    whole = packed.read_bytes()
    for broken in (whole[:-12], GOOD, whole[:15] + b"\xff" * 10 + whole[25:]):
        packed.write_bytes(broken)
        assert refused(packed).startswith("rows.jsonl.gz")


def test_a_missing_file_a_folder_and_a_loop_of_links_are_named(tmp_path: Path) -> None:
    assert refused(tmp_path / "gone.jsonl") == "gone.jsonl: no such file"
    assert "cannot be read: Is a directory" in refused(tmp_path)
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert "cannot be read: Too many levels of symbolic links" in refused(tmp_path / "a")


def test_a_row_without_end_is_refused_in_bounded_memory() -> None:
    code = (
        "from pathlib import Path; from align.store import jsonl\n"
        "try: list(jsonl.rows(Path('/dev/zero')))\n"
        "except Exception as error: print(type(error).__name__, error)\n"
        "status = Path('/proc/self/status').read_text()\n"
        "print(int(status.split('VmHWM:')[1].split()[0]) // 1024)  # ru_maxrss would count the parent before exec"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    said, mib = told.stdout.splitlines()
    assert said.startswith("RecordError /dev/zero:1: a row of more than 67,108,864 bytes")
    assert int(mib) < 400


@given(st.dictionaries(st.text(st.characters(codec="utf-8")), st.integers() | st.text(st.characters(codec="utf-8"))))
def test_equal_rows_give_equal_bytes_whatever_the_order_of_their_keys(row: dict[str, int | str]) -> None:
    turned = dict(reversed(row.items()))
    assert jsonl.dumps(row) == jsonl.dumps(turned)
    assert jsonl.parse(jsonl.dumps(row).encode("utf-8"), "here") == row


# ---- journals

WRITER = """
import sys, os, signal
from pathlib import Path
from align.store.jsonl import Journal
with Journal(Path(sys.argv[1])) as journal:
    for n in range(len(journal.done()), 5):
        journal.append({"n": n})
        if n == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_unit_that_was_written_survives_a_kill_and_is_done_once(tmp_path: Path) -> None:
    path = tmp_path / "work" / "journal.jsonl"
    for dies_at in (0, 3, 9):
        told = subprocess.run([sys.executable, "-c", WRITER, str(path), str(dies_at)], timeout=60)
        assert told.returncode == (0 if dies_at == 9 else -signal.SIGKILL)
    assert [row["n"] for _, row in jsonl.rows(path)] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("cut", range(1, 9))
def test_a_torn_last_row_is_cut_off_and_written_again(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b'{"n":0}\n{"n":1}\n'[: 8 + cut])
    with jsonl.Journal(path) as journal:
        whole = 2 if cut == 8 else 1
        assert [row["n"] for row in journal.done()] == list(range(whole))
        journal.append({"n": whole})
    assert [row["n"] for _, row in jsonl.rows(path)] == list(range(whole + 1))


def test_a_journal_damaged_in_its_middle_is_named_and_not_thrown_away(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b'{"n":0}\n{"n"\n{"n":2}\n')
    with pytest.raises(RecordError, match=r"journal\.jsonl:2: not JSON"):
        jsonl.Journal(path)
    assert os.path.getsize(path) == 21
