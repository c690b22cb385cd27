"""The conversations of a row that ask to be scored: one answer, several to one prompt, or the two sides of a pair."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from pydantic import ValidationError

from align.data import formats
from align.data.formats import Left
from align.data.rows import Row
from align.errors import RecordError
from align.records import Candidate, Demonstration, Message, Preference, Prompt, Ranking, Record
from align.store.jsonl import explain

Turns = tuple[Message, ...]
R = TypeVar("R", bound=Record)


def conversations(row: Row, prompts: Mapping[str, Prompt]) -> tuple[Turns, ...]:
    """Each conversation of a row, prompt and answer together, in the order of the row.

    It knows our records (a candidate finds its prompt among `prompts`), `prompt` with `completion` or `completions`,
    chat `messages`, and pairs, of which the chosen side comes first. RecordError for everything else.
    """
    data = row.data
    if data.get("schema") is not None:
        return _of_record(row, prompts)
    if "completions" in data:
        several = data["completions"]
        if not isinstance(several, list) or not several:
            row.wrong("completions", several, "a list of answers, as texts or messages")
        asked = data.get("prompt")
        each = [Row({"prompt": asked, "completion": one}, row.place, row.source) for one in several]
        return tuple(_whole(one) for one in each)
    form = formats.detect(row)
    if form not in ("preference", "hh"):
        return (_whole(row),)
    pair = formats.preference(row, form)
    if isinstance(pair, Left):
        raise RecordError(f"{row.place}: {pair.reason}; there are no two answers to score")
    return (*pair.prompt, *pair.chosen), (*pair.prompt, *pair.rejected)


def _whole(row: Row) -> Turns:
    found = formats.demonstration(row, formats.detect(row))
    if isinstance(found, Left):
        raise RecordError(f"{row.place}: {found.reason}; there is no answer to score")
    return found.messages


def _of_record(row: Row, prompts: Mapping[str, Prompt]) -> tuple[Turns, ...]:
    data = row.data
    if "completion" in data and "prompt_id" in data:
        one = _record(row, Candidate)
        if one.prompt_id not in prompts:
            raise RecordError(
                f"{row.place}: prompt {one.prompt_id[:12]} found, which is not among the {len(prompts)} prompts given; "
                "name the file that holds it with --prompts"
            )
        return ((*prompts[one.prompt_id].messages, *one.completion),)
    if "chosen" in data:
        pair = _record(row, Preference)
        return (*pair.prompt, *pair.chosen), (*pair.prompt, *pair.rejected)
    if "groups" in data:
        ranking = _record(row, Ranking)
        return tuple((*ranking.prompt, *answer) for answer in ranking.answers)
    return (_record(row, Demonstration).messages,)


def _record(row: Row, kind: type[R]) -> R:
    try:
        return kind.model_validate(row.data)
    except ValidationError as error:
        raise RecordError(f"{row.place}: {explain(error, kind)} (expected one {kind.__name__} per line)") from error
