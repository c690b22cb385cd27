"""What is said: messages, prompts that wait for an answer, demonstrations to imitate."""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

from pydantic import Field, model_validator

from align.records.base import Meta, Part, Record, Role


class ToolCall(Part):
    """A call of a tool that an assistant's message asks for."""

    name: str
    arguments: Meta
    call_id: str | None = None


class Message(Part):
    """One turn of a conversation, in the chat form of the Hugging Face world."""

    role: Role
    content: str
    tool_calls: tuple[ToolCall, ...] | None = None
    tool_call_id: str | None = None
    """On a `tool` message: the call it answers."""


Messages = Annotated[tuple[Message, ...], Field(min_length=1)]


class Prompt(Record):
    """A conversation that waits for an answer."""

    identity: ClassVar[tuple[str, ...]] = ("messages", "tools")

    messages: Messages
    tools: tuple[Meta, ...] | None = None
    """JSON schemas of the tools the model may call."""
    source: str | None = None
    """The file and row, or the data set, that it came from."""
    cluster: str | None = None
    """Prompts made from one template share a cluster; intervals are widened for it."""
    meta: Meta = {}

    @model_validator(mode="after")
    def _waits_for_an_answer(self) -> Self:
        if self.messages[-1].role == "assistant":
            raise ValueError("messages: the last message is the assistant's, so nothing waits for an answer")
        return self


class Demonstration(Record):
    """A conversation to imitate: its last message is an assistant's."""

    identity: ClassVar[tuple[str, ...]] = ("messages", "tools")

    messages: Messages
    tools: tuple[Meta, ...] | None = None
    source: str | None = None
    meta: Meta = {}

    @model_validator(mode="after")
    def _ends_with_an_answer(self) -> Self:
        last = self.messages[-1]
        if last.role != "assistant" or not (last.content.strip() or last.tool_calls):
            raise ValueError(
                f"messages: the last message must be an answer of the assistant's, found an empty or `{last.role}` one"
            )
        return self
