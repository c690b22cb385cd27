"""The environment of the server: whole or built again, and nothing of ours in it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from align.adapters.argilla import environment
from align.errors import BackendError

ROOT = Path(__file__).resolve().parents[3]


def test_it_stands_where_its_contents_say_and_holds_exactly_what_is_pinned() -> None:
    python = environment.python()
    assert re.fullmatch(r"argilla-server-2\.8\.0-[0-9a-f]{12}", python.parents[1].name)
    tell = "import json, importlib.metadata as m; print(json.dumps({d.name: d.version for d in m.distributions()}))"
    told = json.loads(subprocess.run([python, "-I", "-c", tell], capture_output=True, text=True, check=True).stdout)
    held = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in told.items()}
    pinned = dict(
        line.split("==") for line in environment.CONSTRAINTS.read_text().splitlines() if line and line[0] != "#"
    )
    pinned = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in pinned.items()}
    assert {name: held.get(name) for name in pinned} == pinned
    assert held.keys() - pinned.keys() <= {"pip", "setuptools", "wheel"}


def made(place: Path) -> Path:
    """A small environment that was built to its end."""
    for name in ("lib/python3/site-packages/a.py", "lib/python3/site-packages/b/c.so", "bin/python"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text("x" * 100)
    (place / "ready").write_text(environment._listing(place))
    assert environment.is_whole(place)
    return place


def test_an_environment_is_whole_only_with_all_its_files(tmp_path: Path) -> None:
    assert not environment.is_whole(tmp_path / "none")
    (made(tmp_path / "1") / "ready").unlink()
    (made(tmp_path / "2") / "lib/python3/site-packages/b/c.so").unlink()
    (made(tmp_path / "3") / "lib/python3/site-packages/a.py").write_text("cut")
    (made(tmp_path / "4") / "bin/python").unlink()
    assert [environment.is_whole(tmp_path / str(n)) for n in (1, 2, 3, 4)] == [False] * 4
    cache = made(tmp_path / "5") / "lib/python3/site-packages/__pycache__"
    cache.mkdir()
    (cache / "a.pyc").write_text("what python wrote")
    assert environment.is_whole(tmp_path / "5")


def test_other_pins_are_another_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = environment.folder()
    other = tmp_path / "constraints.txt"
    other.write_text(environment.CONSTRAINTS.read_text().replace("idna==", "idna==9."))
    monkeypatch.setattr(environment, "CONSTRAINTS", other)
    assert environment.folder() != before
    with pytest.raises(BackendError, match="not built; run: align argilla install"):
        environment.python()


@pytest.mark.slow
def test_a_build_that_cannot_be_says_why_and_where_the_story_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "constraints.txt"
    other.write_text("a-package-that-nobody-has-made==1.0\n")
    monkeypatch.setattr(environment, "CONSTRAINTS", other)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(BackendError, match=r"cannot be built: ERROR: No matching distribution .*\.log"):
        environment.built()
    assert not environment.is_whole(environment.folder())


def install(cache: Path) -> subprocess.Popen[str]:
    env = os.environ | {"XDG_CACHE_HOME": str(cache), "PIP_CACHE_DIR": pip_cache()}
    command = [sys.executable, "-m", "align.cli", "argilla", "install"]
    return subprocess.Popen(command, env=env, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True)


def pip_cache() -> str:
    told = subprocess.run([sys.executable, "-m", "pip", "cache", "dir"], capture_output=True, text=True, check=True)
    return told.stdout.strip()


@pytest.mark.slow
def test_a_build_that_was_killed_is_made_again_from_its_beginning_within_three_minutes(tmp_path: Path) -> None:
    killed = install(tmp_path)
    until = time.monotonic() + 120
    while not list(tmp_path.glob("align-prefs/*/lib/python3*/site-packages/uvicorn")):
        assert time.monotonic() < until
        assert killed.poll() is None, "it was done before it could be killed"
        time.sleep(0.05)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    (place,) = tmp_path.glob("align-prefs/argilla-server-2.8.0-????????????")
    assert not environment.is_whole(place)
    before = os.times()
    again, at_once = install(tmp_path), install(tmp_path)  # two at the same time build one
    said = [again.communicate(timeout=800)[0], at_once.communicate(timeout=800)[0]]
    after = os.times()
    taken = after.children_user + after.children_system - before.children_user - before.children_system
    assert taken <= 180, "seconds of processor time: what others do on this machine is not counted"
    assert environment.is_whole(place)
    assert sorted("built in" in one for one in said) == [False, True]
