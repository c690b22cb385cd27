"""Bad input through the command line: one line that says where and what, the right exit code, and nothing lost."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from align import load
from align.cli import main

RECIPE = """\
model: {folder: model}
data: {preferences: [{path: pairs.jsonl}], test_share: 0.25}
dpo: {learning_rate: 5e-7, batch_size: 4, max_tokens: 64}
evaluate: {instruments: [dpo_accuracy]}
gate: {on_fail: report}
runtime: {device: cpu, dtype: float32, threads: 1}
"""


def pair(i: int, **changes: Any) -> dict[str, Any]:
    return {"prompt": f"What is {i} and {i}?", "chosen": f"It is {2 * i}.", "rejected": f"No idea: {i}."} | changes


def rows(*found: dict[str, Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in found)


@dataclass
class Place:
    """A folder with a recipe and its data, and what the command line says there."""

    folder: Path
    capsys: pytest.CaptureFixture[str]

    def write(self, text: str = RECIPE) -> None:
        (self.folder / "r.yaml").write_text(text, encoding="utf-8")

    def pairs(self, text: str, name: str = "pairs.jsonl") -> None:
        (self.folder / name).write_text(text, encoding="utf-8")

    def align(self, *words: str) -> tuple[int, str]:
        """Exit code, and what stands on stderr."""
        self.capsys.readouterr()
        code = main([*words[:1], str(self.folder / "r.yaml"), "--store", str(self.folder / "runs"), *words[1:]])
        return code, self.capsys.readouterr().err.replace(str(self.folder) + "/", "")

    def sealed(self) -> dict[str, bytes]:
        """Every file of every artifact that is whole."""
        return {
            str(path.relative_to(self.folder)): path.read_bytes()
            for manifest in (self.folder / "runs").glob("*/*/manifest.json")
            for path in manifest.parent.rglob("*")
            if path.is_file()
        }

    def refused(self, *words: str, code: int = 2) -> str:
        """What a run says in its one line before it stops; what was made before is as it was, and nothing is added."""
        before = self.sealed()
        ended, said = self.align("run", *words)
        assert ended == code, said
        assert re.fullmatch(r"align: [^\n]+\n", said), said
        after = self.sealed()
        assert {name: after[name] for name in before} == before
        return said.removeprefix("align: ").rstrip("\n")


@pytest.fixture
def place(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Place]:
    """Sound data, already prepared: what a bad run must not lose."""
    made = Place(tmp_path, capsys)
    made.write()
    made.pairs(rows(*map(pair, range(40))))
    term = signal.getsignal(signal.SIGTERM)
    assert made.align("run", "--until", "prepare") == (0, "")
    assert made.sealed()
    yield made
    signal.signal(signal.SIGTERM, term)


# ---- recipes


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("learning_rate:", "learning_rat:", "r.yaml:3: dpo.learning_rat: no such knob; did you mean `learning_rate`?"),
        ("5e-7", "5e-7x", "r.yaml:3: dpo.learning_rate: '5e-7x' found, expected a valid number"),
        ("5e-7", "'0,1'", "r.yaml:3: dpo.learning_rate: '0,1' found, expected a valid number"),
        ("5e-7", "yes", "r.yaml:3: dpo.learning_rate: 'yes' found, expected a valid number"),
        ("5e-7", ".nan", "r.yaml:3: dpo.learning_rate: nan found"),
        ("learning_rate: 5e-7", "beta: 0.1, beta: 0.2", "r.yaml:3: dpo.beta: given twice, first on line 3"),
        ("dpo: {", "dpo: {}\ndpo: {", "r.yaml:4: dpo: given twice, first on line 3"),
        ("gate: {on_fail: report}", "label: {", "r.yaml:"),
    ],
)  # fmt: skip
def test_a_recipe_that_is_wrong(place: Place, old: str, new: str, said: str) -> None:
    place.write(RECIPE.replace(old, new))
    found = place.refused()
    assert found.startswith(said), found


@pytest.mark.parametrize("written", ["5e-7", '"5e-7"'])
def test_a_learning_rate_without_a_dot_is_a_number(place: Place, written: str) -> None:
    place.write(RECIPE.replace("5e-7", written))
    found = load(place.folder / "r.yaml").dpo.learning_rate
    assert (type(found), found) == (float, 5e-7)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (RECIPE.replace("preferences", "demonstrations"), "dpo: there are no preferences; give data.preferences, "),
        (RECIPE.replace("{folder: model}", "{scratch: {}}"), "model.scratch: there is no text to pretrain on"),
        (RECIPE + "sft: {}\n", "sft: there are no demonstrations; give data.demonstrations"),
        (RECIPE.replace("dpo_accuracy", "utility"), "evaluate.instruments: `utility` reads the testbed's truth"),
        (RECIPE.replace("preferences", "prompts"), "label.desk: `simulated` annotators know the testbed's truth only"),
    ],
)
def test_a_recipe_whose_inputs_cannot_be_met_is_refused_before_any_work(place: Place, text: str, said: str) -> None:
    shutil.rmtree(place.folder / "runs")
    place.write(text)
    assert place.refused().startswith(said)
    assert not (place.folder / "runs").exists()


# ---- data


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (rows(pair(0), pair(1, chosen=7)), "pairs.jsonl:2: chosen: 7 found, expected "),
        (rows(pair(0), pair(1, chosen=None)), "pairs.jsonl:2: chosen: None found, expected "),
        (rows(pair(0), {"prompt": "What?", "chosen": "This."}), "pairs.jsonl:2: rejected: "),
        (rows(pair(0)) + '{"prompt": "What', "pairs.jsonl:2: not JSON: "),
        (rows(pair(0)) + "[]\n", "pairs.jsonl:2: list found, expected a JSON object"),
        ("", "data.preferences: pairs.jsonl: 0 usable rows of 0: the file is empty"),
        ("\n\n", "data.preferences: pairs.jsonl: 0 usable rows of 0: the file is empty"),
        (rows(*(pair(i, rejected=pair(i)["chosen"]) for i in range(9))),
         "data.preferences: pairs.jsonl: chosen equals rejected in 9 of 9 rows"),
        (rows(*(pair(i) for i in range(18)), *(pair(i, rejected=pair(i)["chosen"]) for i in range(18, 20))),
         "data.preferences: pairs.jsonl: chosen equals rejected in 2 of 20 rows"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "pairs.jsonl: a git-LFS pointer found"),
        ("<!DOCTYPE html><html>Sign in</html>\n", "pairs.jsonl: an HTML page found"),
    ],
)  # fmt: skip
def test_data_that_are_wrong(place: Place, bad: str, said: str) -> None:
    sound = place.folder.joinpath("pairs.jsonl").read_text(encoding="utf-8")
    place.pairs(bad)
    found = place.refused()
    assert found.startswith(said), found
    place.pairs(sound)
    assert place.align("run", "--until", "prepare") == (0, ""), "what was made before is still there"


def test_a_data_file_that_is_missing(place: Place) -> None:
    (place.folder / "pairs.jsonl").unlink()
    assert place.refused().startswith("pairs.jsonl: no such file")


def test_all_rows_filtered(place: Place) -> None:
    place.write(RECIPE.replace("pairs.jsonl", "pairs.jsonl, max_words: 3"))
    said = place.refused()
    assert re.match(r"data\.preferences: pairs\.jsonl: 0 usable rows of 40: 40 more words than max_words", said), said


def test_a_prompt_on_both_sides_of_a_split(place: Place) -> None:
    place.pairs(rows(pair(100), pair(7, chosen="Another answer.")), "held.jsonl")
    two = "[{path: pairs.jsonl, role: train}, {path: held.jsonl, role: test}]"
    place.write(RECIPE.replace("[{path: pairs.jsonl}]", two))
    said = place.refused()
    assert said.startswith("held.jsonl:2: this prompt is for test, but the same prompt at pairs.jsonl:8 is for train")


def test_a_data_file_edited_while_its_stage_runs(place: Place) -> None:
    place.pairs(rows(*map(pair, range(2000))))
    begun = set((place.folder / "runs" / "prepare").iterdir())

    def edit() -> None:
        while not set((place.folder / "runs" / "prepare").iterdir()) - begun:
            time.sleep(0.0005)
        with open(place.folder / "pairs.jsonl", "a", encoding="utf-8") as stream:
            stream.write(rows(pair(5000)))

    editor = threading.Thread(target=edit, daemon=True)
    editor.start()
    before = place.sealed()
    said = place.refused("--until", "prepare", code=1)
    editor.join(5)
    assert said == "prepare: pairs.jsonl was edited while the stage read it; nothing was kept: run again"
    assert place.sealed() == before
    assert place.align("run", "--until", "prepare") == (0, "")
    assert len(place.sealed()) > len(before)


# ---- the store


@pytest.mark.parametrize("where", ["taken", "taken/inside", "pairs.jsonl"])
def test_a_store_that_cannot_be_written(place: Place, where: str) -> None:
    (place.folder / "taken").write_text("a file", encoding="utf-8")
    said = place.refused("--store", str(place.folder / where))
    assert re.match(rf"{where}(/\S*)?: the store cannot be written \(.+\); choose another with --store", said), said
    assert (place.folder / "taken").read_text(encoding="utf-8") == "a file"


def test_a_folder_that_is_somebody_elses_is_no_store(place: Place) -> None:
    (place.folder / "home").mkdir()
    (place.folder / "home" / "letter.txt").write_text("mine", encoding="utf-8")
    assert place.refused("--store", str(place.folder / "home")).startswith("home: no store of align's, it holds letter")


def test_a_second_run_on_an_artifact_being_made(place: Place) -> None:
    place.pairs(rows(*map(pair, range(2000))))
    words = [sys.executable, "-m", "align.cli", "run", "r.yaml", "--store", "runs", "--until", "prepare"]
    root = str(Path(__file__).parents[2])
    first = subprocess.Popen(words, cwd=place.folder, env={**os.environ, "PYTHONPATH": root}, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not list((place.folder / "runs" / "prepare").glob("*.partial")):
            assert first.poll() is None, "the first run ended too early"
            assert time.monotonic() < deadline
            time.sleep(0.001)
        first.send_signal(signal.SIGSTOP)
        said = place.refused("--until", "prepare", code=6)
        assert re.fullmatch(
            rf"prepare \(prepare/[0-9a-f]{{16}}\) is being made by process {first.pid} on \S+ since \S+; "
            "wait for it, or stop it",
            said,
        ), said
    finally:
        first.send_signal(signal.SIGCONT)
    assert first.wait(60) == 0, "the first run is not disturbed"
    assert place.align("run", "--until", "prepare") == (0, "")


# ---- model folders


def lay_model(folder: Path) -> Path:
    """A model folder that can be looked at: sound headers, a template, one weight. Nothing here needs torch."""
    folder.mkdir()
    header = json.dumps({"w": {"dtype": "F32", "shape": [64], "data_offsets": [0, 256]}}).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(256))
    (folder / "config.json").write_text('{"model_type": "llama"}', encoding="utf-8")
    (folder / "tokenizer_config.json").write_text("{}", encoding="utf-8")
    (folder / "chat_template.jinja").write_text("{{ messages[0]['content'] }}", encoding="utf-8")
    return folder


def no_template(model: Path) -> None:
    (model / "chat_template.jinja").unlink()


def only_pickles(model: Path) -> None:
    (model / "model.safetensors").unlink()
    (model / "pytorch_model.bin").write_bytes(b"\x80\x04K\x01.")


def cut_off(model: Path) -> None:
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])


def cut_off_in_header(model: Path) -> None:
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:40])


def pointer(model: Path) -> None:
    (model / "model.safetensors").write_text(
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", encoding="utf-8"
    )


def page(model: Path) -> None:
    (model / "model.safetensors").write_text("<!doctype html><html>Sign in</html>", encoding="utf-8")


def page_as_config(model: Path) -> None:
    (model / "config.json").write_text("<html>Sign in</html>", encoding="utf-8")


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (no_template, r"model: the tokenizer has no chat template, .*; give one with model\.chat_template"),
        (only_pickles, r"model/pytorch_model\.bin: pickle weights can run code and are refused; convert"),
        (cut_off, r"model/model\.safetensors: .*download"),
        (cut_off_in_header, r"model/model\.safetensors: .*download"),
        (pointer, r"model/model\.safetensors: a git-lfs pointer, not the file itself; run `git lfs pull`"),
        (page, r"model/model\.safetensors: an HTML page, not the file itself; download it again"),
        (page_as_config, r"model/config\.json: an HTML page, not the file itself; download it again"),
        (shutil.rmtree, r"model: no such"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_model_folder_that_is_wrong(place: Place, spoil: Callable[[Path], None], said: str) -> None:
    spoil(lay_model(place.folder / "model"))
    found = place.refused()
    assert re.match(said, found), found
    assert {path.parent.parent.name for path in (place.folder / "runs").glob("*/*/manifest.json")} == {"prepare"}


def test_the_model_folder_that_the_others_are_spoilt_from_is_sound(place: Place) -> None:
    model = lay_model(place.folder / "model")
    from align.runner.toolbox import inspect_model

    assert inspect_model(model).endswith("with a chat template")
