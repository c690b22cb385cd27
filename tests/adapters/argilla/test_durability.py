"""Nothing that was acknowledged is lost: under load, while somebody pulls or copies, and by kills."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import time
from pathlib import Path
from uuid import UUID

import httpx
import pytest

from align.adapters.argilla.accounts import Account, add_users
from align.adapters.argilla.backup import backup
from align.adapters.argilla.home import Home, down, up
from align.adapters.argilla.process import running
from align.errors import StoreError, UsageError
from tests.adapters.argilla.conftest import Argilla
from tests.adapters.argilla.project import Annotator, Project, Said

Answers = dict[tuple[str, str], Said]


def acknowledged(annotators: list[Annotator]) -> Answers:
    return {key: said for one in annotators for key, said in dict(one.acknowledged).items()}


def in_file(database: Path, dataset: str) -> Answers:
    """The answers of a database file, read without Argilla."""
    with sqlite3.connect(f"file:{database}?mode=ro", uri=True) as file:
        assert file.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        rows = file.execute(
            'SELECT r.record_id, r.user_id, r.status, r."values" FROM responses AS r JOIN records ON records.id = '
            "r.record_id WHERE records.dataset_id = ?",
            (UUID(dataset).hex,),
        ).fetchall()
    return {
        (str(UUID(record)), str(UUID(user))): (
            status,
            {name: one["value"] for name, one in (json.loads(said or "null") or {}).items()},
        )
        for record, user, status, said in rows
    }


def due(project: Project, said: Answers) -> list[str]:
    """What each record's status should be."""
    done = [key[0] for key, (status, _) in said.items() if status == "submitted"]
    return ["completed" if done.count(record) >= project.min_submitted else "pending" for record in project.records]


def three_at_full_speed(argilla: Argilla, n: int, tmp_path: Path) -> None:
    project = Project(argilla.url, argilla.key, f"load{n}", n)
    annotators = [Annotator(project, argilla.add(), step) for step in (1, -1, 1)]
    threads = [one.start() for one in annotators]
    pulls, copies = 0, 0
    while any(thread.is_alive() for thread in threads):
        before = acknowledged(annotators)
        seen = project.pulled()
        assert before.items() <= seen.items(), "a pull is without answers that were acknowledged before it began"
        pulls += 1
        if pulls in (2, 5):
            before = acknowledged(annotators)
            told = backup(argilla.home, tmp_path / f"copy{copies}")
            copy = in_file(tmp_path / f"copy{copies}" / "argilla.db", project.id)
            assert before.items() <= copy.items(), "a copy is without answers that were acknowledged before it began"
            assert told["responses"] >= len(copy)
            copies += 1
    assert [one.errors for one in annotators] == [[], [], []]
    assert [one.repeated for one in annotators] == [0, 0, 0]
    said = acknowledged(annotators)
    assert len(said) == 3 * n
    assert project.pulled() == said
    assert pulls >= 3
    assert copies >= 1
    assert project.statuses() == due(project, said)


def test_three_at_full_speed_while_one_pulls_and_copies_are_made(argilla: Argilla, tmp_path: Path) -> None:
    three_at_full_speed(argilla, 50, tmp_path)


@pytest.mark.slow
def test_three_at_full_speed_for_long(argilla: Argilla, tmp_path: Path) -> None:
    three_at_full_speed(argilla, 250, tmp_path)


def signed_in(url: str, who: Account) -> str:
    told = httpx.post(f"{url}/api/v1/token", data={"username": who.username, "password": who.password}, trust_env=False)
    assert told.status_code == 201, told.text
    return str(told.json()["access_token"])


def killed_under_load(home: Home, n: int, kills: int) -> None:
    url = up(home, port=0)
    port = int(url.rsplit(":", 1)[1])
    people = add_users(home, ["one", "two", "three"], "simulated")
    token = signed_in(url, people[0])
    project = Project(url, home.credentials().api_key, "killed", n)
    annotators = [Annotator(project, who, step) for who, step in zip(people, (1, -1, 1), strict=True)]
    threads = [one.start() for one in annotators]
    for kill in range(kills):
        wanted = 3 * n * (kill + 1) // (kills + 2)
        while len(acknowledged(annotators)) < wanted and any(thread.is_alive() for thread in threads):
            time.sleep(0.02)
        before = acknowledged(annotators)
        assert len(before) < 3 * n, "killed too late to be under load"
        holder = running(home)
        assert holder is not None
        os.kill(holder["pid"], signal.SIGKILL)
        while running(home) is not None:
            time.sleep(0.01)
        assert before.items() <= in_file(home.database, project.id).items()
        # as if the kill had come between an answer and the status of its record
        with sqlite3.connect(home.database) as file:
            file.execute("UPDATE records SET status = 'completed' WHERE id = (SELECT min(id) FROM records)")
            file.execute("UPDATE records SET status = 'pending' WHERE id != (SELECT min(id) FROM records)")
        file.close()
        assert up(home) == f"http://127.0.0.1:{port}", "the address is that of before"
    for thread in threads:
        thread.join(180)
        assert not thread.is_alive()
    assert [one.errors for one in annotators] == [[], [], []]
    assert sum(one.repeated for one in annotators) >= 1
    said = acknowledged(annotators)
    assert len(said) == 3 * n
    assert project.pulled() == said
    assert project.statuses() == due(project, said)
    me = httpx.get(f"{url}/api/v1/me", headers={"Authorization": f"Bearer {token}"}, trust_env=False)
    assert me.json()["username"] == "one", "who was signed in still is"
    assert down(home) == "stopped"
    assert not (home.path / "argilla.db-wal").exists(), "the database is one file when nothing runs"
    assert not (home.path / "tmp").exists()
    assert in_file(home.database, project.id) == said


def test_a_kill_under_load_loses_no_acknowledged_answer_and_signs_nobody_out(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    try:
        killed_under_load(home, 30, kills=1)
    finally:
        if running(home):
            down(home)


@pytest.mark.slow
def test_five_kills_under_load_lose_no_acknowledged_answer(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    try:
        killed_under_load(home, 70, kills=5)
    finally:
        if running(home):
            down(home)


def test_a_copy_never_lies_where_something_is_already(argilla: Argilla, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="exists already"):
        backup(argilla.home, tmp_path)
    with pytest.raises(UsageError, match="nothing to copy"):
        backup(Home(tmp_path / "none"), tmp_path / "copy")
    broken = Home(tmp_path / "broken")
    broken.prepare()
    broken.database.write_bytes(b"not a database" * 1000)
    with pytest.raises(StoreError, match="cannot be copied: file is not a database"):
        backup(broken, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    assert not (tmp_path / "copy.partial").exists()


@pytest.mark.slow
def test_a_copy_comes_up_with_the_same_answers_accounts_and_kinds(argilla: Argilla, tmp_path: Path) -> None:
    project = Project(argilla.url, argilla.key, "copied", 20)
    annotator = Annotator(project, argilla.add("judge"))
    annotator.work()
    backup(argilla.home, tmp_path / "copy")
    copy = Home(tmp_path / "copy")
    try:
        url = up(copy, port=0)
        project.url = url
        assert project.pulled() == annotator.acknowledged
        assert copy.kinds() == argilla.home.kinds()
        assert copy.kind_of(annotator.who.username) == "judge"
        assert url != argilla.url
    finally:
        if running(copy):
            down(copy)
