"""The trainers without a pipeline: a model folder and a file of rows in, a model out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from align.models.load import load_model
from align.models.reward import load_reward
from align.store import jsonl
from tests.cli.conftest import Align
from tests.training.conftest import world
from tests.training.tiny import LIVES, World

__all__ = ["world"]

QUICK = ["--set", "learning_rate=3e-3", "--set", "batch_size=4"]
ASKED = {name: f"Where does {name} live?" for name in LIVES}
SAID = {name: f"{name} lives in {town}." for name, town in LIVES.items()}
CHAT: list[dict[str, Any]] = [
    {"messages": [{"role": "user", "content": ASKED[n]}, {"role": "assistant", "content": SAID[n]}]} for n in LIVES
]
PAIRS: list[dict[str, Any]] = [{"prompt": ASKED[n], "chosen": SAID[n], "rejected": "No idea."} for n in LIVES]
RANKED: list[dict[str, Any]] = [
    {"prompt": ASKED[n], "completions": ["No idea.", SAID[n], "Somewhere."], "scores": [0, 2, 1]} for n in LIVES
]


@pytest.mark.parametrize(
    ("stage", "rows"),
    [("sft", CHAT), ("dpo", PAIRS), ("reward", PAIRS), ("reward", RANKED)],
    ids=["sft", "dpo", "reward", "reward of rankings"],
)
def test_a_model_and_a_file_in_a_model_out(
    stage: str, rows: list[dict[str, Any]], world: World, align: Align, tmp_path: Path
) -> None:
    jsonl.write(tmp_path / "rows.jsonl", rows)
    out = tmp_path / "new" / "out"
    words = ["--in", f"model={world.model}", "--in", f"data={tmp_path / 'rows.jsonl'}", "--set", "data.test_share=0.3"]
    code, said, err = align(stage, *words, *QUICK, "--out", out)
    assert code == 0, err
    assert "done" in said
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    assert (load_reward(out / "model")[0] if stage == "reward" else load_model(out / "model")) is not None
    manifest = json.loads((out / "manifest.json").read_text())
    assert set(manifest["inputs"]) == {"model", "data"}
    assert str(tmp_path) not in json.dumps({k: manifest[k] for k in ("config", "made_from", "inputs", "notes")})
    summary = json.loads((out / "summary.json").read_text())
    assert summary["held_out"]["rankings" if rows is RANKED else "rows"] > 0
    if stage != "sft":
        return
    # run again elsewhere, it is the same model
    again = tmp_path / "again"
    assert align(stage, *words, *QUICK, "--out", again)[0] == 0
    assert json.loads((again / "manifest.json").read_text())["digest"] == manifest["digest"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--in", "data=rows.jsonl"], "--in model=PATH is missing"),
        (["--in", "data=gone.jsonl", "--in", "model=."], "--in data=gone.jsonl: no such folder"),
        (["--in", "data=rows.jsonl", "--in", "model=MODEL"], "set data.test_share: 0"),
        (["--in", "data=rows.jsonl", "--in", "model=MODEL", "--set", "data.test_shar=0"], "did you mean `test_share`?"),
        (
            ["--in", "data=rows.jsonl", "--in", "model=MODEL", "--set", "data.testbed={}"],
            "--set data.testbed={}: the data are the file that --in data names",
        ),
        (["--in", "data=.", "--in", "model=MODEL", "--set", "data.test_share=0"], "is for a file of rows"),
        (["--in", "data=chat.jsonl", "--in", "model=MODEL"], "`messages` rows found, which give no preferences"),
    ],
)
def test_what_cannot_be_learnt_from_is_refused_in_a_line(
    words: list[str], said: str, world: World, align: Align, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    jsonl.write(tmp_path / "rows.jsonl", PAIRS[:1])
    jsonl.write(tmp_path / "chat.jsonl", CHAT)
    code, _, err = align("dpo", *(word.replace("MODEL", str(world.model)) for word in words), "--out", "o")
    assert code == 2
    assert said in err
    assert err.count("\n") == 1
    assert {path.name for path in tmp_path.iterdir()} == {"rows.jsonl", "chat.jsonl"}
