"""A desk of two files: what a person reads, what a person writes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from align.data.desk import FileDesk
from align.errors import RecordError
from align.records import Candidate, Comparison, Judgment, Message, Ordering, Prompt
from align.store import jsonl

PROMPT = Prompt(messages=(Message(role="system", content="Be brief."), Message(role="user", content="Which way?")))
ANSWERS = [
    Candidate(prompt_id=PROMPT.id, completion=(Message(role="assistant", content=text),), model="m", sample=i)
    for i, text in enumerate(("Left.", "Right."))
]
SHOWN = Comparison(prompt_id=PROMPT.id, candidate_ids=(ANSWERS[1].id, ANSWERS[0].id))


@pytest.fixture
def desk(tmp_path: Path) -> FileDesk:
    made = FileDesk(tmp_path / "round1" / "judgments.jsonl")
    made.publish({PROMPT.id: PROMPT}, {one.id: one for one in ANSWERS}, [SHOWN])
    return made


def write(desk: FileDesk, *rows: dict[str, object] | str) -> None:
    lines = [row if isinstance(row, str) else json.dumps(row) + "\n" for row in rows]
    desk.judgments.write_text("".join(lines))


def short(choice: str, **more: object) -> dict[str, object]:
    return {"comparison_id": SHOWN.id, "annotator": "ana", "provenance": "human", "choice": choice, **more}


def test_a_person_finds_both_answers_in_the_order_in_which_they_are_shown(desk):
    ((_, row),) = jsonl.rows(desk.comparisons)
    assert desk.comparisons.name == "judgments.comparisons.jsonl"
    assert (row["prompt"], row["first"], row["second"]) == ("[system] Be brief.\n\nWhich way?", "Right.", "Left.")
    assert Comparison.model_validate(row["comparison"]) == SHOWN


def test_publishing_again_touches_nothing(desk):
    before = desk.comparisons.stat().st_mtime_ns, desk.comparisons.stat().st_ino
    desk.publish({PROMPT.id: PROMPT}, {one.id: one for one in ANSWERS}, [SHOWN])
    assert (desk.comparisons.stat().st_mtime_ns, desk.comparisons.stat().st_ino) == before


def test_before_anyone_has_written_nothing_is_said(desk):
    assert desk.pull() == []
    assert str(desk.judgments) in desk.where()
    assert str(desk.comparisons) in desk.where()


FIRST, SECOND = SHOWN.candidate_ids


@pytest.mark.parametrize(
    ("choice", "groups", "both_bad"),
    [
        ("first", ((FIRST,), (SECOND,)), False),
        ("second", ((SECOND,), (FIRST,)), False),
        ("tie", ((FIRST, SECOND),), False),
        ("both_bad", ((FIRST, SECOND),), True),
    ],
)
def test_a_choice_is_a_judgment_of_what_was_shown(desk, choice, groups, both_bad):
    write(desk, short(choice, strength=2, rationale="because"))
    (one,) = desk.pull()
    assert one.verdict == Ordering(groups=groups, both_bad=both_bad)
    assert (one.comparison_id, one.pair_id, one.candidate_ids) == (SHOWN.id, SHOWN.pair_id, SHOWN.candidate_ids)
    assert (one.annotator, one.provenance, one.strength, one.rationale) == ("ana", "human", 2, "because")


def test_a_full_record_is_the_same_as_its_short_form(desk):
    write(desk, short("second"))
    (one,) = desk.pull()
    write(desk, json.loads(jsonl.dumps(one)))
    assert desk.pull() == [one]


def test_a_choice_between_answers_nobody_published_is_kept_for_the_stage_to_set_aside(desk):
    write(desk, {**short("first"), "comparison_id": "f" * 64})
    (one,) = desk.pull()
    assert isinstance(one, Judgment)
    assert one.comparison_id == "f" * 64


def test_a_line_that_is_still_being_written_waits(desk):
    write(desk, short("first"), '{"comparison_id": "ab')
    assert len(desk.pull()) == 1
    write(desk, short("first"), '{"comparison_id": "ab\n')
    with pytest.raises(RecordError, match=r"judgments\.jsonl:2: not JSON"):
        desk.pull()


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (short("left"), "choice: 'left' is not one of first, second, tie, both_bad (expected one Judgment per line)"),
        (short("first", provenance="robot"), "provenance: 'robot' found"),
        ({k: v for k, v in short("first").items() if k != "annotator"}, "annotator: missing"),
        ({k: v for k, v in short("first").items() if k != "provenance"}, "provenance: missing"),
        (short("first", verdict=None), "verdict: no such field beside `choice`"),
        (short("first", strength=4), "strength: 4 found"),
        ({"annotator": "ana"}, "comparison_id: missing"),
    ],
)
def test_a_wrong_row_is_refused_by_line_and_field(desk, row, message):
    write(desk, short("first"), row)
    with pytest.raises(RecordError) as caught:
        desk.pull()
    assert str(caught.value).startswith(f"{desk.judgments}:2: {message}")


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    desk = FileDesk(tmp_path / "file" / "judgments.jsonl")
    with pytest.raises(RecordError, match=r"cannot be written: .*; choose another folder"):
        desk.publish({}, {}, [])
