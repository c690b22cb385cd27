"""Argilla's database as one process keeps it in a file: durable, indexed, of the right version, its statuses right."""

from __future__ import annotations

import re
import sqlite3
from importlib.util import find_spec
from pathlib import Path
from typing import Any

REVISION = "580a6553186f"
"""The last migration of Argilla 2.8.0."""
REVISED = re.compile(r"""^revision(?:: str)? = ["'](\w+)["']""", re.M)


class Refused(Exception):
    """Why the server does not start, in one line."""


def examine(file: Path) -> None:
    """Refused where the file is not a database that this Argilla may open. Nothing is written."""
    if not file.exists() or file.stat().st_size == 0:
        return
    try:
        with sqlite3.connect(f"file:{file}?mode=ro", uri=True) as database:
            names = {name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            found = [row[0] for row in database.execute("SELECT version_num FROM alembic_version")] if (
                "alembic_version" in names
            ) else []  # fmt: skip
    except sqlite3.DatabaseError as error:
        raise Refused(f"{file}: {error}; put a backup in its place, or choose another --home") from error
    if not names:
        return
    if not found or not known().issuperset(found):
        raise Refused(
            f"{file}: its tables are at {', '.join(found) or 'no version'}, which Argilla 2.8.0 does not know "
            f"(its own is {REVISION}): another Argilla made it; open it with that one, or choose another --home"
        )
    if found != [REVISION]:
        kept = file.with_name(f"{file.name}.{found[0]}")
        if not kept.exists():
            with sqlite3.connect(file) as database:
                database.execute("VACUUM INTO ?", (str(kept),))


def known() -> set[str]:
    """The migrations that this Argilla has, read from its files: to import it would take seconds."""
    spec = find_spec("argilla_server")
    assert spec is not None
    assert spec.origin is not None
    files = (Path(spec.origin).parent / "alembic" / "versions").glob("*.py")
    return {said[1] for file in files if (said := REVISED.search(file.read_text(encoding="utf-8")))}


def listen(timeout_s: int) -> None:
    """Write-ahead log, every commit on the disk before it is acknowledged, and text that is compared without case."""
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    @event.listens_for(Engine, "connect")
    def _prepare(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        for pragma in ("journal_mode = WAL", "synchronous = FULL", f"busy_timeout = {timeout_s * 1000}"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()
        connection.create_function("holds", 2, holds, deterministic=True)


CODES = {"%3C": "<", "%24": "$", "%23": "#", "%26": "&"}


def holds(text: str | None, folded: str) -> bool:
    """Does the text hold the (case-folded) words? Text whose marks were escaped for the page is also read unescaped."""
    if text is None:
        return False
    if folded in text.casefold():
        return True
    if "%" not in text:
        return False
    for code, mark in CODES.items():
        text = text.replace(code, mark)
    return folded in text.replace("%25", "%").casefold()


def migrate() -> None:
    """To the tables of this version."""
    from alembic import command
    from alembic.config import Config
    from argilla_server.database import ALEMBIC_CONFIG_FILE

    config = Config(ALEMBIC_CONFIG_FILE)
    config.get_main_option("script_location")
    config.config_file_name = None  # read by now; left there, alembic would silence every logger that exists
    command.upgrade(config, "head")


INDEXES = """
CREATE INDEX IF NOT EXISTS align_records_dataset_status ON records (dataset_id, status);
CREATE INDEX IF NOT EXISTS align_records_dataset_inserted ON records (dataset_id, inserted_at);
CREATE INDEX IF NOT EXISTS align_responses_user_record ON responses (user_id, record_id, status);
ANALYZE;
"""
# Without them sqlite takes the index of pending records of ALL data sets.

SETTLE = """
UPDATE records SET status = CASE status WHEN 'completed' THEN 'pending' ELSE 'completed' END
WHERE (status = 'completed') != (
  (SELECT count(*) FROM responses WHERE record_id = records.id AND responses.status = 'submitted')
  >= (SELECT json_extract(distribution, '$.min_submitted') FROM datasets WHERE id = records.dataset_id))
"""


def settle(file: Path) -> int:
    """Make the indexes, and each record's status what its answers say; how many were wrong, after a kill perhaps."""
    with sqlite3.connect(file) as database:
        database.executescript(INDEXES)
        return database.execute(SETTLE).rowcount
