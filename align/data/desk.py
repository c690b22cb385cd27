"""A desk without a server: comparisons lie in one file, and a person or tool appends judgments to another."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from align.errors import RecordError
from align.ports import Told
from align.records import Candidate, Comparison, Flag, Judgment, Message, Ordering, Prompt
from align.store import jsonl

CHOICES = ("first", "second", "tie", "both_bad")
OF_ONE = {"answers": True, "refuses": False}
"""What is said of one answer alone, and whether the flag is good."""
EXTRAS = ("strength", "reasons", "rationale", "correction", "created_at", "seconds")


class FileDesk:
    """Judgments in a JSONL file, comparisons beside it in `<its name>.comparisons.jsonl`.

    A row is a Judgment record, or the short form that a person can write: `comparison_id`, `annotator`, `provenance`
    and `choice` (`first`, `second`, `tie` or `both_bad`; of one answer alone `answers` or `refuses`), with a Judgment's
    other fields where wanted.
    """

    def __init__(self, judgments: Path) -> None:
        self.judgments = judgments
        self.comparisons = judgments.with_name(f"{judgments.name.removesuffix('.jsonl')}.comparisons.jsonl")
        self._published: dict[str, Comparison] = {}

    def publish(
        self, prompts: Mapping[str, Prompt], candidates: Mapping[str, Candidate], comparisons: Sequence[Comparison]
    ) -> None:
        """Write the comparisons with the text that is to be read; an unchanged file is left untouched."""
        self._published = {comparison.id: comparison for comparison in comparisons}
        lines = (readable(one, prompts[one.prompt_id], candidates) for one in comparisons)
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        try:
            self.judgments.parent.mkdir(parents=True, exist_ok=True)
            if not (self.comparisons.exists() and self.comparisons.read_bytes() == text.encode("utf-8")):
                self.comparisons.write_text(text, encoding="utf-8", newline="\n")
        except OSError as error:
            raise RecordError(
                f"{self.comparisons}: cannot be written: {error.strerror}; choose another folder"
            ) from error

    def pull(self) -> list[Judgment]:
        """Every row, in the file's order. A last line that is still being written is left for the next time."""
        if not self.judgments.exists():
            return []
        unfinished = not self.judgments.read_bytes().endswith(b"\n")
        found = list(jsonl.lines(self.judgments))
        said = []
        for number, raw in found:
            where = f"{self.judgments}:{number}"
            try:
                said.append(self._judgment(jsonl.parse(raw, where), where))
            except RecordError:
                if unfinished and number == found[-1][0]:
                    break
                raise
        return said

    def where(self) -> str:
        return f"write Judgment rows to {self.judgments}; comparisons are in {self.comparisons}"

    def told(self) -> Told:
        return Told()

    def _judgment(self, row: dict[str, Any], where: str) -> Judgment:
        if "choice" in row:
            row = self._long(row, where)
        try:
            return Judgment.model_validate(row)
        except ValidationError as error:
            raise RecordError(f"{where}: {jsonl.explain(error, Judgment)} (expected one Judgment per line)") from error

    def _long(self, row: dict[str, Any], where: str) -> dict[str, Any]:
        choice = row["choice"]
        known = self._published.get(str(row.get("comparison_id")))
        alone = len(known.candidate_ids) == 1 if known else choice in OF_ONE
        choices = tuple(OF_ONE) if alone else CHOICES
        if choice not in choices:
            raise RecordError(
                f"{where}: choice: {choice!r} is not one of {', '.join(choices)} (expected one Judgment per line)"
            )
        strange = sorted(set(row) - {"comparison_id", "annotator", "provenance", "choice", *EXTRAS})
        if strange:
            raise RecordError(f"{where}: {strange[0]}: no such field beside `choice`")
        # what nobody published is kept as it is said, for the stage to set aside and count
        shown = known.candidate_ids if known else ("first",) if alone else ("first", "second")
        return {
            "comparison_id": str(row.get("comparison_id")),
            "pair_id": known.pair_id if known else "unknown",
            "prompt_id": known.prompt_id if known else "unknown",
            "candidate_ids": shown,
            "verdict": Flag(good=OF_ONE[choice]) if alone else _ordering(choice, *shown),
            **{name: row[name] for name in ("annotator", "provenance", *EXTRAS) if name in row},
        }


def _ordering(choice: str, first: str, second: str) -> Ordering:
    groups = {"first": ((first,), (second,)), "second": ((second,), (first,))}.get(choice, ((first, second),))
    return Ordering(groups=groups, both_bad=choice == "both_bad")


def readable(comparison: Comparison, prompt: Prompt, candidates: Mapping[str, Candidate]) -> dict[str, Any]:
    """What a person needs to judge: the conversation, and the answers in the order in which they are to be shown."""
    first, *others = comparison.candidate_ids
    row: dict[str, Any] = {
        "comparison_id": comparison.id,
        "prompt": "\n\n".join(_turn(message) for message in prompt.messages),
        "first": candidates[first].text,
    }
    if others:
        row["second"] = candidates[others[0]].text
    return {**row, "comparison": json.loads(jsonl.dumps(comparison)), "pair_id": comparison.pair_id}


def _turn(message: Message) -> str:
    return message.content if message.role == "user" else f"[{message.role}] {message.content}"
