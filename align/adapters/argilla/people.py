"""Who answers: a pseudonym for each account, and what their judgments count as, which never changes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from align.adapters.argilla.client import Argilla, Refused
from align.errors import RecordError
from align.records import Provenance


@dataclass(frozen=True)
class Person:
    """An account. `kind` is None where nobody said what it is: its answers are not used."""

    name: str
    pseudonym: str
    kind: Provenance | None


class People:
    """The accounts of one server, as far as they answered here or belong to the workspace."""

    def __init__(self, server: Argilla, kind_of: Callable[[str], Provenance | None], *, advice: str) -> None:
        """`kind_of` says what an account counts as by its user name; `advice` how to add one."""
        self._server, self._kind_of, self._advice = server, kind_of, advice
        self._known: dict[str, Person] = {}
        self._workspace_id = ""

    def at(self, workspace_id: str) -> None:
        """Say whose workspace it is."""
        self._workspace_id = workspace_id

    def meet(self, users: Iterable[str], before: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
        """Who these are, and who was met before: their names, pseudonyms and kinds, to be kept.

        RecordError where an account's kind is not what it was.
        """
        kept = {user: dict(row) for user, row in before.items()}
        accounts = self._server.users(self._workspace_id)
        for user in sorted(set(users) - set(kept)):
            if user in accounts:
                name = str(accounts[user]["username"])
                kept[user] = {"name": name, "pseudonym": pseudonym(user), "kind": self._kind_of(name)}
        for user, row in kept.items():
            now = self._kind_of(row["name"]) if user in accounts else row["kind"]
            if row["kind"] is None:
                row["kind"] = now
            elif now is not None and now != row["kind"]:
                raise RecordError(
                    f"{row['name']}: judgments of this account are `{row['kind']}` and cannot become `{now}`; "
                    "make another account for them"
                )
            self._known[user] = _person(row)
        return kept

    def of(self, user: str) -> Person:
        """Whoever has this id; an account that cannot be looked up is of no kind."""
        return self._known.get(user) or Person(f"account {user[:8]}", pseudonym(user), None)

    def members(self) -> list[str]:
        """Annotators of the workspace, by user name."""
        try:
            return self._server.members(self._workspace_id)
        except Refused:
            return []

    def advice(self) -> str:
        """How to add one."""
        return self._advice


def pseudonym(user: str) -> str:
    """A name that says nothing of the person, the same each time."""
    return "p-" + hashlib.sha256(f"annotator {user}".encode()).hexdigest()[:10]


def _person(row: dict[str, Any]) -> Person:
    return Person(row["name"], row["pseudonym"], cast("Provenance | None", row["kind"]))
