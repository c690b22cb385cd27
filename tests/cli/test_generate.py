"""Prompts file in, candidates file out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from align.cli import main
from align.configs import Scratch
from align.models.load import save
from align.models.scratch import new_model, train_tokenizer
from align.records import Candidate
from align.store import jsonl
from tests.adapters.faulty import Faulty


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = Scratch(vocabulary=330, layers=1, width=16, heads=1, context=128)
    tokenizer = train_tokenizer(["Where does Ada live?", "In Rome."] * 20, vocabulary=330, context=128)
    place = tmp_path_factory.mktemp("models") / "model"
    save(new_model(config, tokenizer, attention="sdpa", seed=0), tokenizer, place)
    return place


def written(path: Path, n: int) -> Path:
    path.write_text("".join(json.dumps({"prompt": f"Question {i}?"}) + "\n" for i in range(n)))
    return path


def test_a_file_of_prompts_becomes_a_file_of_answers_and_more_cost_only_the_new(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "answers.jsonl"
    with Faulty() as endpoint:
        server = json.dumps({"urls": [endpoint.url]})
        arguments = ["--model", str(model), "--set", "engine=server", "--set", f"server={server}"]
        assert main(["generate", str(written(tmp_path / "p.jsonl", 5)), str(out), *arguments]) == 0
        first = list(jsonl.read(out, Candidate))
        assert (len(first), len(endpoint.bodies)) == (5, 5)
        more = [*arguments, "--set", "samples_per_prompt=3"]
        assert main(["generate", str(written(tmp_path / "p.jsonl", 8)), str(out), *more]) == 0
        grown = list(jsonl.read(out, Candidate))
        assert len(grown) == 24
        assert {one.id for one in first} <= {one.id for one in grown}
        assert sum(body["n"] for body in endpoint.bodies) == 5 + 5 * 2 + 3 * 3, "what was drawn is not drawn again"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["p.jsonl"], "expected two files and a model"),
        (["p.jsonl", "out.jsonl"], "expected two files and a model"),
        (["none.jsonl", "out.jsonl", "--model", "m"], "none.jsonl: no such file"),
        (["p.jsonl", ".", "--model", "m"], "a folder found, expected the name of a file"),
        (["p.jsonl", "out.jsonl", "--model", "m"], "--model m: no model folder"),
        (["p.jsonl", "out.jsonl", "--model", "m", "--out", "x"], "not both"),
        (["--model", "m"], "--model needs two files"),
    ],
)
def test_what_cannot_be_obeyed_is_said_in_one_line(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    written(tmp_path / "p.jsonl", 1)
    assert main(["generate", *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
