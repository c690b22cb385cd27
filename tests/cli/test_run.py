"""`align run` and `align plan`: what they print, whom they wait for, how they stop."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from align.cli import main
from align.store import locks
from tests.cli.conftest import Align, at, told
from tests.runner.conftest import Place


def test_a_run_that_waits_for_people_says_where_they_are_needed(place: Place, align: Align) -> None:
    code, out, err = align(*at(place, "run", "--until", "pair"))
    assert code == 75
    assert err.startswith("align: 0 of 3 comparisons have 1 judgment; write Judgment rows to ")
    assert err.count("\n") == 1
    assert "label                      wait" in out
    steps = told(align(*at(place, "plan", "--until", "pair", "--json")))["steps"]
    assert [(step["name"], step["action"]) for step in steps] == [
        ("prepare", "reuse"), ("generate", "reuse"), ("label", "wait"), ("pair", "wait")
    ]  # fmt: skip
    place.judge()
    assert align(*at(place, "run", "--until", "pair"))[0] == 0


def test_the_plan_in_json_has_a_name_an_action_and_reasons_for_each_step(made: Place, align: Align) -> None:
    steps = told(align(*at(made, "plan", "--until", "pair", "--json", "--set", "pair.label=soft")))["steps"]
    assert [step["name"] for step in steps] == ["prepare", "generate", "label", "pair"]
    for step in steps:
        assert step["action"] in ("reuse", "run", "wait")
        assert all(isinstance(reason, str) for reason in step["why"])
    assert steps[-1]["why"] == ["label majority → soft"]


def test_the_plan_for_people_ends_with_a_count(made: Place, align: Align) -> None:
    assert align(*at(made, "plan", "--until", "pair"))[1].endswith("everything is made\n")
    out = align(*at(made, "plan", "--until", "pair", "--set", "label.round=2"))[1]
    assert out.endswith("2 of 4 steps to make\n")
    assert re.search(r"^label +run +round 1 → 2$", out, re.M)


def test_a_run_in_json_prints_json_and_nothing_else(made: Place, align: Align) -> None:
    said = told(align(*at(made, "run", "--until", "pair", "--json")))
    assert said["recipe"] == "recipe"
    assert set(said["steps"]) == {"prepare", "generate", "label", "pair"}
    assert said["ran"] == []


def test_what_is_being_made_by_another_is_left_to_it(place: Place, align: Align) -> None:
    align(*at(place, "run", "--until", "prepare"))
    artifact = next(place.store.artifacts())
    shutil.rmtree(artifact.path)
    with locks.held(artifact.path.with_suffix(".lock"), "prepare"):
        code, _, err = align(*at(place, "run", "--until", "prepare"))
    assert code == 6
    assert re.match(r"align: prepare \(prepare/\w{16}\) is being made by process \d+ on ", err)


@pytest.mark.parametrize(
    ("number", "code", "said"), [(signal.SIGINT, 130, "stopped"), (signal.SIGTERM, 143, "told to stop")]
)
def test_a_run_that_is_stopped_says_that_nothing_is_lost(place: Place, number: int, code: int, said: str) -> None:
    (place.folder / "candidates.jsonl").unlink()
    os.mkfifo(place.folder / "candidates.jsonl")  # what nobody writes to is read for ever
    command = [sys.executable, "-m", "align.cli", *map(str, at(place, "run", "--until", "pair"))]
    child = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        # where the tests run in the background, a shell has told them to ignore Ctrl-C, and children inherit that
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 60
    while not list(place.store.root.glob("prepare/*/manifest.json")) and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.2)
    child.send_signal(number)
    _, err = child.communicate(timeout=30)
    assert child.returncode == code
    assert f"align: {said}" in err
    assert "run the same command again" in err
    assert "Traceback" not in err


def test_a_word_that_is_no_command_is_refused_with_code_two(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["rnu"], ["run"], ["plan", "--jsn"], ["show", "a", "b"]):
        with pytest.raises(SystemExit) as stopped:
            main(words)
        assert stopped.value.code == 2
    assert main([]) == 0
    assert "commands" in capsys.readouterr().out
