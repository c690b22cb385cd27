"""The desk at an Argilla server: comparisons are put up once, and everything said of them is pulled each time.

What was put up and what was ever pulled stand in a book of our own; text is never read back, records are joined by the
names we gave them, and what disappeared or was edited on the server is noticed and said.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from align.adapters.argilla import page
from align.adapters.argilla.book import Answer, Book
from align.adapters.argilla.client import BATCH, Argilla
from align.adapters.argilla.dataset import open_dataset, open_workspace
from align.adapters.argilla.people import People
from align.adapters.argilla.settings import settings
from align.adapters.argilla.verdicts import judged
from align.configs import LabelConfig
from align.errors import RecordError
from align.ports import Told
from align.records import Candidate, Comparison, Judgment, Prompt
from align.store import locks

VOID = "of text that was changed on the server"
FOREIGN = "of a record that is not ours"
WITHDRAWN = "withdrawn"
NOBODY = "of an account that was never said to be a person's, a script's or a judge's"
VANISHED = "gone from the server"


class ArgillaDesk:
    """One data set on one server.

    `kept` is where its book stands, `at` what the server is known by where its address may change, and `note` puts a
    line into the manifest.
    """

    def __init__(
        self,
        config: LabelConfig,
        server: Argilla,
        people: People,
        *,
        kept: Path,
        at: str | None = None,
        note: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.config, self.server, self.people, self._note = config, server, people, note
        self.settings = settings(config)
        place = f"{at or server.url} {config.argilla.workspace} {self.settings.name}"
        digits = hashlib.sha256(place.encode("utf-8")).hexdigest()[:8]
        self.book = Book(kept / f"{self.settings.name.replace(' ', '_')}-{digits}")
        self._records: dict[str, dict[str, Any]] = {}
        self._comparisons: dict[str, Comparison] = {}
        self.dataset_id = ""
        self._told = Told()
        self._line = ""

    def publish(
        self, prompts: Mapping[str, Prompt], candidates: Mapping[str, Candidate], comparisons: Sequence[Comparison]
    ) -> None:
        """Put up what is not there yet. A killed publisher's work is gone on with; an earlier draft is made anew."""
        asked = self.config.argilla
        self._comparisons = {one.id: one for one in comparisons}
        self._records = {}
        for one in comparisons:
            shown = page.fields(one, prompts, candidates, layout=asked.layout, thinking=asked.thinking)
            self._records[one.id] = page.record(shown, one, candidates)
        with self._alone():
            workspace_id = open_workspace(self.server, asked)
            self.people.at(workspace_id)
            self.dataset_id = open_dataset(self.server, workspace_id, self.settings, self.book)
            known = self.book.published()
            self.book.publish(one for one in comparisons if one.id not in known)
            there = self.book.put(self.dataset_id)
            self._put([name for name in self._records if name not in there])

    def pull(self) -> list[Judgment]:
        """Everything that was said, and noted down before it is used."""
        with self._alone():
            rows = self.server.records(self.dataset_id)
            ours = {row["external_id"]: row for row in rows if row.get("external_id")}
            missing = [name for name in self._records if name not in ours]
            if missing:  # somebody removed them: there are no answers to them any more, and they are asked again
                self._put(missing)
            edited = {
                name
                for name, record in self._records.items()
                if name in ours and not page.same(ours[name]["fields"], record["fields"])
            }
            answers, nameless = _answers(rows)
            self.book.pulled(answers, at=datetime.now(UTC).isoformat(timespec="seconds"))
            self.book.void(one for one in answers if one.record in edited)
            self.book.meet(self.people.meet({one.user for one in answers}, self.book.people()))
        return self._sorted(answers, edited, nameless)

    def told(self) -> Told:
        """What was counted, and what is no judgment."""
        return self._told

    def where(self) -> str:
        """The address to open, and how far everyone is."""
        return self._line

    def _put(self, names: Sequence[str]) -> None:
        records = [self._records[name] for name in names]
        done = 0
        for n in self.server.put_records(self.dataset_id, records, batch=BATCH):
            self.book.acknowledge(self.dataset_id, names[done : done + n])
            done += n

    def _sorted(self, answers: Sequence[Answer], edited: set[str], nameless: int) -> list[Judgment]:
        """Judgments, oldest first; all else is counted and set aside with its reason."""
        published, void = self.book.published(), self.book.voided()
        now = {one.key for one in answers}
        history = self.book.history()
        gone = {
            key for key, states in history.items()
            if key not in now and states[-1].status == "submitted" and states[-1].state not in void
        }  # fmt: skip
        self._vanished({user for _, user in gone}, len(gone))
        aside: list[tuple[str, Answer]] = []
        said: list[Judgment] = []
        for key, states in history.items():
            submitted = [one for one in states if one.status == "submitted"]
            if states[-1].status != "submitted":
                aside += [(WITHDRAWN, one) for one in submitted]
            elif key in gone and self.config.argilla.vanished == "drop":
                aside += [(VANISHED, one) for one in submitted]
            else:
                for one in submitted:
                    found = self._judged(one, published, void)
                    if isinstance(found, Judgment):
                        said.append(found)
                    else:
                        aside.append((found, one))
        statuses = Counter(one.status for one in answers if one.record in self._records)
        self._told = Told(
            counts={
                "records": len(self._records),
                "submitted": statuses["submitted"],
                "drafts": statuses["draft"],
                "discarded": statuses["discarded"],
                "answers_gone_from_server": len(gone),
                "records_changed_on_server": len(edited),
                "answers_without_our_name": nameless,
            },
            set_aside=[
                {"reason": why, "answer": {**one.row(), "user": self.people.of(one.user).pseudonym}}
                for why, one in aside
            ],
        )
        self._line = self._progress(answers, statuses, edited)
        return sorted(said, key=lambda one: one.created_at or "")

    def _judged(self, one: Answer, published: Mapping[str, Comparison], void: set[str]) -> Judgment | str:
        who = self.people.of(one.user)
        if one.record not in published:
            return FOREIGN
        if one.state in void:
            return VOID
        if who.kind is None:
            return NOBODY
        return judged(one, published[one.record], annotator=who.pseudonym, provenance=who.kind)

    def _vanished(self, users: set[str], n: int) -> None:
        """Say that answers are gone; stop unless the recipe says what to do without them."""
        if not n:
            return
        names = sorted(self.people.of(user).name for user in users)
        what = f"{n} answer{'s' * (n != 1)} of {', '.join(names[:5])}{' and others' * (len(names) > 5)}"
        if self.config.argilla.vanished == "stop":
            raise RecordError(
                f"{self.settings.name}: {what}, pulled before, {'are' if n != 1 else 'is'} gone from the server (an "
                "account or a record was removed there); set label.argilla.vanished: keep to use what was pulled, or "
                "drop to do without"
            )
        kept = "used as pulled" if self.config.argilla.vanished == "keep" else "left out"
        self._note(f"{n} answers that were pulled before are gone from the server: {kept}")

    def _progress(self, answers: Sequence[Answer], statuses: Mapping[str, int], edited: set[str]) -> str:
        """Where to go, and who has done how much; zero is said in full."""
        total = len(self._records)
        done = Counter(
            self.people.of(one.user).name
            for one in answers
            if one.record in self._records and one.status == "submitted"
        )
        each = ", ".join(f"{name} {n} of {total}" for name, n in sorted(done.items()))
        parts = [
            f"open {self.server.url}/dataset/{self.dataset_id}/annotation-mode",
            *([each] if each else []),
            f"{statuses['submitted']} submitted, {statuses['draft']} drafts, {statuses['discarded']} discarded",
        ]
        if self.server.warning:
            parts.append(self.server.warning)
        if self._told.set_aside:
            reasons = Counter(str(row["reason"]) for row in self._told.set_aside)
            parts.append("set aside: " + ", ".join(f"{n} {why}" for why, n in sorted(reasons.items())))
        if edited:
            parts.append(
                f"{len(edited)} records were changed on the server and their answers are void: remove them there, and "
                "they are put up again"
            )
        wanted = self.config.annotators_per_comparison
        members = self.people.members()
        through = [name for name, n in done.items() if n >= total]
        if len(set(members) | set(done)) < wanted:
            have = ", ".join(members) or "nobody"
            parts.append(f"{wanted} annotators are needed for each and {have} may judge: {self.people.advice()}")
        elif len(through) == 1 == len(done) and wanted > 1:
            parts.append(f"{through[0]} has judged all, and others nothing yet")
        return "; ".join(parts)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with locks.held(self.book.folder / "lock", f"the book of {self.settings.name}"):
            yield


def _answers(rows: Sequence[Mapping[str, Any]]) -> tuple[list[Answer], int]:
    """Every response with our record's name, and how many there were without one."""
    found, nameless = [], 0
    for row in rows:
        for one in row.get("responses") or ():
            if not row.get("external_id"):
                nameless += 1
                continue
            values = {name: value.get("value") for name, value in (one.get("values") or {}).items()}
            found.append(
                Answer(
                    record=row["external_id"],
                    user=str(one["user_id"]),
                    response=str(one["id"]),
                    status=one["status"],
                    values=values,
                    created=one["inserted_at"],
                    updated=one["updated_at"],
                )
            )
    return found, nameless
