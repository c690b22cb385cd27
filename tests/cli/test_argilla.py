"""`align argilla`: what it prints and how it ends, against a real server."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from align.adapters.argilla.home import Home
from align.adapters.argilla.process import running
from tests.adapters.argilla.conftest import Argilla, argilla
from tests.adapters.argilla.project import Annotator, Project
from tests.cli.conftest import Align, told
from tests.cli.test_light import best_of, loaded

__all__ = ["argilla"]


def test_its_help_is_instant_and_brings_in_nothing_heavy() -> None:
    assert loaded("from align.cli import main\ntry: main(['argilla', '--help'])\nexcept SystemExit: pass") == set()
    assert (
        loaded("from align.cli import main\ntry: main(['argilla', 'up', '--help'])\nexcept SystemExit: pass") == set()
    )
    assert best_of(5, sys.executable, "-m", "align.cli", "argilla", "--help") <= 0.2


def test_from_nothing_to_a_server_and_back(align: Align, tmp_path: Path) -> None:
    home = tmp_path / "home"
    code, out, err = align("argilla", "status", "--home", home)
    assert (code, err) == (1, "")
    assert "not running" in out
    try:
        code, out, err = align("argilla", "up", "--home", home, "--port", "0")
        assert (code, err) == (0, "")
        url = re.findall(r"^Argilla is up at (http://127\.0\.0\.1:\d+)$", out, re.M)[0]
        assert str(home / "credentials.json") in out
        assert "next: align argilla users add" in out
        code, out, err = align("argilla", "up", "--home", home)
        assert code == 6
        assert re.search(
            r"^align: .* up there already \(process \d+, since [\dT:+-]+\); see: align argilla status$", err
        )
        code, out, _ = align("argilla", "users", "add", "alice", "bob", "--home", home)
        assert code == 0
        assert re.search(r"^alice +human +password \S{8,}$", out, re.M)
        assert f"shown this once; people sign in at {url}" in out
        state = told(align("argilla", "status", "--home", home, "--json"))
        assert state == {
            "running": True,
            "url": url,
            "pid": state["pid"],
            "since": state["since"],
            "datasets": [],
        }
        assert align("argilla", "down", "--home", home)[:2] == (0, "stopped\n")
    finally:
        if holder := running(Home(home)):
            subprocess.run(["kill", str(holder["pid"])], check=True)
    code, _, err = align("argilla", "down", "--home", home)
    assert (code, err) == (2, f"align: {home}: no Argilla is up\n")


def test_status_counts_every_annotators_answers(align: Align, argilla: Argilla) -> None:
    project = Project(argilla.url, argilla.key, "counted", 12, min_submitted=2)
    annotators = [Annotator(project, argilla.add()) for _ in range(2)]
    for one in annotators:
        one.work()
    state = told(align("argilla", "status", "--home", argilla.home.path, "--json"))
    (counted,) = [one for one in state["datasets"] if one["name"] == "counted"]
    assert (counted["workspace"], counted["records"], counted["min_submitted"]) == ("align", 12, 2)
    assert counted["completed"] == project.statuses().count("completed")
    assert counted["annotators"] == {
        one.who.username: {
            name: [status for status, _ in one.acknowledged.values()].count(name)
            for name in ("submitted", "draft", "discarded")
        }
        for one in annotators
    }
    code, out, _ = align("argilla", "status", "--home", argilla.home.path)
    assert code == 0
    assert re.search(rf"^align/counted: {counted['completed']} of 12 records completed \(2 answers each\)$", out, re.M)


def test_accounts_are_listed_with_their_kinds_and_without_their_keys(align: Align, argilla: Argilla) -> None:
    home = argilla.home.path
    made = told(align("argilla", "users", "add", "script", "--simulated", "--json", "--home", home))
    assert [(one["username"], one["kind"], len(one["password"]) >= 8) for one in made] == [
        ("script", "simulated", True)
    ]
    assert told(align("argilla", "users", "add", "model", "--judge", "--json", "--home", home))[0]["kind"] == "judge"
    code, out, _ = align("argilla", "users", "--home", home)
    assert code == 0
    assert re.search(r"^owner +runs the server$", out, re.M)
    assert re.search(r"^script +simulated$", out, re.M)
    assert argilla.key not in out + json.dumps(told(align("argilla", "users", "--json", "--home", home)))
    code, _, err = align("argilla", "users", "add", "script", "--home", home)
    assert code == 2
    assert err.startswith("align: script: is a simulated account and stays one")
    made = told(align("argilla", "users", "--home", home, "add", "--simulated", "early", "late", "--json"))
    assert [(one["username"], one["kind"]) for one in made] == [("early", "simulated"), ("late", "simulated")]


def test_a_backup_says_what_it_holds(align: Align, argilla: Argilla, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    code, out, _ = align("argilla", "backup", copy, "--home", argilla.home.path)
    assert code == 0
    assert re.fullmatch(rf"{copy}: \d+ records, \d+ answers, \d+ accounts\n", out)
    assert {path.name for path in copy.iterdir()} >= {"argilla.db", "credentials.json"}
    code, _, err = align("argilla", "backup", copy, "--home", argilla.home.path)
    assert (code, err) == (2, f"align: {copy}: exists already; name a new folder\n")


def test_a_host_that_others_reach_is_warned_of(align: Align, tmp_path: Path) -> None:
    code, _, err = align("argilla", "up", "--home", tmp_path, "--host", "203.0.113.7", "--port", "0")
    assert code == 2
    assert "whoever can reach this machine can try to sign in" in err
    assert "put a proxy with https in front of it" in err


def test_a_home_that_cannot_be_written_is_one_line(align: Align, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, _, err = align("argilla", "up", "--home", tmp_path / "file" / "home", "--port", "0")
    assert code == 2
    assert err.count("\n") == 1
    assert "file/home" in err


@pytest.mark.parametrize(
    "words", [("users", "remove", "x"), ("users", "add"), ("sideways",), ("up", "--port", "many"), ("backup",)]
)
def test_commands_that_there_are_not_are_refused(align: Align, words: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as caught:
        align("argilla", *words)
    assert caught.value.code == 2
