"""Conversations as they are given, made into messages or refused: who may speak, in which order, and not in silence."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from align.data.rows import Row
from align.records import Message, ToolCall
from align.store.jsonl import explain

ROLES = ("system", "user", "assistant", "tool")
_TURN = re.compile(r"(?:\A|\n\n)(Human|Assistant):")


def parse(row: Row, field: str) -> tuple[Message, ...]:
    """The conversation in one field: a list of `{role, content}`. RecordError names the message by its index."""
    given = row.data.get(field)
    if not isinstance(given, list) or not given:
        row.wrong(field, given, "a list of messages with role and content")
    turns = tuple(_message(row, f"{field}.{i}", one) for i, one in enumerate(given))
    problem = misrule(turns)
    if problem is not None:
        index, found, expected = problem
        row.wrong(f"{field}.{index}", found, expected)
    return turns


def misrule(turns: Sequence[Message]) -> tuple[int, str, str] | None:
    """What is first wrong with a conversation, as (index, found, expected); None where all is well.

    At most one system message, and it comes first; then a user speaks; nobody but a calling assistant says nothing;
    a tool answers an assistant.
    """
    for i, turn in enumerate(turns):
        before = turns[i - 1].role if i else None
        if turn.role == "system" and i:
            what = "a second system message" if any(t.role == "system" for t in turns[:i]) else "a late system message"
            return i, what, "one system message at most, and at the start"
        if turn.role in ("assistant", "tool") and before in (None, "system"):
            return i, turn.role, "a user's message first"
        if turn.role == "tool" and before not in ("assistant", "tool"):
            return i, "tool", "a tool's message only after an assistant's call"
        if not turn.content.strip() and not turn.tool_calls and turn.role != "tool":
            return i, f"an empty {turn.role} message", "some text"
    return None


def transcript(text: str) -> tuple[Message, ...] | None:
    """The turns of an hh-rlhf transcript (`\\n\\nHuman: … \\n\\nAssistant: …`); None where the text is not one."""
    parts = _TURN.split(text)
    if len(parts) < 3 or parts[0].strip():
        return None
    roles = ["user" if who == "Human" else "assistant" for who in parts[1::2]]
    return tuple(
        Message(role="user" if role == "user" else "assistant", content=said.strip())
        for role, said in zip(roles, parts[2::2], strict=True)
    )


def _message(row: Row, where: str, one: Any) -> Message:
    if not isinstance(one, dict):
        row.wrong(where, one, "an object with role and content")
    role = one.get("role")
    if role not in ROLES:
        row.wrong(f"{where}.role", role, f"one of {', '.join(ROLES)}")
    calls = one.get("tool_calls")
    fields: dict[str, Any] = {
        "role": role,
        "content": _content(row, f"{where}.content", one.get("content"), silent=bool(calls)),
    }
    if calls:
        fields["tool_calls"] = tuple(_call(row, f"{where}.tool_calls", call) for call in calls)
    if one.get("tool_call_id") is not None:
        fields["tool_call_id"] = one["tool_call_id"]
    try:
        return Message.model_validate(fields)
    except ValidationError as error:
        row.wrong(where, explain(error, Message), "a message")


def _content(row: Row, where: str, content: Any, *, silent: bool) -> str:
    if content is None and silent:
        return ""
    if isinstance(content, list):
        texts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"]
        if len(texts) == len(content) and all(isinstance(text, str) for text in texts):
            return "".join(str(text) for text in texts)
        row.wrong(where, content, "text alone (images and audio are not read)")
    if not isinstance(content, str):
        row.wrong(where, content, "text")
    return content


def _call(row: Row, where: str, call: Any) -> ToolCall:
    """A tool call, in our form or with OpenAI's `function` around it and its arguments as JSON text."""
    if not isinstance(call, dict):
        row.wrong(where, call, "an object with name and arguments")
    inner = call["function"] if isinstance(call.get("function"), dict) else call
    arguments = inner.get("arguments", {})
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except ValueError:
            row.wrong(f"{where}.arguments", arguments, "a JSON object")
    if not isinstance(inner.get("name"), str) or not isinstance(arguments, dict):
        row.wrong(where, call, "a name, and arguments as a JSON object")
    return ToolCall(name=inner["name"], arguments=arguments, call_id=call.get("id") or call.get("call_id"))
