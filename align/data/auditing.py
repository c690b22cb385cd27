"""What is looked for in rows before they are trained on: what names a person, and what is nearly there already."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from align.data import alike, personal
from align.data.reading import R, asked
from align.records import Message, Preference, Prompt, Ranking
from align.records.base import Record

PERSONAL = "holds personal data"
LEAKS = "asks nearly what a held-out row asks"
REPEATS = "nearly another row"
AT_LEAST = 0.8
SHOWN = 5


@dataclass
class Audit:
    """What was found in all parts of a recipe's data, and what was done about it."""

    on_personal: Literal["report", "redact", "drop"]
    on_alike: Literal["report", "drop"]
    census: personal.Census = field(default_factory=personal.Census)
    near: dict[str, dict[str, Any]] = field(default_factory=dict)

    def of(self, part: str, train: Sequence[R], test: Sequence[R]) -> tuple[list[R], list[R], Counter[str]]:
        """Both sides as they may be used, and how many rows were left out for what.

        Rows of the testbed are made, and pass. Held-out rows are never left out for being alike.
        """
        dropped: Counter[str] = Counter()
        sides = []
        for side in (train, test):
            kept = []
            for row in side:
                clean = self._clean(row)
                if clean is None:
                    dropped[PERSONAL] += 1
                else:
                    kept.append(clean)
            sides.append(kept)
        left = self._near(part, *sides)
        if self.on_alike == "drop":
            for why in left.values():
                dropped[why] += 1
            sides[0] = [row for i, row in enumerate(sides[0]) if i not in left]
        return sides[0], sides[1], dropped

    def told(self) -> dict[str, Any]:
        """For the summary; empty where nothing was found."""
        found = self.census.told()
        near = {part: rows for part, rows in self.near.items() if rows}
        return {**({"personal_data": found} if found else {}), **({"nearly_alike": near} if near else {})}

    def _clean(self, row: R) -> R | None:
        if _made(row) or not self.census.add(personal.texts_of(_spoken(row)), _place(row)):
            return row
        if self.on_personal == "drop":
            return None
        if self.on_personal == "report":
            return row
        named: dict[str, Any] = {name: personal.without(turns) for name, turns in _fields(row).items()}
        if isinstance(row, Ranking):
            named["answers"] = tuple(map(personal.without, row.answers))
        if isinstance(row, (Preference, Ranking)) and row.prompt_id is not None:
            named["prompt_id"] = Prompt(messages=named["prompt"]).id
        try:
            return type(row)(**{**_plain(row), **named})
        except ValueError:  # both answers were told apart by nothing but what was taken out
            return None

    def _near(self, part: str, train: Sequence[R], test: Sequence[R]) -> dict[int, str]:
        """Rows for training that are alike to something, by place."""
        ours = [(i, row) for i, row in enumerate(train) if not _made(row)]
        if not ours:
            return {}
        held = [row for row in test if not _made(row)]
        places = [i for i, _ in ours]
        questions = [_text(asked(row)) for _, row in ours]
        leaks = alike.across(questions, [_text(asked(row)) for row in held], at_least=AT_LEAST)
        whole = [" ".join(_text(turns) for turns in _spoken(row)) for _, row in ours]
        repeats = alike.alike(whole, at_least=AT_LEAST)
        self.near[part] = {
            **_said(LEAKS, [(ours[p.first][1], held[p.second], p.similarity) for p in leaks]),
            **_said(REPEATS, [(ours[p.second][1], ours[p.first][1], p.similarity) for p in repeats]),
        }
        return {places[p.second]: REPEATS for p in repeats} | {places[p.first]: LEAKS for p in leaks}


def _said(why: str, pairs: Sequence[tuple[Record, Record, float]]) -> dict[str, Any]:
    if not pairs:
        return {}
    rows = {id(row) for row, _, _ in pairs}
    some = [f"{_place(a)} and {_place(b)} ({s:.2f})" for a, b, s in pairs[:SHOWN]]
    return {why: {"rows": len(rows), "some_places": some}}


def _made(row: Record) -> bool:
    """A row of the testbed's."""
    return getattr(row, "source", None) == "testbed"


def _place(row: Record) -> str:
    return str(getattr(row, "source", None) or row.id[:12])


def _fields(row: Record) -> dict[str, tuple[Message, ...]]:
    if isinstance(row, Ranking):
        return {"prompt": row.prompt}
    names = ("prompt", "chosen", "rejected") if isinstance(row, Preference) else ("messages",)
    return {name: getattr(row, name) for name in names}


def _spoken(row: Record) -> list[tuple[Message, ...]]:
    return [*_fields(row).values(), *(row.answers if isinstance(row, Ranking) else ())]


def _plain(row: Record) -> dict[str, Any]:
    return {name: getattr(row, name) for name in type(row).model_fields if name != "schema_"}


def _text(messages: Sequence[Message]) -> str:
    return " ".join(message.content for message in messages)
