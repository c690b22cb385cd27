"""Accounts for people, for scripts and for judges: made once, with a kind that is theirs for ever."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from align.adapters.argilla.rest import Refused, call
from align.errors import UsageError

if TYPE_CHECKING:
    from align.adapters.argilla.home import Home, Kind

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.@-]{0,99}")


@dataclass(frozen=True)
class Account:
    """One that can sign in. `password` is known only when it was just made; `kind` None says nobody declared it."""

    username: str
    kind: Kind | None
    role: str
    api_key: str
    user_id: str
    password: str | None = None


def users(home: Home) -> list[Account]:
    """Every account, in the order in which they were made."""
    with_owner = home.credentials()
    kinds = home.kinds()
    told = call(with_owner.url, "GET", "users", api_key=with_owner.api_key)
    return [_account(row, kinds.get(row["username"])) for row in told["items"]]


def add_users(home: Home, names: Sequence[str], kind: Kind, *, workspace: str | None = None) -> list[Account]:
    """Annotators with random passwords, members of the workspace. One that exists keeps its password (None here).

    UsageError for a name that cannot be one, or that is an account of another kind.
    """
    owner = home.credentials()

    def ask(method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        return call(owner.url, method, path, body, api_key=owner.api_key)

    for name in names:
        if not NAME.fullmatch(name):
            raise UsageError(f"{name!r}: not a user name; letters, digits and _ . @ - are, up to 100 of them")
        if name == owner.username:
            raise UsageError(f"{name}: is the server's owner, who runs it and does not judge; choose another name")
    existing = {row["username"]: row for row in ask("GET", "users")["items"]}
    for name in names:
        home.record_kind(name, kind)
    place = _workspace(ask, workspace or owner.workspace)
    made = []
    for name in dict.fromkeys(names):
        password = None
        row = existing.get(name)
        if row is None:
            password = secrets.token_urlsafe(9)
            row = ask(
                "POST", "users", {"username": name, "first_name": name, "role": "annotator", "password": password}
            )
        try:
            ask("POST", f"workspaces/{place}/users", {"user_id": row["id"]})
        except Refused as refused:
            if refused.status != 409:  # a member already
                raise
        made.append(_account(row, kind, password))
    return made


def _workspace(ask: Any, name: str) -> str:
    for row in ask("GET", "me/workspaces")["items"]:
        if row["name"] == name:
            return str(row["id"])
    return str(ask("POST", "workspaces", {"name": name})["id"])


def _account(row: dict[str, Any], kind: Kind | None, password: str | None = None) -> Account:
    return Account(row["username"], kind, row["role"], row["api_key"], row["id"], password)
