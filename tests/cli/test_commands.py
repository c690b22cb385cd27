"""The commands over a store: what each prints, what each leaves alone, and its exit code."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from align.cli import main
from align.errors import Waiting
from align.store import locks
from align.store.artifacts import torn
from align.store.fingerprint import Digests
from tests.runner.conftest import Place

Said = tuple[int, str, str]
Align = Callable[..., Said]


@pytest.fixture
def align(capsys: pytest.CaptureFixture[str]) -> Align:
    """One command in this process: its exit code, what it printed, and its complaint."""

    def obey(*words: str | Path) -> Said:
        capsys.readouterr()
        code = main([str(word) for word in words])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return code, out, err

    return obey


def at(place: Place, command: str, *words: str | Path) -> tuple[str | Path, ...]:
    return (command, place.recipe, "--store", place.store.root, *words)


def told(said: Said) -> Any:
    assert said[0] == 0, said[2]
    return json.loads(said[1])


# ---- run and plan


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
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
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


# ---- show


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


# ---- clean


def names(place: Place) -> set[str]:
    return {f"{a.manifest['step']}:{a.key[:8]}" for a in place.store.artifacts()}


def test_clean_says_first_and_removes_only_what_no_recipe_needs(made: Place, align: Align) -> None:
    needed = names(made)
    made.runner("pair.label=soft").run()
    made.runner().run()
    assert len(names(made)) == 5
    code, out, _ = align("clean", "--store", made.store.root)
    assert code == 0
    assert "1 folders" in out
    assert "run again with --yes" in out
    assert len(names(made)) == 5, "saying is not doing"
    code, out, _ = align("clean", "--store", made.store.root, "--yes")
    assert "removed 1 of 1 folders" in out
    assert names(made) == needed
    assert align("clean", "--store", made.store.root)[1] == "nothing to remove\n"
    assert made.actions() == dict.fromkeys(("prepare", "generate", "label", "pair"), "reuse")


def test_clean_keeps_the_work_of_a_run_that_waits_and_drops_it_when_the_recipe_moved_on(
    place: Place, align: Align
) -> None:
    with pytest.raises(Waiting):
        place.runner().run()
    align("clean", "--store", place.store.root, "--yes")
    assert place.plan()["label"].action == "wait"
    with pytest.raises(Waiting):
        place.runner("label.round=2").run()
    out = align("clean", "--store", place.store.root, "--yes")[1]
    assert "removed 1 of 1 folders" in out
    assert [place.plan("label.round=2")["label"].action, place.plan()["label"].action] == ["wait", "run"]


def test_clean_leaves_what_is_in_use(made: Place, align: Align) -> None:
    made.runner("pair.label=soft").run()
    made.runner().run()
    spare = next(a for a in made.store.artifacts() if a.manifest["config"].get("label") == "soft")
    with locks.held(spare.path.with_suffix(".lock"), "pair"):
        out = align("clean", "--store", made.store.root, "--yes")[1]
    assert "in use, left alone" in out
    assert torn(spare, deep=Digests(None)) is None


def test_a_forgotten_recipe_needs_nothing(made: Place, align: Align) -> None:
    align("clean", "--store", made.store.root, "--forget", "recipe", "--yes")
    assert not list(made.store.artifacts())
    assert made.store.remembered() == {}
    code, _, err = align("clean", "--store", made.store.root, "--forget", "recipe")
    assert code == 2
    assert "--forget recipe: no such recipe" in err


def test_clean_touches_nothing_in_a_folder_that_is_no_store(tmp_path: Path, align: Align) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "one.txt").write_text("dear")
    code, _, err = align("clean", "--store", tmp_path / "letters", "--yes")
    assert code == 2
    assert "no store of align's" in err


# ---- check


def test_check_finds_nothing_wrong_with_a_good_recipe_and_a_whole_store(made: Place, align: Align) -> None:
    (made.folder / "not-needed").mkdir()
    rows = json.loads(align(*at(made, "check", "--deep", "--json"))[1])
    states = {row["what"]: row["state"] for row in rows}
    assert states["recipe"] == states["store"] == states["artifacts"] == "ok"
    assert states["generate: candidates.jsonl"] == "ok"


def test_check_names_what_is_missing_and_what_is_damaged(made: Place, align: Align) -> None:
    (made.folder / "prompts.jsonl").unlink()
    pair = next(a for a in made.store.artifacts() if a.manifest["step"] == "pair")
    path = pair.path / "preferences.train.jsonl"
    data = bytearray(path.read_bytes())
    data[10] ^= 1
    path.write_bytes(data)
    assert "other bytes" not in align(*at(made, "check"))[1]
    code, out, err = align(*at(made, "check", "--deep"))
    assert code == 2
    assert re.search(r"^fail +prepare: prompts\.jsonl .*no such file", out, re.M)
    assert re.search(
        r"^fail +pair .*preferences\.train\.jsonl has other bytes than were sealed.*--redo pair", out, re.M
    )
    assert re.search(r"^align: \d of \d+ checks failed$", err, re.M)


def test_check_of_a_bad_recipe_names_its_line(tmp_path: Path, align: Align) -> None:
    (tmp_path / "r.yaml").write_text("model: {scratch: {}}\ndata: {testbed: {}}\ndpo: {betta: 1}\n")
    code, out, _ = align("check", tmp_path / "r.yaml", "--store", tmp_path / "runs")
    assert code == 2
    assert "r.yaml:3: dpo.betta: no such knob; did you mean `beta`?" in out
    assert not (tmp_path / "runs").exists(), "checking makes nothing"


# ---- a stage alone


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
