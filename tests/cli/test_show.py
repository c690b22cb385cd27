"""`align show`: the list, and the way back from a result to the data and what people said."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import Align, told
from tests.runner.conftest import Place


def test_show_lists_runs_artifacts_and_what_is_unfinished(made: Place, align: Align) -> None:
    said = told(align("show", "--store", made.store.root, "--json"))
    assert [run["recipe"] for run in said["runs"]] == ["recipe"]
    assert {row["step"] for row in said["artifacts"]} == {"prepare", "generate", "label", "pair"}
    assert {row["state"] for row in said["artifacts"]} == {"whole"}
    assert said["unfinished"] == []
    out = align("show", "--store", made.store.root)[1]
    assert re.search(r"^run recipe +4 of 4 steps whole", out, re.M)
    assert len(out.splitlines()) == 5


def test_an_artifact_is_found_by_its_step_its_place_and_the_start_of_its_key(made: Place, align: Align) -> None:
    artifact = next(a for a in made.store.artifacts() if a.manifest["step"] == "pair")
    names = ("pair", "recipe:pair", artifact.path, artifact.key[:8], f"pair/{artifact.key[:16]}", artifact.key)
    for name in names:
        said = told(align("show", name, "--store", made.store.root, "--json"))
        assert said["key"] == artifact.key, name
    assert set(said["inputs"]) == {"label", "candidates", "data"}


def test_the_way_back_ends_at_the_data_files(made: Place, align: Align) -> None:
    out = align("show", "pair", "--store", made.store.root)[1]
    assert "label ← label" in out
    for name in ("prompts.jsonl", "candidates.jsonl"):
        assert re.search(rf"file {re.escape(name)}  sha256 [0-9a-f]{{16}}…", out), name


def test_a_preference_is_traced_to_what_people_said(made: Place, align: Align) -> None:
    pair = next(a for a in made.store.artifacts() if a.manifest["step"] == "pair")
    row = json.loads((pair.path / "preferences.train.jsonl").read_text().splitlines()[0])
    said = told(align("show", row["id"][:10], "--store", made.store.root, "--json"))
    assert [one["id"] for one in said["judgments"]] == row["judgment_ids"]
    out = align("show", row["id"][:10], "--store", made.store.root)[1]
    assert re.search(r"ann-1 \(human\): chosen > rejected$", out, re.M)


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("nothing", "nothing: nothing in .* has this name; `align show` lists what is there"),
        ("ab", "ab: nothing in"),
        ("../..", "nothing in .* has this name"),
    ],
)
def test_what_is_not_there_is_said_in_one_line(made: Place, align: Align, what: str, said: str) -> None:
    code, _, err = align("show", what, "--store", made.store.root)
    assert code == 2
    assert re.search(said, err)
    assert err.count("\n") == 1


def test_an_artifact_that_is_gone_or_torn_is_said_to_be(made: Place, align: Align) -> None:
    pair = next(a for a in made.store.artifacts() if a.manifest["step"] == "pair")
    (pair.path / "summary.json").write_text("")
    assert "summary.json has 0 bytes" in align("show", "pair", "--store", made.store.root)[2]
    shutil.rmtree(pair.path)
    assert align("show", "pair", "--store", made.store.root)[2].endswith(
        "pair: it is gone from the store; run its recipe again\n"
    )
    assert "3 of 4 steps whole" in align("show", "--store", made.store.root)[1]


def test_a_store_that_is_not_there_is_named(tmp_path: Path, align: Align) -> None:
    for command in ("show", "clean"):
        code, _, err = align(command, "--store", tmp_path / "none")
        assert code == 2
        assert "none: no store there" in err
