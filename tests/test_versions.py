"""Code that decides a result has the VERSION that was given to it, or an entry that says no result moved."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests import stage_versions
from tests.stage_versions import BEHIND, ROOT, changed, code, reached, recorded, tree_of, unrecorded

SOURCE = 'X = 1\n\n\ndef f(a):\n    """Says."""\n    return a + X  # why\n'


def test_no_stage_changed_under_its_version() -> None:
    found = changed(code(), recorded())
    assert not found, (
        "; ".join(f"{stage}: {', '.join(modules)}" for stage, modules in found.items())
        + ': raise VERSION, or run: python -m tests.stage_versions --same "why no result moves"'
    )


def test_every_stage_and_its_version_are_entered() -> None:
    assert not unrecorded(code(), recorded()), "run: python -m tests.stage_versions"


@pytest.mark.parametrize(
    "other",
    [
        SOURCE.replace("Says.", "Says more."),
        SOURCE.replace("  # why", ""),
        SOURCE.replace("\n\n\n", "\n\n\n\n# a comment\n"),
        '"""A module."""\n' + SOURCE,
        SOURCE.replace("return a + X", "return (a +\n            X)"),
    ],
)
def test_words_for_readers_leave_no_mark(other: str) -> None:
    assert tree_of(other) == tree_of(SOURCE)


@pytest.mark.parametrize(
    "other",
    [
        SOURCE.replace("X = 1", "X = 2"),
        SOURCE.replace("X = 1", "X = 1.0"),
        SOURCE.replace("a + X", "X + a"),
        SOURCE.replace("def f(a)", "def f(a, b=0)"),
        SOURCE + "Y = 1\n",
    ],
)
def test_what_a_machine_would_do_otherwise_leaves_one(other: str) -> None:
    assert tree_of(other) != tree_of(SOURCE)


def test_imports_are_followed_wherever_they_stand_and_only_into_rooms_that_decide() -> None:
    modules = reached(("align.training.trainer",))
    assert {"align.training.dpo", "align.training.loop", "align.models.load"} <= set(modules), (
        "imports within functions"
    )
    assert not [name for name in modules if name.split(".")[1] in ("store", "configs", "runner", "records")]


def test_what_stands_behind_a_stage_through_its_tools_is_there() -> None:
    for stage, modules in BEHIND.items():
        assert (ROOT / "align" / "stages" / f"{stage}.py").exists()
        for name in modules:
            assert ROOT.joinpath(*name.split(".")).with_suffix(".py").exists(), name


def test_a_changed_constant_deep_in_the_torch_room_is_noticed_where_it_decides(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "align", tmp_path / "align", ignore=shutil.ignore_patterns("__pycache__"))
    before = code(tmp_path)
    path = tmp_path / "align" / "preference" / "pairing.py"
    path.write_text(path.read_text("utf-8") + "\nNEW = 1\n", "utf-8")
    record = {
        "modules": {name: tree for seen in before.values() for name, tree in seen.trees.items()},
        "stages": {name: {"version": seen.version, "reaches": sorted(seen.trees)} for name, seen in before.items()},
    }
    assert changed(before, record) == {}
    found = changed(code(tmp_path), record)
    assert "pair" in found
    assert "sft" not in found
    assert all(modules == ["align.preference.pairing"] for modules in found.values())
    (tmp_path / "align" / "stages" / "pair.py").write_text("VERSION = 999\n", "utf-8")
    assert "pair" not in changed(code(tmp_path), record)
    assert "pair" in unrecorded(code(tmp_path), record)


def test_what_the_command_enters_settles_the_matter() -> None:
    now, before = code(), recorded()
    text = stage_versions.entry(now, before, same="only names moved", unmoved=changed(now, before))
    after = json.loads(text)
    assert changed(now, after) == {}
    assert unrecorded(now, after) == []
    assert stage_versions.entry(now, after, same=None, unmoved={}) == text
