"""A stage alone: from folders to a folder, and refused in one line where it is asked wrongly."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from align.cli.stage import _opened
from align.configs import PairConfig, RuntimeConfig
from align.errors import InputChanged
from align.plan import Step
from align.runner.console import Console
from align.runner.keys import made_from
from align.runner.machine import resolved
from align.runner.make import make
from align.store.artifacts import making
from align.store.fingerprint import Digests
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
        (["pair"], "align: pair: --out FOLDER is missing"),
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
        (["sft", "--out", "o"], "align: sft: --in model=PATH is missing (the model to tune)\n"),
        (["sft", "--out", "o", "--in", "model=."], "sft: --in data=PATH is missing (the demonstrations, as `prepare`"),
        (["dpo", "--out", "o", "--in", "modle=."], "dpo: --in modle: no such input; did you mean `model`?"),
        (["dpo", "--out", "o", "--in", "xyz=."], "dpo: --in xyz: no such input; it reads: model, data"),
        (["dpo", "--out", "o", "--in", "data=.", "--in", "data=."], "dpo: --in data: given twice"),
        (["gate", "--out", "o", "--in", "facts=."], "gate: --in facts: no such input; it reads: evaluate/MODEL/INSTR"),
        (["base", "--out", "o", "--set", "scratch={}"], "base: --in data=PATH is missing (the text that a scratch"),
        (
            ["evaluate", "--out", "o", "--in", "data=.", "--set", "instrument=length", "--set", "model=base"],
            "evaluate: --in answers=PATH is missing (its answers, as `generate` makes them)",
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
    code, _, err = align("label", f"--in=data={data}", f"--in=candidates={data}", "--out", data / "inside")
    assert code == 2
    assert "stands inside the input" in err


def test_a_gate_alone_ends_as_its_verdict_says_and_its_result_is_kept(tmp_path: Path, align: Align) -> None:
    code, out, err = align("gate", "--out", tmp_path / "g")
    assert code == 5
    assert re.fullmatch(r"align: gate: error: .+; nothing was exported\n", err)
    assert "done" in out
    assert json.loads((tmp_path / "g" / "summary.json").read_text())["verdict"] == "error"
    code, _, err = align("gate", "--set", "on_fail=report", "--out", tmp_path / "h")
    assert (code, err) == (0, "")


def inputs_of_pair(made: Place) -> dict[str, Path]:
    found = {a.manifest["step"]: a.path for a in made.store.artifacts()}
    return {"label": found["label"], "candidates": found["generate"], "data": found["prepare"]}


def test_a_torn_input_is_named_before_anything_is_made(made: Place, align: Align) -> None:
    inputs = inputs_of_pair(made)
    (inputs["label"] / "judgments.jsonl").write_text("")
    code, _, err = align("pair", *(f"--in={n}={p}" for n, p in inputs.items()), "--out", made.folder / "o")
    assert code == 1
    assert re.search(r"--in label=\S+: judgments\.jsonl has 0 bytes, expected [\d,]+; make it again\n", err)
    assert not list(made.folder.glob("o*"))


def test_a_plain_folder_that_is_edited_while_the_stage_reads_it_is_no_input(made: Place, align: Align) -> None:
    folders = inputs_of_pair(made)
    (folders["data"] / "manifest.json").unlink()
    words = [f"--in={name}={folder}" for name, folder in folders.items()]
    assert align("pair", *words, "--set", "test_share=0", "--out", made.folder / "stood")[0] == 0
    inputs = {name: _opened(name, folder) for name, folder in folders.items()}
    with open(folders["data"] / "prompts.jsonl", "a", encoding="utf-8") as stream:
        stream.write("\n")
    step = Step("pair", "pair", PairConfig(test_share=0), {name: name for name in inputs})
    runtime = resolved(RuntimeConfig())
    document = made_from(step, inputs, seed=0, dtype=runtime.dtype, snapshot=None, digests=Digests(None))
    with (
        pytest.raises(InputChanged, match="its input `data` changed while the stage ran: its files were edited"),
        making(made.folder / "moved", "moved", made.folder) as place,
    ):
        make(step, inputs, place, document, seed=0, runtime=runtime, store=made.store, console=Console(quiet=True))
    assert not (made.folder / "moved").exists()
