"""Who may speak, and when."""

from __future__ import annotations

from typing import Any

import pytest

from align.data.messages import parse, transcript
from align.data.rows import Row
from align.errors import RecordError

SYSTEM = {"role": "system", "content": "Be kind."}
USER = {"role": "user", "content": "Hello"}
ANSWER = {"role": "assistant", "content": "Hi!"}


def row(*turns: Any) -> Row:
    return Row({"messages": list(turns)}, "f.jsonl:3", "f.jsonl:3")


def roles(*turns: Any) -> list[str]:
    return [turn.role for turn in parse(row(*turns), "messages")]


def test_a_system_message_may_open_a_conversation():
    assert roles(SYSTEM, USER, ANSWER, USER, ANSWER) == ["system", "user", "assistant", "user", "assistant"]


def test_a_tool_answers_an_assistant_who_may_call_in_silence():
    call = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}],
    }
    turns = parse(row(USER, call, {"role": "tool", "content": "2", "tool_call_id": "c1"}, ANSWER), "messages")
    (made,) = turns[1].tool_calls or ()
    assert (made.name, made.arguments, made.call_id) == ("add", {"a": 1}, "c1")
    assert turns[2].tool_call_id == "c1"


def test_content_in_parts_is_joined_where_all_of_it_is_text():
    parts = [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]
    assert parse(row({"role": "user", "content": parts}), "messages")[0].content == "Hello"


WRONG: list[tuple[str, list[Any], str]] = [
    (
        "unknown role",
        [{"role": "human", "content": "Hello"}],
        "messages.0.role: 'human' found, expected one of system,",
    ),
    ("two systems", [SYSTEM, SYSTEM, USER], "messages.1: 'a second system message' found"),
    ("late system", [USER, SYSTEM], "messages.1: 'a late system message' found"),
    ("assistant first", [ANSWER, USER], "messages.0: 'assistant' found, expected a user's message first"),
    ("assistant after system", [SYSTEM, ANSWER], "messages.1: 'assistant' found, expected a user's message first"),
    ("empty assistant", [USER, {"role": "assistant", "content": " \n"}], "messages.1: 'an empty assistant message'"),
    ("empty user", [{"role": "user", "content": ""}], "messages.0: 'an empty user message'"),
    ("tool alone", [USER, {"role": "tool", "content": "2"}], "messages.1: 'tool' found"),
    ("no content", [{"role": "user"}], "messages.0.content: None found, expected text"),
    ("an image", [{"role": "user", "content": [{"type": "image"}]}], "messages.0.content: [{'type': 'image'}] found"),
    ("no object", ["Hello"], "messages.0: 'Hello' found, expected an object with role and content"),
    ("none at all", [], "messages: [] found, expected a list of messages"),
]


@pytest.mark.parametrize(("turns", "message"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG])
def test_a_conversation_against_the_rules_is_refused_by_its_index(turns, message):
    with pytest.raises(RecordError) as caught:
        parse(row(*turns), "messages")
    assert str(caught.value).startswith(f"f.jsonl:3: {message}")


def test_a_transcript_is_cut_at_its_marks_and_nowhere_else():
    text = "\n\nHuman: What does Human: mean?\n\nAssistant: It marks\n\na turn.\n\nHuman: Ok\n\nAssistant: Fine."
    assert [(m.role, m.content) for m in transcript(text) or ()] == [
        ("user", "What does Human: mean?"),
        ("assistant", "It marks\n\na turn."),
        ("user", "Ok"),
        ("assistant", "Fine."),
    ]


@pytest.mark.parametrize("text", ["", "Hello", "Hello\n\nHuman: you", "A note.\n\nAssistant: yes"])
def test_text_that_does_not_open_with_a_mark_is_no_transcript(text):
    assert transcript(text) is None
