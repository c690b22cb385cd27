"""The folder in which our own Argilla lives: its database, its credentials, and what each account on it counts as.

credentials.json   the owner's name, password and API key, and the key that signs sessions; readable by you alone
people.jsonl       who was made with which kind; only ever added to
argilla.db         what Argilla keeps, one SQLite file
server.lock        held by the server as long as it lives
server.log         what it said
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import stat
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

from align.adapters.argilla.accounts import users
from align.adapters.argilla.process import down, up
from align.errors import UsageError
from align.store import jsonl

__all__ = ["Credentials", "Home", "Kind", "down", "up", "users"]

Kind = Literal["human", "simulated", "judge"]
KINDS: tuple[Kind, ...] = get_args(Kind)
OWNER = "owner"
WORKSPACE = "align"


@dataclass(frozen=True)
class Credentials:
    """How to reach the server as its owner. `url` is where it was last, or is, listening."""

    url: str
    username: str
    password: str
    api_key: str
    workspace: str


class Home:
    """The folder at `path`, or the user's: `$ALIGN_ARGILLA_HOME`, or `~/.local/share/align-prefs/argilla`."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = (path or default()).expanduser().absolute()
        self.database = self.path / "argilla.db"
        self.log = self.path / "server.log"
        self.lock = self.path / "server.lock"
        self._credentials = self.path / "credentials.json"
        self._people = self.path / "people.jsonl"

    def credentials(self) -> Credentials:
        """The owner's; UsageError where there is no server yet, or others can read them."""
        kept = self._kept()
        if kept is None:
            raise UsageError(f"{self.path}: no Argilla there yet; run: align argilla up")
        if "url" not in kept:
            raise UsageError(f"{self.path}: that Argilla has never been up; run: align argilla up")
        owner = kept["owner"]
        return Credentials(kept["url"], owner["name"], owner["password"], owner["api_key"], kept["workspace"])

    def prepare(self) -> None:
        """The folder, for you alone, and credentials drawn at random where there are none."""
        self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
        if self._kept() is None:
            owner = {"name": OWNER, "password": secrets.token_urlsafe(18), "api_key": secrets.token_urlsafe(48)}
            self._keep({"owner": owner, "auth_key": secrets.token_hex(32), "workspace": WORKSPACE})

    def moved_to(self, url: str, host: str, port: int) -> None:
        """Remember where the server listens."""
        self._keep({**(self._kept() or {}), "url": url, "host": host, "port": port})

    def last_port(self) -> int | None:
        """The port of last time, so that people's bookmarks go on working."""
        port = (self._kept() or {}).get("port")
        return int(port) if port else None

    def kind_of(self, username: str) -> Kind | None:
        """What judgments of that account count as, for ever; None for one that was not made by `users add`."""
        return self.kinds().get(username)

    def kinds(self) -> dict[str, Kind]:
        """Every account's kind: what was said of it first."""
        found: dict[str, Kind] = {}
        if self._people.exists():
            for number, row in jsonl.rows(self._people):
                if row.get("kind") not in KINDS or not isinstance(row.get("username"), str):
                    raise UsageError(f"{self._people}:{number}: expected a username and a kind of {', '.join(KINDS)}")
                found.setdefault(row["username"], row["kind"])
        return found

    def record_kind(self, username: str, kind: Kind) -> None:
        """Say for ever what an account is, before it exists; UsageError where something else was said before."""
        handle = os.open(self._people, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            known = self.kind_of(username)
            if known is None:
                now = datetime.now(UTC).isoformat(timespec="seconds")
                row = json.dumps({"username": username, "kind": kind, "since": now}, ensure_ascii=False)
                os.write(handle, f"{row}\n".encode())
                os.fsync(handle)
            elif known != kind:
                raise UsageError(
                    f"{username}: is a {known} account and stays one, for its judgments are marked so; "
                    f"choose another name for a {kind} account"
                )
        finally:
            os.close(handle)

    def _kept(self) -> dict[str, Any] | None:
        try:
            handle = os.open(self._credentials, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UsageError(f"{self._credentials}: cannot be read ({error.strerror}); is it another's?") from error
        with os.fdopen(handle, "rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            if mode & 0o077:
                raise UsageError(
                    f"{self._credentials}: others may read it (mode {mode:04o}), so its keys may be known; run: "
                    f"chmod 600 '{self._credentials}', or remove it and have new ones drawn by `align argilla up`"
                )
            text = file.read()
        try:
            kept: dict[str, Any] = json.loads(text)
            assert {"owner", "auth_key", "workspace"} <= kept.keys()
        except (ValueError, AssertionError, AttributeError) as error:
            raise UsageError(
                f"{self._credentials}: not what was written there; remove it, and new credentials are drawn by "
                "`align argilla up` (annotators keep theirs)"
            ) from error
        return kept

    def _keep(self, kept: dict[str, Any]) -> None:
        partial = self._credentials.with_suffix(".partial")
        partial.unlink(missing_ok=True)
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(kept, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self._credentials)


def default() -> Path:
    """`$ALIGN_ARGILLA_HOME`, or the user's folder for data."""
    named = os.environ.get("ALIGN_ARGILLA_HOME")
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "align-prefs" / "argilla"
