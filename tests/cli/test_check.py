"""`align check`: a good recipe and store pass, and what is wrong is named."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.cli.conftest import Align, at
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
