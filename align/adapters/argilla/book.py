"""What is written down of a data set on somebody's server: what was put up there, and every answer ever pulled.

Nothing in it is ever changed or removed. A pull that found something new writes one file, `pulls/000001.jsonl`, with
what changed since the one before and with that one's digest, so that a file cannot be lost unnoticed.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from align.errors import StoreError
from align.records import Comparison, canonical
from align.store import jsonl
from align.store.fingerprint import replace


@dataclass(frozen=True)
class Answer:
    """One state of one person's response to one record, as the server had it."""

    record: str
    """The record's external id, which is the comparison's."""
    user: str
    response: str
    status: str
    values: Mapping[str, Any]
    created: str
    updated: str

    @property
    def key(self) -> tuple[str, str]:
        """Whose answer to what: the server keeps one."""
        return self.record, self.user

    @property
    def state(self) -> str:
        """Which of the answer's states it is."""
        return f"{self.response} {self.updated}"

    def row(self) -> dict[str, Any]:
        """As JSON."""
        return {**vars(self), "values": dict(self.values)}


class Book:
    """A folder for one data set."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "pulls").mkdir(parents=True, exist_ok=True)
        self._before = ""

    def dataset(self) -> dict[str, Any]:
        """The data set's id and name when it was last put up; empty before."""
        return self._json("dataset.json")

    def remember(self, **dataset: Any) -> None:
        """Write down which data set it is."""
        self._write("dataset.json", dataset)

    def people(self) -> dict[str, dict[str, Any]]:
        """User id → user name, pseudonym and kind, of everyone whose answer was ever pulled."""
        return self._json("people.json")

    def meet(self, people: Mapping[str, Mapping[str, Any]]) -> None:
        """Write down who people are, which outlives their accounts."""
        if people != self.people():
            self._write("people.json", people)

    def published(self) -> dict[str, Comparison]:
        """Every comparison that was ever put up here, by id."""
        path = self.folder / "comparisons.jsonl"
        if not path.exists():
            return {}
        whole = path.read_bytes()
        if whole and not whole.endswith(b"\n"):  # a kill in the middle of the last line, which was not put up yet
            path.write_bytes(whole[: whole.rfind(b"\n") + 1])
        return {one.id: one for one in jsonl.read(path, Comparison)}

    def publish(self, comparisons: Iterable[Comparison]) -> None:
        """Write down what is about to be put up."""
        _append(self.folder / "comparisons.jsonl", (jsonl.dumps(one) for one in comparisons))

    def put(self, dataset_id: str) -> set[str]:
        """The records that the server has acknowledged."""
        path = self.folder / f"put-{dataset_id}.txt"
        return set(path.read_text(encoding="utf-8").split()) if path.exists() else set()

    def acknowledge(self, dataset_id: str, records: Iterable[str]) -> None:
        """Write down that the server has them; what a kill leaves out is put again, which changes nothing."""
        _append(self.folder / f"put-{dataset_id}.txt", records)

    def history(self) -> dict[tuple[str, str], list[Answer]]:
        """All states of each answer, oldest first; the last is as of the last pull, and gone answers keep theirs."""
        states, _ = self._read()
        return states

    def void(self, answers: Iterable[Answer]) -> None:
        """Write down that these speak of other text than was put up: they never count, whatever stands there later."""
        known = self.voided()
        _append(self.folder / "void.txt", dict.fromkeys(one.state for one in answers if one.state not in known))

    def voided(self) -> set[str]:
        """The states of answers that are void."""
        path = self.folder / "void.txt"
        return set(path.read_text(encoding="utf-8").split("\n")) if path.exists() else set()

    def pulled(self, answers: Iterable[Answer], *, at: str) -> int:
        """Write down what is new of the answers that the server has now; how many rows that was."""
        now = {one.key: one for one in answers}
        states, gone = self._read()
        rows: list[dict[str, Any]] = [
            {"answer": one.row()}
            for key, one in now.items()
            if key not in states or states[key][-1] != one or key in gone
        ]
        rows += [{"gone": list(key)} for key in states if key not in now and key not in gone]
        if rows:
            number = len(list((self.folder / "pulls").glob("*.jsonl"))) + 1
            head = {"pull": number, "at": at, "after": self._before}
            text = "".join(canonical(row) + "\n" for row in (head, *rows))
            replace(self.folder / "pulls" / f"{number:06}.jsonl", text)
        return len(rows)

    def _read(self) -> tuple[dict[tuple[str, str], list[Answer]], set[tuple[str, str]]]:
        states: dict[tuple[str, str], list[Answer]] = {}
        gone: set[tuple[str, str]] = set()
        for row in self._rows():
            if "gone" in row:
                gone.add((row["gone"][0], row["gone"][1]))
                continue
            one = Answer(**row["answer"])
            gone.discard(one.key)
            before = states.setdefault(one.key, [])
            if not before or before[-1] != one:
                before.append(one)
        return states, gone

    def _rows(self) -> Iterator[dict[str, Any]]:
        self._before = ""
        for number, path in enumerate(sorted((self.folder / "pulls").glob("*.jsonl")), start=1):
            raw = path.read_bytes()
            head, *rows = [json.loads(line) for line in raw.decode("utf-8").split("\n") if line]
            if head["pull"] != number or head["after"] != self._before:
                raise StoreError(
                    f"{path}: does not follow the pull before it; a file of {path.parent} is missing or was edited"
                )
            self._before = hashlib.sha256(raw).hexdigest()
            yield from rows

    def _json(self, name: str) -> dict[str, Any]:
        path = self.folder / name
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        return found

    def _write(self, name: str, document: Mapping[str, Any]) -> None:
        replace(self.folder / name, json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def _append(path: Path, lines: Iterable[str]) -> None:
    with open(path, "a", encoding="utf-8", newline="\n") as stream:
        stream.writelines(line + "\n" for line in lines)
        stream.flush()
        os.fsync(stream.fileno())
