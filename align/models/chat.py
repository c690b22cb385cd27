"""Conversations as tokens: what the template says, which tokens are an answer, and no control token from content."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from align.errors import ModelError
from align.records import Message

A_DAY = datetime(2025, 1, 1)
"""What a template that asks for today's date is told: a result must not depend on the day it was made."""
OPEN, CLOSE = "\ue0f0", "\ue0f1"
"""Marks (of Unicode's private use area) put around control tokens in content, until the text is cut into tokens."""


@dataclass(frozen=True)
class Encoded:
    """Token ids, and for each whether it belongs to an assistant's answer, the end of turn included."""

    ids: list[int]
    answer: list[bool]

    def split(self) -> tuple[list[int], list[int]]:
        """Prompt and last answer, for a conversation that ends with one."""
        last = max(i for i, said in enumerate(self.answer) if said)
        first = last
        while first > 0 and self.answer[first - 1]:
            first -= 1
        return self.ids[:first], self.ids[first : last + 1]


class Chat:
    """A tokenizer's chat template, applied safely."""

    def __init__(self, tokenizer: Any, ends: Sequence[int], template_kwargs: Mapping[str, Any] | None = None) -> None:
        if not tokenizer.chat_template:
            raise ModelError("the tokenizer has no chat template; give one with model.chat_template (a Jinja file)")
        self.tokenizer = tokenizer
        self.ends = frozenset(ends)
        self.template_kwargs = dict(template_kwargs or {})
        controls = sorted(
            {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}, key=len, reverse=True
        )
        self._controls = re.compile("|".join(map(re.escape, controls)) if controls else r"(?!)")

    def n_controls(self, messages: Sequence[Message]) -> int:
        """How many control tokens stand in the content of the messages; they are encoded as plain text."""
        return sum(len(self._controls.findall(message.content)) for message in messages)

    def render(self, messages: Sequence[Message], *, add_generation_prompt: bool = False, tools: Any = None) -> str:
        """The text that the template makes of a conversation."""
        text = self._marked(messages, add_generation_prompt=add_generation_prompt, tools=tools)
        return text.replace(OPEN, "").replace(CLOSE, "")

    def prompt(self, messages: Sequence[Message], tools: Any = None) -> list[int]:
        """The token ids that a model reads before it answers."""
        text = self._marked(messages, add_generation_prompt=True, tools=tools)
        return [token for token, _, _ in self._tokens(text)]

    def prompts(self, conversations: Sequence[tuple[Sequence[Message], Any]]) -> list[list[int]]:
        """`prompt` of many conversations, each with its tools, in a third of the time."""
        texts = self._all_marked(conversations)
        # a first call leaves the backend as a plain one must find it: no truncation, and control tokens heeded
        self.tokenizer("", add_special_tokens=False, split_special_tokens=False)
        # one by one: cut together, they would be shared out to threads, and so few wait longer for those than they gain
        encode = self.tokenizer.backend_tokenizer.encode
        found = [None if OPEN in text else encode(text, add_special_tokens=False).ids for text in texts]
        return [
            [token for token, _, _ in self._tokens(text)] if ids is None else ids
            for text, ids in zip(texts, found, strict=True)
        ]

    def whole(self, messages: Sequence[Message], tools: Any = None) -> list[int]:
        """The token ids of a whole conversation, to its last token."""
        return [token for token, _, _ in self._tokens(self._marked(messages, tools=tools))]

    def encode(self, messages: Sequence[Message], tools: Any = None) -> Encoded:
        """A whole conversation.

        An assistant's turn is found by rendering the conversation up to it, with and without it: the template need not
        mark its answers, but each render must begin the next; ModelError where it does not.
        """
        whole = self._marked(messages, tools=tools)
        spans = []
        for i, message in enumerate(messages):
            if message.role != "assistant":
                continue
            before = self._marked(messages[:i], add_generation_prompt=True, tools=tools)
            upto = self._marked(messages[: i + 1], tools=tools)
            if not (whole.startswith(upto) and upto.startswith(before)):
                raise ModelError(
                    "the chat template writes a turn differently once others follow, so its answers cannot be told "
                    "apart; use one that only appends"
                )
            spans.append((len(before), len(upto)))
        tokens = self._tokens(whole)
        answer = [False] * len(tokens)
        for start, stop in spans:
            inside = [
                i for i, (_, first, last) in enumerate(tokens) if first >= start and last <= stop and last > first
            ]
            ends = [i for i in inside if tokens[i][0] in self.ends]
            if not ends:
                raise ModelError(
                    "the chat template closes an answer without an end-of-text token, so the model could never learn "
                    "to stop; use a template whose turns end with the tokenizer's eos token"
                )
            for i in inside:
                answer[i] = i <= ends[-1]
        return Encoded([token for token, _, _ in tokens], answer)

    def unknown_end(self) -> int | None:
        """The control token with which the template closes an answer, where the model does not know it as an end."""
        asked, said = Message(role="user", content="Is it so?"), Message(role="assistant", content="Yes.")
        before = self._marked([asked], add_generation_prompt=True)
        inside = self._tokens(self._marked([asked, said]).removeprefix(before))
        controls = [token for token, _, _ in inside if token in set(self.tokenizer.all_special_ids)]
        return None if not controls or self.ends & set(controls) else controls[0]

    def _all_marked(self, conversations: Sequence[tuple[Sequence[Message], Any]]) -> list[str]:
        """`_marked` of conversations that wait for an answer; those without tools are rendered together."""
        plain = [messages for messages, tools in conversations if tools is None]
        together = iter(self._rendered([list(map(self._row, messages)) for messages in plain], True, None))
        return [
            next(together) if tools is None else self._marked(messages, add_generation_prompt=True, tools=tools)
            for messages, tools in conversations
        ]

    def _marked(self, messages: Sequence[Message], *, add_generation_prompt: bool = False, tools: Any = None) -> str:
        return self._rendered([list(map(self._row, messages))], add_generation_prompt, tools)[0]

    def _rendered(self, rows: list[list[dict[str, Any]]], add_generation_prompt: bool, tools: Any) -> list[str]:
        import jinja2

        if not rows:
            return []
        try:
            texts: list[str] = self.tokenizer.apply_chat_template(
                rows,
                tools=tools,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                **{"strftime_now": A_DAY.strftime, **self.template_kwargs},
            )
        except (jinja2.TemplateError, TypeError) as error:
            if len(rows) > 1:  # say which
                return [self._rendered([one], add_generation_prompt, tools)[0] for one in rows]
            raise ModelError(
                f"the chat template cannot render a conversation of {[r['role'] for r in rows[0]]}: {error}"
            ) from error
        return texts

    def _row(self, message: Message) -> dict[str, Any]:
        row: dict[str, Any] = {"role": message.role, "content": message.content}
        if message.tool_calls is not None or message.tool_call_id is not None:
            row = message.model_dump(exclude_none=True)
        content = message.content.replace(OPEN, "").replace(CLOSE, "")
        row["content"] = self._controls.sub(lambda found: f"{OPEN}{found.group()}{CLOSE}", content)
        return row

    def _tokens(self, text: str) -> list[tuple[int, int, int]]:
        """(id, first character, last character + 1) of each token of a marked text."""
        tokens = []
        place = 0
        for part in re.split(f"({OPEN}.*?{CLOSE})", text):
            as_text = part.startswith(OPEN)
            piece = part[1:-1] if as_text else part
            if piece:
                cut = self.tokenizer(
                    piece, add_special_tokens=False, return_offsets_mapping=True, split_special_tokens=as_text
                )
                shift = place + (1 if as_text else 0)
                tokens += [
                    (t, shift + a, shift + b) for t, (a, b) in zip(cut["input_ids"], cut["offset_mapping"], strict=True)
                ]
            place += len(part)
        return tokens
