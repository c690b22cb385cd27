"""From a row of somebody's data set to one of our records: which format it is, what is read of it, what is left out.

A row that is wrong stops the run with its file, line and field; a row that is merely of no use (no answer, two
transcripts that part too early) is left out and counted under its reason.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import ValidationError

from align.configs.data import Format
from align.data import messages
from align.data.rows import Row
from align.errors import RecordError
from align.records import Demonstration, Message, Meta, Preference, Prompt, Record
from align.store.jsonl import explain

R = TypeVar("R", bound=Record)
Turns = tuple[Message, ...]

EQUAL = "chosen equals rejected"


@dataclass(frozen=True)
class Left:
    """A row that is left out, and why."""

    reason: str


def detect(row: Row) -> Format:
    """The format that the row's columns speak of."""
    data = row.data
    if data.get("schema") is not None:
        return "records"
    if "chosen" in data and "rejected" in data:
        sides = data["chosen"], data["rejected"]
        if "prompt" not in data and all(isinstance(side, str) and messages.transcript(side) for side in sides):
            return "hh"
        return "preference"
    if "messages" in data:
        return "messages"
    if "prompt" in data:
        return "prompt_completion" if "completion" in data else "prompts"
    if "text" in data:
        return "text"
    raise RecordError(
        f"{row.place}: columns {', '.join(sorted(data)) or 'none'} found, expected messages; prompt and completion; "
        "prompt, chosen and rejected; chosen and rejected; prompt; or text"
    )


def text(row: Row, form: Format) -> str | Left:
    """A document to pretrain on."""
    if form != "text":
        _unfit(row, form, "text")
    found = row.data.get("text")
    if not isinstance(found, str):
        row.wrong("text", found, "text")
    return found if found.strip() else Left("empty text")


def demonstration(row: Row, form: Format) -> Demonstration | Left:
    """A conversation to imitate; of a pair, the chosen answer."""
    if form == "records":
        return _record(row, Demonstration)
    if form in ("preference", "hh"):
        pair = _pair(row, form)
        return (
            pair if isinstance(pair, Left) else _build(row, Demonstration, messages=pair[0] + pair[1], meta=_meta(row))
        )
    if form == "prompt_completion":
        turns = _prompt(row) + _answer(row, "completion")
    elif form == "messages":
        turns = messages.parse(row, "messages")
        if turns[-1].role != "assistant":
            row.wrong(
                f"messages.{len(turns) - 1}.role", turns[-1].role, "an answer of the assistant's as the last message"
            )
    else:
        _unfit(row, form, "demonstrations")
    return _build(row, Demonstration, messages=turns, tools=_tools(row), meta=_meta(row))


def prompt(row: Row, form: Format) -> Prompt | Left:
    """What waits for an answer; an answer that is already there is taken off."""
    if form == "records" and "chosen" not in row.data:
        return _record(row, Prompt)
    if form in ("preference", "hh", "records"):
        pair = _pair(row, form)
        return pair if isinstance(pair, Left) else _build(row, Prompt, messages=pair[0], meta=_meta(row))
    if form == "messages":
        turns = messages.parse(row, "messages")
        turns = turns[:-1] if turns[-1].role == "assistant" else turns
    elif form in ("prompts", "prompt_completion"):
        turns = _prompt(row)
    elif form == "text":
        found = row.data.get("text")
        if not isinstance(found, str) or not found.strip():
            return Left("empty prompt") if found == "" else row.wrong("text", found, "a prompt")
        turns = (Message(role="user", content=found),)
    else:
        _unfit(row, form, "prompts")
    return _build(row, Prompt, messages=turns, tools=_tools(row), meta=_meta(row))


def preference(row: Row, form: Format) -> Preference | Left:
    """A pair to learn from, its label taken as it is."""
    if form == "records":
        if "chosen" in row.data and row.data["chosen"] == row.data.get("rejected"):
            return Left(EQUAL)
        return _record(row, Preference)
    if form not in ("preference", "hh"):
        _unfit(row, form, "preferences")
    pair = _pair(row, form)
    if isinstance(pair, Left):
        return pair
    asked, chosen, rejected = pair
    if chosen == rejected:
        return Left(EQUAL)
    asked_id = Prompt(messages=asked).id
    return _build(row, Preference, prompt=asked, chosen=chosen, rejected=rejected, prompt_id=asked_id, meta=_meta(row))


def _pair(row: Row, form: Format) -> tuple[Turns, Turns, Turns] | Left:
    return _transcripts(row) if form == "hh" else _sides(row)


def _transcripts(row: Row) -> tuple[Turns, Turns, Turns] | Left:
    """hh-rlhf: two transcripts that are the same up to the last answer."""
    sides = []
    for field in ("chosen", "rejected"):
        found = row.data.get(field)
        turns = messages.transcript(found) if isinstance(found, str) else None
        if turns is None:
            row.wrong(field, found, "a transcript that begins with `\\n\\nHuman:`")
        sides.append(turns)
    chosen, rejected = sides
    if chosen[-1].role != "assistant" or rejected[-1].role != "assistant":
        return Left("a transcript does not end with an answer")
    if chosen[:-1] != rejected[:-1]:
        return Left("transcripts part before the last answer")
    if not (chosen[-1].content and rejected[-1].content):
        return Left("an empty answer")
    if any(a.role == b.role for a, b in itertools.pairwise(chosen)):
        return Left("turns do not alternate")
    if messages.misrule(chosen) is not None:
        return Left("an empty turn, or one out of order")
    return chosen[:-1], chosen[-1:], rejected[-1:]


def _sides(row: Row) -> tuple[Turns, Turns, Turns] | Left:
    """TRL's pairs: texts, message lists, or message lists that begin with the prompt they share."""
    data = row.data
    for field in ("chosen", "rejected"):
        if not isinstance(data.get(field), (str, list)):
            row.wrong(field, data.get(field), "an answer, as text or messages")
    if isinstance(data["chosen"], str) != isinstance(data["rejected"], str):
        row.wrong("rejected", data["rejected"], "the same form as chosen: both texts or both message lists")
    if isinstance(data["chosen"], str) or (data.get("prompt") is not None and _bare(data["chosen"])):
        if data.get("prompt") is None:
            row.wrong("prompt", None, "a prompt beside chosen and rejected texts")
        asked, sides = _prompt(row), (_answer(row, "chosen"), _answer(row, "rejected"))
    else:
        whole = messages.parse(row, "chosen"), messages.parse(row, "rejected")
        n = 0
        while n < min(map(len, whole)) and whole[0][n] == whole[1][n]:
            n += 1
        if whole[0] == whole[1]:
            return Left(EQUAL)
        asked, sides = whole[0][:n], (whole[0][n:], whole[1][n:])
        if not asked or asked[-1].role == "assistant" or not all(sides):
            return Left("chosen and rejected share no prompt")
        if isinstance(data.get("prompt"), str) and data["prompt"].strip() not in [
            turn.content.strip() for turn in asked
        ]:
            row.wrong("prompt", data["prompt"], "what chosen and rejected begin with")
    for field, side in zip(("chosen", "rejected"), sides, strict=True):
        if side[0].role != "assistant" or side[-1].role != "assistant":
            row.wrong(field, side[-1].role, "an answer that the assistant begins and ends")
    return asked, sides[0], sides[1]


def _bare(side: list[Any]) -> bool:
    """Whether a message list holds the answer alone, without its prompt."""
    return bool(side) and isinstance(side[0], dict) and side[0].get("role") == "assistant"


def _prompt(row: Row) -> Turns:
    found = row.data.get("prompt")
    if isinstance(found, list):
        turns = messages.parse(row, "prompt")
        if turns[-1].role == "assistant":
            row.wrong(f"prompt.{len(turns) - 1}.role", "assistant", "a prompt that waits for an answer")
        return turns
    if not isinstance(found, str) or not found.strip():
        row.wrong("prompt", found, "a prompt, as text or messages")
    said = messages.transcript(found)
    if said is not None:
        said = said[:-1] if said[-1].role == "assistant" and not said[-1].content else said
        if said and said[-1].role == "user" and messages.misrule(said) is None:
            return said
    return (Message(role="user", content=found),)


def _answer(row: Row, field: str) -> Turns:
    found = row.data.get(field)
    if isinstance(found, str):
        if not found.strip():
            row.wrong(field, found, "an answer that is not empty")
        return (Message(role="assistant", content=found.strip()),)
    # an answer alone is a conversation without its beginning: it is read behind a prompt, to be held to the same rules
    behind = (
        {field: [{"role": "user", "content": "-"}, *found]} if isinstance(found, list) and found else {field: found}
    )
    turns = messages.parse(Row(behind, row.place, row.source), field)[1:]
    if turns[0].role != "assistant" or turns[-1].role != "assistant":
        row.wrong(field, turns[-1].role, "an answer that the assistant begins and ends")
    return turns


def _tools(row: Row) -> tuple[Meta, ...] | None:
    tools = row.data.get("tools")
    if tools is None or tools == []:
        return None
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        row.wrong("tools", tools, "a list of JSON schemas")
    return tuple(tools)


def _meta(row: Row) -> Meta:
    """The row's own name, as text: 1, 1.0 and "1" are one name."""
    name = row.data.get("id")
    if name is None:
        return {}
    return {"id": str(int(name)) if isinstance(name, float) and name.is_integer() else str(name)}


def _build(row: Row, kind: type[R], **fields: Any) -> R:
    try:
        return kind.model_validate({**fields, "source": row.source})
    except ValidationError as error:
        raise RecordError(f"{row.place}: {explain(error, kind)}") from error


def _record(row: Row, kind: type[R]) -> R:
    try:
        record = kind.model_validate(row.data)
    except ValidationError as error:
        raise RecordError(f"{row.place}: {explain(error, kind)} (expected one {kind.__name__} per line)") from error
    for field in ("messages", "prompt"):
        problem = messages.misrule(getattr(record, field, ()))
        if problem is not None:
            index, found, expected = problem
            row.wrong(f"{field}.{index}", found, expected)
    if getattr(record, "source", None) is None:
        record = record.model_copy(update={"source": row.source})
    return record


def _unfit(row: Row, form: Format, wanted: str) -> Any:
    raise RecordError(
        f"{row.place}: `{form}` rows found, which give no {wanted}; "
        "put the file under another part of `data`, or name its format"
    )
