"""Records: names that stay, rows that load for ever, and nothing taken in that is not understood."""

# ruff: noqa: E501

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from align.records import (
    RECORDS,
    Annotator,
    Candidate,
    Comparison,
    Flag,
    Item,
    ItemScore,
    Judgment,
    Measurement,
    Message,
    Ordering,
    Preference,
    Prompt,
    Ranking,
    Record,
    Scores,
    ToolCall,
    canonical,
)
from align.store import jsonl

KINDS = {kind.__name__: kind for kind in RECORDS}
FIXTURE = Path(__file__).parent / "fixtures" / "records.v1.jsonl"
ROWS = [(row["record"], row["row"]) for _, row in jsonl.rows(FIXTURE)]


def user(text: str) -> Message:
    return Message(role="user", content=text)


def assistant(text: str) -> Message:
    return Message(role="assistant", content=text)


# ---- the first version loads for ever


def test_the_fixture_has_a_row_of_every_record() -> None:
    assert {name for name, _ in ROWS} == set(KINDS)


@pytest.mark.parametrize(("name", "row"), ROWS, ids=[f"{name}-{row['id'][:6]}" for name, row in ROWS])
def test_a_row_of_schema_1_loads_under_the_name_it_was_given(name: str, row: dict[str, Any]) -> None:
    unnamed = {key: value for key, value in row.items() if key != "id"}
    record = KINDS[name].model_validate(unnamed)
    assert record.id == row["id"]
    assert KINDS[name].model_validate(row) == record


@pytest.mark.parametrize(("name", "row"), ROWS, ids=[f"{name}-{row['id'][:6]}" for name, row in ROWS])
def test_nothing_of_a_row_is_lost_when_it_is_written_again(name: str, row: dict[str, Any]) -> None:
    assert json.loads(jsonl.dumps(KINDS[name].model_validate(row))) == row


def test_a_name_can_be_worked_out_by_hand() -> None:
    said = '{"name":"ann-1","provenance":"human","record":"Annotator","schema":1}'
    assert canonical(json.loads(said)) == said
    assert Annotator(name="ann-1", provenance="human").id == next(
        row["id"] for name, row in ROWS if name == "Annotator"
    )


# ---- identity


class LaterAnnotator(Record):
    """`Annotator` as a later version might have it: one more optional field."""

    identity = ("name", "provenance")
    name: str
    provenance: str
    languages: tuple[str, ...] | None = None


LaterAnnotator.__name__ = "Annotator"


def test_a_new_optional_field_renames_nothing() -> None:
    before = Annotator(name="ann-1", provenance="human").id
    assert LaterAnnotator(name="ann-1", provenance="human").id == before
    assert LaterAnnotator(name="ann-1", provenance="human", languages=("da",)).id == before


@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.__name__)
def test_identity_names_fields_that_are_there(kind: type[Record]) -> None:
    assert kind.identity
    assert set(kind.identity) <= set(kind.model_fields)


def test_what_is_beside_the_identity_changes_no_name() -> None:
    asked = Prompt(messages=(user("Why?"),))
    assert Prompt(messages=(user("Why?"),), source="a:1", cluster="c", meta={"x": 1}).id == asked.id
    assert Prompt(messages=(user("Why? "),)).id != asked.id


def test_two_kinds_with_equal_fields_have_two_names() -> None:
    assert len({row["id"] for _, row in ROWS}) == len(ROWS)


def test_a_changed_copy_has_a_name_of_its_own() -> None:
    first = Annotator(name="a", provenance="human")
    assert first.id
    changed = first.model_copy(update={"name": "b"})
    assert changed.id == Annotator(name="b", provenance="human").id != first.id


def test_a_pair_shown_again_swapped_has_the_same_pair_id_and_another_id() -> None:
    one = Comparison(prompt_id="p", candidate_ids=("a", "b"))
    swapped = Comparison(prompt_id="p", candidate_ids=("b", "a"))
    assert one.pair_id == swapped.pair_id
    assert one.id != swapped.id


@given(st.permutations(["a", "b", "c", "d"]))
def test_no_order_of_showing_changes_the_pair_id(shown: list[str]) -> None:
    assert (
        Comparison(prompt_id="p", candidate_ids=tuple(shown)).pair_id
        == Comparison(prompt_id="p", candidate_ids=("a", "b", "c", "d")).pair_id
    )


@pytest.mark.parametrize("other", [{"prompt_id": "q"}, {"candidate_ids": ("a", "c")}, {"guideline": "g"}, {"round": 2}])
def test_another_question_is_another_pair(other: dict[str, Any]) -> None:
    asked: dict[str, Any] = {"prompt_id": "p", "candidate_ids": ("a", "b")}
    assert Comparison(**asked).pair_id != Comparison(**{**asked, **other}).pair_id


def test_a_row_whose_content_was_edited_does_not_pass_under_its_old_name() -> None:
    row = json.loads(jsonl.dumps(Annotator(name="a", provenance="judge")))
    with pytest.raises(ValidationError, match="is not the name of this content"):
        Annotator.model_validate({**row, "provenance": "human"})


def test_nothing_of_a_record_can_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Annotator(name="a", provenance="human").name = "b"  # type: ignore[misc]


# ---- what is refused


@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.__name__)
def test_a_field_that_is_not_known_is_refused(kind: type[Record]) -> None:
    row = next(row for name, row in ROWS if name == kind.__name__)
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        kind.model_validate({**row, "surprise": 1})


@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.__name__)
def test_a_row_of_another_schema_is_refused(kind: type[Record]) -> None:
    row = next(row for name, row in ROWS if name == kind.__name__)
    with pytest.raises(ValidationError, match="schema"):
        kind.model_validate({**row, "schema": 2})


def judged(verdict: dict[str, Any], shown: tuple[str, ...] = ("a", "b"), **more: Any) -> dict[str, Any]:
    return {"comparison_id": "q", "pair_id": "r", "prompt_id": "p", "candidate_ids": shown, "annotator": "x",
            "provenance": "human", "verdict": verdict, **more}  # fmt: skip


SAYS = {"role": "assistant", "content": "Yes."}
ASKS = {"role": "user", "content": "Is it?"}
WRONG: dict[str, tuple[type[Record], dict[str, Any], str]] = {
    "prompt answered": (Prompt, {"messages": [ASKS, SAYS]}, "nothing waits for an answer"),
    "prompt empty": (Prompt, {"messages": []}, "at least 1 item"),
    "role unknown": (Prompt, {"messages": [{"role": "human", "content": ""}]}, "'system', 'user', 'assistant' or 'tool'"),
    "demonstration unanswered": (KINDS["Demonstration"], {"messages": [ASKS]}, "must be an answer of the assistant's"),
    "demonstration blank": (KINDS["Demonstration"], {"messages": [ASKS, {**SAYS, "content": " "}]}, "must be an answer"),
    "comparison of one with itself": (Comparison, {"prompt_id": "p", "candidate_ids": ["a", "a"]}, "shown twice"),
    "ordering forgets": (Judgment, judged({"kind": "ordering", "groups": [["a"]]}), "each shown candidate once"),
    "ordering repeats": (Judgment, judged({"kind": "ordering", "groups": [["a"], ["b", "a"]]}), "each shown candidate once"),
    "ordering of a stranger": (Judgment, judged({"kind": "ordering", "groups": [["a"], ["c"]]}), "each shown candidate once"),
    "scores of a stranger": (Judgment, judged({"kind": "scores", "scores": {"a": 1, "c": 2}}), "each shown candidate"),
    "score not finite": (Judgment, judged({"kind": "scores", "scores": {"a": 1, "b": float("nan")}}), "finite"),
    "flag for two": (Judgment, judged({"kind": "flag", "good": True}), "a flag speaks of one candidate"),
    "verdict unknown": (Judgment, judged({"kind": "stars"}), "'ordering', 'scores', 'flag'"),
    "strength 4": (Judgment, judged({"kind": "ordering", "groups": [["a"], ["b"]]}, strength=4), "less than or equal to 3"),
    "provenance made up": (Annotator, {"name": "a", "provenance": "script"}, "'human', 'judge', 'rule' or 'simulated'"),
    "equal answers": (Preference, {"prompt": [ASKS], "chosen": [SAYS], "rejected": [SAYS]}, "nothing to prefer"),
    "label above 1": (Preference, {"prompt": [ASKS], "chosen": [SAYS], "rejected": [ASKS], "label": 1.1}, "less than or equal to 1"),
    "rank left out": (Ranking, {"prompt": [ASKS], "answers": [[SAYS]], "groups": []}, "exactly one group"),
    "score without reason": (ItemScore, {"instrument": "i", "metric": "m", "model": "m", "item_id": "x"}, "unscored_because"),
    "score with reason": (ItemScore, {"instrument": "i", "metric": "m", "model": "m", "item_id": "x", "value": 0.0, "unscored_because": "?"}, "must not have it"),
    "value infinite": (ItemScore, {"instrument": "i", "metric": "m", "model": "m", "item_id": "x", "value": float("inf")}, "finite"),
}  # fmt: skip


@pytest.mark.parametrize(("kind", "row", "expected"), WRONG.values(), ids=WRONG.keys())
def test_a_row_that_makes_no_sense_is_refused(kind: type[Record], row: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValidationError, match=expected):
        kind.model_validate(row)


def test_what_was_not_said_is_not_written() -> None:
    row = json.loads(jsonl.dumps(ItemScore(instrument="i", metric="m", model="m", item_id="x", unscored_because="no")))
    assert "value" not in row
    assert "cluster" not in row
    assert json.loads(jsonl.dumps(Prompt(messages=(user("?"),), meta={"nothing": None})))["meta"] == {"nothing": None}


# ---- there and back again

words = st.text(st.characters(codec="utf-8"), max_size=20)
names = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=8)
numbers = st.floats(allow_nan=False, allow_infinity=False)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | numbers | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=5,
)
metas = st.dictionaries(words, plain, max_size=3)
calls = st.builds(ToolCall, name=names, arguments=metas, call_id=st.none() | names)
asked = st.builds(
    Message, role=st.sampled_from(["system", "user", "tool"]), content=words, tool_call_id=st.none() | names
)
answered = st.builds(
    Message, role=st.just("assistant"), content=words, tool_calls=st.none() | st.tuples(calls)
)  # fmt: skip
talks = st.tuples(asked) | st.tuples(asked, answered, asked)
shown = st.lists(names, min_size=2, max_size=4, unique=True).map(tuple)


@st.composite
def judgments(draw: st.DrawFn) -> Judgment:
    """Any judgment of any kind."""
    ids = draw(shown)
    cut = draw(st.integers(1, len(ids)))
    groups = tuple(group for group in (ids[:cut], ids[cut:]) if group)
    verdict = draw(
        st.sampled_from(
            [
                Ordering(groups=groups, both_bad=draw(st.booleans())),
                Flag(good=draw(st.booleans())),
                Scores(scores={name: draw(numbers) for name in ids}),
            ]
        )
    )
    if isinstance(verdict, Flag):
        ids = ids[:1]
    return Judgment(
        comparison_id="q", pair_id="r", prompt_id="p", candidate_ids=ids, annotator=draw(names), verdict=verdict,
        provenance=draw(st.sampled_from(["human", "judge", "rule", "simulated"])), rationale=draw(st.none() | words),
        strength=draw(st.none() | st.integers(1, 3)), reasons=tuple(draw(st.lists(words, max_size=2))),
        seconds=draw(st.none() | st.floats(0, 1e6)), correction=draw(st.none() | words),
    )  # fmt: skip


records: st.SearchStrategy[Record] = st.one_of(
    st.builds(Prompt, messages=talks, source=st.none() | words, meta=metas, tools=st.none() | st.tuples(metas)),
    st.builds(Candidate, prompt_id=names, completion=st.tuples(answered), model=names, sample=st.integers(0, 9),
              logp=st.none() | numbers, seed=st.none() | st.integers(0, 2**31)),
    judgments(),
    st.builds(Preference, prompt=talks, chosen=st.tuples(answered), rejected=st.tuples(asked), label=st.floats(0, 1),
              margin=st.none() | numbers, judgment_ids=st.lists(names, max_size=3).map(tuple), meta=metas),
    st.builds(Item, instrument=names, context=words, choices=st.lists(words, min_size=1, max_size=3).map(tuple)),
    st.builds(Measurement, instrument=names, metric=names, model=names, value=st.none() | numbers, n=st.integers(0, 9),
              n_unscored=st.integers(0, 9), better=st.just("higher"), unit=st.just("share"), method=words, meta=metas),
)  # fmt: skip


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(record=records)
def test_a_record_written_and_read_is_the_same_record(record: Record) -> None:
    text = jsonl.dumps(record)
    again = type(record).model_validate(jsonl.parse(text.encode("utf-8"), "here"))
    assert again == record
    assert again.id == record.id
    assert jsonl.dumps(again) == text
    assert "\n" not in text
