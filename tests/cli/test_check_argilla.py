"""`align check` looks at the server before anybody labels there."""

from __future__ import annotations

from pathlib import Path

import pytest

from align.cli import main
from tests.adapters.argilla.conftest import Argilla, argilla  # noqa: F401  the fixture

RECIPE = """\
model: {folder: not-needed}
data: {prompts: [{path: prompts.jsonl}], test_share: 0}
generate: {ready: candidates.jsonl}
label: {desk: argilla, argilla: {ARGILLA}}
pair: {test_share: 0}
"""


def found(tmp_path: Path, capsys: pytest.CaptureFixture[str], **knobs: str) -> str:
    inside = ", ".join(f'{name}: "{value}"' for name, value in knobs.items())
    (tmp_path / "people.yaml").write_text(RECIPE.replace("ARGILLA", inside), encoding="utf-8")
    main(["check", str(tmp_path / "people.yaml"), "--store", str(tmp_path / "runs")])
    lines = [line for line in capsys.readouterr().out.splitlines() if " label: argilla " in line]
    assert len(lines) == 1
    return lines[0]


def test_keys_that_everybody_knows_fail_on_a_server_that_others_can_reach(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("THE_KEY", "argilla.apikey")
    line = found(tmp_path, capsys, url="https://labels.example.org", key="${env:THE_KEY}")
    assert line.startswith("fail ")
    assert "everybody knows" in line


def test_a_server_that_is_not_up_is_a_warning_with_what_to_do(tmp_path, capsys):
    line = found(tmp_path, capsys, home=str(tmp_path / "nowhere"))
    assert line.startswith("warn ")
    assert line.endswith("run: align argilla up")


def test_an_annotators_key_is_not_enough_and_a_wrong_one_is_said(tmp_path, capsys, monkeypatch, argilla: Argilla):  # noqa: F811
    assert found(tmp_path, capsys, home=str(argilla.home.path)).startswith("ok ")
    for key, line in ((argilla.add().api_key, "the key is an annotator's"), ("wrong", "not that of any account there")):
        monkeypatch.setenv("THE_KEY", key)
        said = found(tmp_path, capsys, url=argilla.url, key="${env:THE_KEY}")
        assert said.startswith("fail ")
        assert line in said
