"""From a row with several answers and their order, or their scores, to a ranking."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from align.data import formats
from align.data.formats import Left
from align.data.rows import Row
from align.errors import RecordError
from align.records import Ranking
from align.store.jsonl import explain

FLAT = "all answers are tied"


def ranking(row: Row, form: str) -> Ranking | Left:
    """A record of ours; or `prompt` and `completions` with `scores` (higher is better) or `ranks` (1 is best).

    Equal scores or ranks are ties; equal answers keep the better place. Where nothing is told apart, the row is left
    out. RecordError for everything else.
    """
    data = row.data
    if form == "records":
        try:
            record = Ranking.model_validate(data)
        except ValidationError as error:
            raise RecordError(f"{row.place}: {explain(error, Ranking)} (expected one Ranking per line)") from error
        return record if len(record.groups) > 1 else Left(FLAT)
    several = data.get("completions")
    if not isinstance(several, list) or len(several) < 2:
        row.wrong("completions", several, "two answers or more, as texts or messages")
    worth = _worth(row, len(several))
    best: dict[Any, float] = {}
    asked = None
    for completion, value in zip(several, worth, strict=True):
        whole = formats.demonstration(
            Row({"prompt": data.get("prompt"), "completion": completion}, row.place, row.source), "prompt_completion"
        )
        if isinstance(whole, Left):
            return whole
        n = len(whole.messages) - (len(completion) if isinstance(completion, list) else 1)
        asked, answer = whole.messages[:n], whole.messages[n:]
        best[answer] = max(value, best.get(answer, value))
    assert asked is not None
    order = sorted(set(best.values()), reverse=True)
    if len(order) < 2:
        return Left(FLAT)
    answers = tuple(best)
    groups = tuple(tuple(i for i, answer in enumerate(answers) if best[answer] == value) for value in order)
    name = {} if data.get("id") is None else {"id": str(data["id"])}
    return Ranking(prompt=asked, answers=answers, groups=groups, meta=name)


def _worth(row: Row, n: int) -> list[float]:
    """How good each answer is said to be; higher is better."""
    for field, sign in (("scores", 1.0), ("ranks", -1.0)):
        found = row.data.get(field)
        if found is None:
            continue
        if not isinstance(found, list) or len(found) != n or not all(_is_number(value) for value in found):
            row.wrong(field, found, f"{n} numbers, one for each of the completions")
        return [sign * float(value) for value in found]
    row.wrong("scores", None, "scores (higher is better) or ranks (1 is best) beside the completions")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
