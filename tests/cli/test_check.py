"""`align check`: a good recipe and store pass, and what is wrong is named."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.cli.conftest import Align, at, told
from tests.runner.conftest import Place


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


def test_rollouts_that_cannot_be_drawn_here_are_refused_before_the_first_step(tmp_path: Path, align: Align) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        "model: {scratch: {}}\ndata: {testbed: {}}\nruntime: {device: cpu}\n"
        "method: rlhf\nreward: {}\nrlhf: {engine: {name: vllm}}\n"
    )
    refusal = r"rlhf\.engine\.name: vllm found, and this run is on a CPU.*take `transformers`"
    code, out, _ = align("check", recipe, "--store", tmp_path / "runs")
    assert code == 2
    assert re.search(rf"^fail +rlhf: engine +{refusal}", out, re.M)
    code, _, err = align("run", recipe, "--store", tmp_path / "runs")
    assert code == 2
    assert re.search(refusal, err)
    assert not list((tmp_path / "runs").glob("prepare*")), "nothing was begun"


def test_check_names_what_is_given_ready_made_and_is_of_another_kind(made: Place, align: Align) -> None:
    pair = next(a for a in made.store.artifacts() if a.manifest["step"] == "pair")
    candidates, prompts = made.folder / "candidates.jsonl", made.folder / "prompts.jsonl"
    (made.folder / "empty").mkdir()

    def found(*sets: str) -> dict[str, tuple[str, str]]:
        words = [word for assignment in sets for word in ("--set", assignment)]
        rows = json.loads(align(*at(made, "check", "--json", *words))[1])
        return {row["what"]: (row["state"], row["found"]) for row in rows}

    good = found(f"pair.ready={pair.path}")
    assert good["pair: ready"] == ("ok", "preferences: preferences.train.jsonl, summary.json")
    assert found()["generate: ready"][0] == "ok"
    state, said = found(f"pair.ready={made.folder / 'empty'}")["pair: ready"]
    assert (state, "holds no preferences of ours; expected files such as preferences.train.jsonl" in said) == (
        "fail",
        True,
    )
    state, said = found(f"pair.ready={prompts}")["pair: ready"]
    assert (state, "prompts.jsonl:1: " in said) == ("fail", True)
    state, said = found(f"label.ready={candidates}")["label: ready"]
    assert (state, "candidates.jsonl:1: " in said) == ("fail", True)
    state, said = found(f"dpo.ready={made.folder / 'empty'}")["dpo: model"]
    assert state == "fail"


def test_ready_pairs_are_taken_from_an_artifact_and_those_of_held_out_prompts_are_left_there(
    made: Place, align: Align, tmp_path: Path
) -> None:
    pair = next(a for a in made.store.artifacts() if a.manifest["step"] == "pair")
    held = tmp_path / "held.jsonl"
    held.write_text(made.folder.joinpath("prompts.jsonl").read_text().splitlines()[0] + "\n")
    data = f"data.prompts=[{{path: {held}, role: test}}]"
    given = ("--set", f"pair.ready={pair.path}", "--set", data, "--until", "pair")
    said = told(align(*at(made, "run", "--json", *given)))
    assert said["ran"] == ["prepare", "pair"]
    found = told(align("show", "recipe:pair", "--store", made.store.root, "--json"))
    rows = Path(found["path"], "preferences.train.jsonl").read_text().splitlines()
    assert len(rows) == len((pair.path / "preferences.train.jsonl").read_text().splitlines()) - 1 == 2
