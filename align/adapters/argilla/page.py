"""What people see of a comparison: the conversation, two answers in a stored order, and nothing of who wrote them.

Argilla pastes a record into a script of the page it shows, so that what a model wrote could run there. Therefore each
string is percent-encoded in the few characters that could end it or be replaced; the template decodes it and sets it
as text. What is not touched can be searched for as it stands.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Literal

from align.records import Candidate, Comparison, Message, Prompt, canonical

Thinking = Literal["fold", "hide", "show"]
Layout = Literal["pair", "plain"]

UNSAFE = re.compile(r"[%<$#&\x00]")
"""`<` could close the script, `$` and `#` stand for something where the page is put together, NUL breaks PostgreSQL."""
THOUGHT = re.compile(r"\s*<think>(.*?)</think>\s*", re.DOTALL)
_HTML = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def encoded(value: Any) -> Any:
    """The value with each of its strings made safe to be pasted into a script."""
    if isinstance(value, str):
        return UNSAFE.sub(lambda found: f"%{ord(found[0]):02X}", value)
    if isinstance(value, dict):
        return {name: encoded(inner) for name, inner in value.items()}
    return [encoded(inner) for inner in value] if isinstance(value, list) else value


def decoded(text: str) -> str:
    """What was encoded, as the page decodes it."""
    return re.sub(r"%(25|3C|24|23|26|00)", lambda found: chr(int(found[1], 16)), text)


def escaped(text: str) -> str:
    """For a field that Argilla shows as HTML: the text itself is what is seen."""
    return re.sub("[&<>]", lambda found: _HTML[found[0]], text)


@cache
def template() -> str:
    """The page; the server puts it together by JavaScript's `replace`, for which `$&` and its like mean something."""
    text = resources.files(__package__).joinpath("pair.html").read_text(encoding="utf-8")
    assert not re.search(r"\$[$&'`]", text)
    return text


@dataclass(frozen=True)
class Answer:
    """One answer as people may see it."""

    text: str
    thinking: str | None = None
    head: str | None = None
    """The thinking as it stands before the answer in the text that is trained on."""
    hidden_words: int = 0

    def document(self) -> dict[str, Any]:
        """Without what it has not."""
        return {name: value for name, value in vars(self).items() if value}


def answer(candidate: Candidate, thinking: Thinking) -> Answer:
    """What is shown of an answer; with `hide` its thinking does not leave this machine."""
    whole = _said(candidate.completion)
    found = THOUGHT.match(whole)
    head, text = (found[0], whole[found.end() :]) if found else (None, whole)
    thought = found[1].strip() if found else candidate.thinking
    if thinking == "hide" and thought:
        return Answer(text, hidden_words=len(thought.split()))
    return Answer(text, thought, head)


def trained(answers: tuple[Answer, Answer], candidates: tuple[Candidate, Candidate]) -> str:
    """What of it a model will be trained on, in a line for the page."""
    inside = any(THOUGHT.match(_said(one.completion)) for one in candidates)
    apart = any(one.thinking for one in candidates) and not inside
    line = "Trained on: the answer exactly as Raw shows it"
    if inside:
        return f"{line}{', and its thinking' if any(one.hidden_words for one in answers) else ', thinking included'}."
    return f"{line}; the thinking is kept apart." if apart else f"{line}."


def fields(
    comparison: Comparison,
    prompts: Mapping[str, Prompt],
    candidates: Mapping[str, Candidate],
    *,
    layout: Layout,
    thinking: Thinking,
) -> dict[str, Any]:
    """A record's fields. A is the answer shown first; one that is shown alone is plain text."""
    if len(comparison.candidate_ids) == 1:
        alone = answer(candidates[comparison.candidate_ids[0]], thinking)
        turns = prompts[comparison.prompt_id].messages
        shown = {"conversation": _said(turns, always_named=len(turns) > 1), "a": _plain(alone)}
        return {name: escaped(text) for name, text in shown.items()}
    first, second = (candidates[name] for name in comparison.candidate_ids)
    a, b = answer(first, thinking), answer(second, thinking)
    turns = prompts[comparison.prompt_id].messages
    if layout == "plain":
        shown = {"conversation": _said(turns, always_named=len(turns) > 1), "a": _plain(a), "b": _plain(b)}
        return {name: escaped(text) for name, text in shown.items()}
    pair = {
        "turns": [{"role": one.role, "text": _content(one)} for one in turns],
        "a": a.document(),
        "b": b.document(),
        "thinking": thinking,
        "trained": trained((a, b), (first, second)),
    }
    return {"pair": encoded(pair)}


def record(shown: Mapping[str, Any], comparison: Comparison, candidates: Mapping[str, Candidate]) -> dict[str, Any]:
    """What is put to the server: no suggestion, no response, and models' names where annotators do not get them."""
    answers = [candidates[name] for name in comparison.candidate_ids]
    return {
        "external_id": comparison.id,
        "fields": dict(shown),
        "metadata": {
            "words": max(len(one.text.split()) for one in answers),
            "round": comparison.round,
            **{f"model_{side}": encoded(one.model) for side, one in zip("ab", answers, strict=False)},
        },
    }


def same(found: Mapping[str, Any], shown: Mapping[str, Any]) -> bool:
    """Whether the server still holds the fields that were put there."""
    return canonical({name: found.get(name) for name in shown}) == canonical(dict(shown))


def _plain(one: Answer) -> str:
    text = one.text if one.head is None else one.head + one.text
    if one.head is None and one.thinking:
        text = f"(thinking, not trained on)\n{one.thinking}\n\n{text}"
    return f"{text}\n\n(its thinking, {one.hidden_words} words, is not shown)" if one.hidden_words else text


def _said(messages: tuple[Message, ...], *, always_named: bool = False) -> str:
    """An answer is its text; of several messages each is named by its role."""
    if len(messages) == 1 and not always_named:
        return _content(messages[0])
    return "\n\n".join(f"[{one.role}] {_content(one)}" for one in messages)


def _content(message: Message) -> str:
    calls = [f"→ {call.name}({canonical(call.arguments)})" for call in message.tool_calls or ()]
    return "\n".join([*([message.content] if message.content or not calls else []), *calls])
