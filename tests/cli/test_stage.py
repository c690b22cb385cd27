"""A stage alone: from folders to a folder, and refused in one line where it is asked wrongly."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Align
from tests.runner.conftest import Place


def test_a_stage_alone_makes_one_folder_that_others_can_read(place: Place, align: Align, tmp_path: Path) -> None:
    out = tmp_path / "alone" / "data"
    prompts = place.folder / "prompts.jsonl"
    knobs = ("--set", f"prompts=[{{path: {prompts}}}]", "--set", "test_share=0")
    assert align("prepare", *knobs, "--out", out)[0] == 0
    assert [path.name for path in out.parent.iterdir()] == ["data"]
    assert json.loads((out / "manifest.json").read_text())["stage"] == "prepare"
    code, _, err = align("prepare", *knobs, "--out", out)
    assert code == 2
    assert "exists already" in err
    place.runner(until="prepare").run()
    assert json.loads((out / "manifest.json").read_text())["digest"] == next(place.store.artifacts()).digest


def test_a_stage_alone_takes_its_knobs_from_a_recipe_and_its_inputs_by_name(made: Place, align: Align) -> None:
    found = {a.manifest["step"]: a for a in made.store.artifacts()}
    inputs = [
        f"--in={name}={found[step].path}"
        for name, step in (("label", "label"), ("candidates", "generate"), ("data", "prepare"))
    ]
    out = made.folder / "pairs"
    assert align("pair", *inputs, "--recipe", made.recipe, "--out", out)[0] == 0
    assert json.loads((out / "manifest.json").read_text())["digest"] == found["pair"].digest


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["pair"], "align pair: --out FOLDER is missing"),
        (["pair", "--out", "o", "--in", "label"], "--in label: expected NAME=PATH"),
        (["pair", "--out", "o", "--in", "label=gone"], "--in label=gone: no such folder"),
        (
            ["pair", "--out", "o", "--set", "min_agrement=1"],
            "--set min_agrement: no such knob; did you mean `min_agreement`?",
        ),
        (
            ["pair", "--out", "o", "--set", "min_agreement=2"],
            "--set min_agreement: 2 found, expected less than or equal to 1",
        ),
    ],
)
def test_a_stage_alone_that_is_asked_wrongly_says_so(
    align: Align, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = align(*words)
    assert code == 2
    assert said in err
    assert err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_result_may_not_stand_inside_what_it_is_made_from(made: Place, align: Align) -> None:
    data = next(a.path for a in made.store.artifacts() if a.manifest["step"] == "prepare")
    code, _, err = align("label", f"--in=data={data}", "--out", data / "inside")
    assert code == 2
    assert "stands inside the input" in err
