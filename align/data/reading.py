"""How the files of a recipe are read: each row converted, kept or counted, and each file told of in the summary."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from align.configs import DataFile
from align.configs.data import Format
from align.data import formats, rows
from align.data.formats import Left
from align.data.rows import Row
from align.data.selection import Taken, few_equal, one_content_a_name, take, usable
from align.data.splits import n_words, opening_key, prompt_key
from align.records import Demonstration, Message, Preference, Prompt, Ranking

R = TypeVar("R", Demonstration, Prompt, Preference, Ranking)
T = TypeVar("T")
Part = Literal["demonstrations", "prompts", "preferences", "rankings"]
BENCHMARK = "begins with the prompt of a benchmark"


@dataclass(frozen=True)
class Reading:
    """How every file of a recipe is read, and where what it gave is told."""

    read: Callable[[DataFile, str], Iterator[Row]]
    sources: list[dict[str, Any]]
    max_equal_share: float
    kept_out: frozenset[str]
    """Openings of benchmark prompts, which nothing may be trained on."""

    def records(self, file: DataFile, part: Part, convert: Callable[[Row, Any], R | Left]) -> Taken[R]:
        """The records of one file; RecordError where too many are of no use."""

        def convert_or_keep_out(row: Row, form: Any) -> R | Left:
            found = convert(row, form)
            if isinstance(found, Left) or file.role == "test" or opening_key(asked(found)) not in self.kept_out:
                return found
            return Left(BENCHMARK)

        where = f"data.{part}: {file.path or file.hub}"
        taken: Taken[R] = take(
            self._converted(file, part, convert_or_keep_out),
            prompt=lambda record: prompt_key(asked(record)),
            name=lambda record: record.id,
            words=_words,
            limit=file.limit,
            max_words=file.max_words,
        )
        few_equal(taken, where, max_equal_share=self.max_equal_share)
        usable(taken, where)
        one_content_a_name(taken.units, called=_own_name, name=lambda record: record.id)
        self._tell(part, file, taken)
        return taken

    def texts(self, file: DataFile) -> list[str]:
        """The documents of one file."""
        taken: Taken[str] = take(
            self._converted(file, "text", formats.text),
            prompt=str,
            name=str,
            words=lambda text: len(text.split()),
            limit=file.limit,
            max_words=file.max_words,
        )
        usable(taken, f"data.text: {file.path or file.hub}")
        self._tell("text", file, taken)
        return [unit.value for unit in taken.units]

    def _converted(
        self, file: DataFile, part: str, convert: Callable[[Row, Any], T | Left]
    ) -> Iterator[tuple[Row, T | Left]]:
        form: Format | None = None if file.format == "auto" else file.format
        for row in self.read(file, part):
            form = form or formats.detect(row)
            yield row, convert(row, form)

    def _tell(self, part: str, file: DataFile, taken: Taken[Any]) -> None:
        told = rows.source(file).model_dump(mode="json")
        counts = {"n_read": taken.n_read, "n_kept": len(taken.units), "dropped": dict(sorted(taken.dropped.items()))}
        self.sources.append({"part": part, **told, **counts})


def asked(record: Demonstration | Prompt | Preference | Ranking) -> tuple[Message, ...]:
    """What the record's answer answers."""
    if isinstance(record, (Preference, Ranking)):
        return record.prompt
    return record.messages[:-1] if isinstance(record, Demonstration) else record.messages


def _words(record: Demonstration | Prompt | Preference | Ranking) -> int:
    if isinstance(record, Ranking):
        return n_words(record.prompt) + max(map(n_words, record.answers))
    if isinstance(record, Preference):
        return n_words(record.prompt) + max(n_words(record.chosen), n_words(record.rejected))
    return n_words(record.messages)


def _own_name(record: Demonstration | Prompt | Preference | Ranking) -> str | None:
    name = record.meta.get("id")
    return name if isinstance(name, str) else None
