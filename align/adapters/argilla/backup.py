"""A copy of everything while people work: a folder that `align argilla up --home` brings up."""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from align.adapters.argilla.disks import refuse_network
from align.errors import StoreError, UsageError
from align.store.disk import is_full, raise_full

if TYPE_CHECKING:
    from align.adapters.argilla.home import Home

COUNTED = ("records", "responses", "users")


def backup(home: Home, folder: Path) -> dict[str, int]:
    """Copy what is committed at one moment into a new folder, and look through the copy; how much it holds.

    Readers hold up no writer here, so nobody notices. UsageError where there is nothing to copy or something is in the
    way, StoreError where the copy is not whole; then no folder of that name is left.
    """
    if not home.database.exists():
        raise UsageError(f"{home.path}: no Argilla there; nothing to copy")
    if folder.exists():
        raise UsageError(f"{folder}: exists already; name a new folder")
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(mode=0o700, parents=True)
    try:
        refuse_network(home.path)
        copy = partial / home.database.name
        told = _copied(home.database, copy)
        # after the database: a kind is written before its account is made, so no account of the copy is without one
        for name in ("people.jsonl", "credentials.json"):
            if (home.path / name).exists():
                shutil.copy2(home.path / name, partial / name)
        for path in partial.iterdir():
            path.chmod(0o600)
            with path.open("rb") as file:
                os.fsync(file.fileno())
        partial.rename(folder)
    except sqlite3.Error as error:
        if "full" in str(error) or is_full(partial):
            raise_full(partial, error)
        raise StoreError(f"{home.database}: cannot be copied: {error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return told


def _copied(database: Path, copy: Path) -> dict[str, int]:
    source = sqlite3.connect(database, timeout=30)
    try:
        source.execute("VACUUM INTO ?", (str(copy),))
    finally:
        source.close()
    copied = sqlite3.connect(copy)
    try:
        found = [row[0] for row in copied.execute("PRAGMA integrity_check")]
        if found != ["ok"]:
            raise StoreError(f"{copy}: the copy is damaged: {found[0]}; look at the disk of {database}")
        return {name: copied.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in COUNTED}
    finally:
        copied.close()
