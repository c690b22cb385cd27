"""What each format's rows become."""

from __future__ import annotations

import json
from typing import Any

import pytest

from align.data import formats
from align.data.formats import EQUAL, Left
from align.data.rows import Row
from align.errors import RecordError
from align.records import Demonstration, Message, Preference, Prompt
from align.store import jsonl

U = {"role": "user", "content": "Which way?"}
GOOD = {"role": "assistant", "content": "Left."}
BAD = {"role": "assistant", "content": "Ask again."}
ASKED = (Message(role="user", content="Which way?"),)
CHOSEN = (Message(role="assistant", content="Left."),)
REJECTED = (Message(role="assistant", content="Ask again."),)
HH = {
    "chosen": "\n\nHuman: Which way?\n\nAssistant: Left.",
    "rejected": "\n\nHuman: Which way?\n\nAssistant: Ask again.",
}


def row(data: dict[str, Any]) -> Row:
    return Row(data, "dir/f.jsonl:7", "f.jsonl:7")


def as_row(record: Preference | Prompt | Demonstration) -> dict[str, Any]:
    return dict(json.loads(jsonl.dumps(record)))


PAIRS: dict[str, dict[str, Any]] = {
    "strings": {"prompt": "Which way?", "chosen": "Left.", "rejected": "Ask again."},
    "messages": {"prompt": [U], "chosen": [GOOD], "rejected": [BAD]},
    "implicit prompt": {"chosen": [U, GOOD], "rejected": [U, BAD]},
    "prompt said twice": {"prompt": "Which way?", "chosen": [U, GOOD], "rejected": [U, BAD]},
    "prompt as text, answers as messages": {"prompt": "Which way?", "chosen": [GOOD], "rejected": [BAD]},
    "hh": HH,
    "hh prompt": {"prompt": "\n\nHuman: Which way?\n\nAssistant:", "chosen": " Left.", "rejected": " Ask again."},
    "records": as_row(Preference(prompt=ASKED, chosen=CHOSEN, rejected=REJECTED)),
}


@pytest.mark.parametrize("data", PAIRS.values(), ids=PAIRS)
def test_every_form_of_a_pair_gives_the_same_preference(data):
    pair = formats.preference(row(data), formats.detect(row(data)))
    assert isinstance(pair, Preference)
    assert (pair.prompt, pair.chosen, pair.rejected) == (ASKED, CHOSEN, REJECTED)
    assert pair.source == "f.jsonl:7"
    assert (pair.label, pair.confidence, pair.n_judgments) == (1.0, 1.0, 0)


@pytest.mark.parametrize("data", PAIRS.values(), ids=PAIRS)
def test_every_pair_also_gives_its_prompt(data):
    asked = formats.prompt(row(data), formats.detect(row(data)))
    assert isinstance(asked, Prompt)
    assert asked.messages == ASKED


def test_a_pair_is_joined_to_its_prompt_by_the_prompts_name():
    pair = formats.preference(row(PAIRS["strings"]), "preference")
    assert isinstance(pair, Preference)
    assert pair.prompt_id == Prompt(messages=ASKED).id


DEMONSTRATIONS: dict[str, dict[str, Any]] = {
    "messages": {"messages": [U, GOOD]},
    "prompt and completion": {"prompt": "Which way?", "completion": "Left."},
    "the same as messages": {"prompt": [U], "completion": [GOOD]},
    "the chosen side of a pair": PAIRS["strings"],
    "hh": HH,
    "records": as_row(Demonstration(messages=ASKED + CHOSEN)),
}


@pytest.mark.parametrize("data", DEMONSTRATIONS.values(), ids=DEMONSTRATIONS)
def test_every_form_of_a_demonstration_gives_the_same_conversation(data):
    shown = formats.demonstration(row(data), formats.detect(row(data)))
    assert isinstance(shown, Demonstration)
    assert shown.messages == ASKED + CHOSEN


PROMPTS: dict[str, dict[str, Any]] = {
    "text": {"prompt": "Which way?"},
    "messages": {"prompt": [U]},
    "a conversation without its answer": {"messages": [U]},
    "a conversation with its answer": {"messages": [U, GOOD]},
    "a line of text": {"text": "Which way?"},
    "records": as_row(Prompt(messages=ASKED)),
}


@pytest.mark.parametrize("data", PROMPTS.values(), ids=PROMPTS)
def test_every_form_of_a_prompt_gives_the_same_messages(data):
    asked = formats.prompt(row(data), formats.detect(row(data)))
    assert isinstance(asked, Prompt)
    assert asked.messages == ASKED


def test_longer_conversations_keep_all_their_turns():
    turns = [{"role": "system", "content": "Be brief."}, U, BAD, {"role": "user", "content": "Again."}]
    pair = formats.preference(row({"chosen": [*turns, GOOD], "rejected": [*turns, BAD]}), "preference")
    assert isinstance(pair, Preference)
    assert [turn.role for turn in pair.prompt] == ["system", "user", "assistant", "user"]


LEFT: list[tuple[str, dict[str, Any], str]] = [
    ("strings", {"prompt": "p", "chosen": "a", "rejected": "a"}, EQUAL),
    ("messages", {"chosen": [U, GOOD], "rejected": [U, GOOD]}, EQUAL),
    (
        "nothing shared",
        {"chosen": [U, GOOD], "rejected": [{**U, "content": "What?"}, BAD]},
        "chosen and rejected share no prompt",
    ),
    ("hh equal", {"chosen": HH["chosen"], "rejected": HH["chosen"]}, EQUAL),
    (
        "hh parts early",
        {**HH, "rejected": HH["rejected"].replace("Which", "What")},
        "transcripts part before the last answer",
    ),
    (
        "hh ends with a question",
        {side: text + "\n\nHuman: And?" for side, text in HH.items()},
        "a transcript does not end with an answer",
    ),
    ("hh silent", {**HH, "rejected": "\n\nHuman: Which way?\n\nAssistant:"}, "an empty answer"),
    ("hh twice", {side: "\n\nHuman: Hm." + text for side, text in HH.items()}, "turns do not alternate"),
]


@pytest.mark.parametrize(("data", "reason"), [case[1:] for case in LEFT], ids=[case[0] for case in LEFT])
def test_a_row_of_no_use_is_left_out_with_its_reason(data, reason):
    assert formats.preference(row(data), formats.detect(row(data))) == Left(reason)


WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("no prompt", {"chosen": "a", "rejected": "b"}, "prompt: None found"),
    ("two forms", {"prompt": "p", "chosen": "a", "rejected": [BAD]}, "rejected: [{"),
    ("a number", {"prompt": "p", "chosen": 1, "rejected": "b"}, "chosen: 1 found, expected an answer"),
    (
        "no answer",
        {"prompt": "p", "chosen": "a", "rejected": " "},
        "rejected: ' ' found, expected an answer that is not empty",
    ),
    ("an answer by the user", {"prompt": [U], "chosen": [GOOD], "rejected": [U]}, "rejected: 'user' found"),
    (
        "prompt that ends with an answer",
        {"prompt": [U, GOOD], "chosen": [GOOD], "rejected": [BAD]},
        "prompt.1.role: 'assistant' found",
    ),
    ("another prompt", {"prompt": "What?", "chosen": [U, GOOD], "rejected": [U, BAD]}, "prompt: 'What?' found"),
    ("edited record", {**PAIRS["records"], "id": "0" * 64}, "id: 000000000000… is not the name of this content"),
    ("unknown field", {**PAIRS["records"], "colour": 1}, "colour: no such field"),
]


@pytest.mark.parametrize(("data", "message"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG])
def test_a_wrong_row_is_refused_by_line_and_field(data, message):
    with pytest.raises(RecordError) as caught:
        formats.preference(row(data), formats.detect(row(data)))
    assert str(caught.value).startswith(f"dir/f.jsonl:7: {message}")


def test_a_demonstration_that_ends_with_a_question_is_refused():
    with pytest.raises(RecordError, match=r"f\.jsonl:7: messages\.0\.role: 'user' found, expected an answer"):
        formats.demonstration(row({"messages": [U]}), "messages")


def test_our_own_records_are_held_to_the_same_rules_of_conversation():
    late = (*ASKED, Message(role="system", content="Late."), *CHOSEN)
    with pytest.raises(RecordError, match=r"messages\.1: 'a late system message' found"):
        formats.demonstration(row(as_row(Demonstration(messages=late))), "records")


def test_columns_that_speak_of_nothing_are_named():
    with pytest.raises(RecordError, match="columns answer, question found, expected messages;"):
        formats.detect(row({"question": "?", "answer": "!"}))


def test_rows_under_the_wrong_heading_are_refused():
    with pytest.raises(RecordError, match="`prompts` rows found, which give no demonstrations"):
        formats.demonstration(row({"prompt": "p"}), "prompts")
    with pytest.raises(RecordError, match="`messages` rows found, which give no preferences"):
        formats.preference(row({"messages": [U, GOOD]}), "messages")


@pytest.mark.parametrize("name", [1, 1.0, "1"])
def test_a_rows_own_name_is_the_same_text_however_it_is_written(name):
    asked = formats.prompt(row({"prompt": "p", "id": name}), "prompts")
    assert isinstance(asked, Prompt)
    assert asked.meta == {"id": "1"}


def test_unusual_text_is_kept_as_it_is():
    text = "e\u0301 \u200b\u202eabc <|im_end|> </s>"
    asked = formats.prompt(row({"prompt": text}), "prompts")
    assert isinstance(asked, Prompt)
    assert asked.messages[0].content == text
