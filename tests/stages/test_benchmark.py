"""Published files become items or prompts with licence, digest and revision; what is chosen is chosen by hash."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from align.configs import BenchmarkStep
from align.errors import RecordError
from align.records import Item, Prompt
from align.stages import benchmark
from align.store import jsonl
from tests.evals.made_rows import ROWS


class Bench:
    """A stage's tools: notes, and a hub that holds what a test puts there."""

    def __init__(self, hub: list[dict[str, Any]] | None = None) -> None:
        self.notes: list[str] = []
        self.hub, self.asked = hub or [], [""]

    def note(self, text: str) -> None:
        self.notes.append(text)

    def rows(self, *asked: Any) -> list[dict[str, Any]]:
        self.asked = list(asked)
        return self.hub


def run(out: Path, bench: Bench | None = None, **step: Any) -> dict[str, Any]:
    out.mkdir()
    config = BenchmarkStep.model_validate(step, context={"folder": out})
    benchmark.run(config, {}, out, bench or Bench())  # type: ignore[arg-type]
    found: dict[str, Any] = json.loads((out / "summary.json").read_text())
    return found


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    path = tmp_path / "crows_pairs_anonymized.csv"
    with open(path, "w", newline="") as stream:
        table = csv.DictWriter(stream, ["", *ROWS["crows_pairs"][0]])
        table.writeheader()
        table.writerows({"": i, **row} for i, row in enumerate(ROWS["crows_pairs"]))
    return path


def test_a_file_is_read_as_published_and_says_where_it_comes_from(tmp_path: Path, pairs: Path) -> None:
    told = run(tmp_path / "out", instrument="crows_pairs", path=str(pairs))
    items = list(jsonl.read(tmp_path / "out" / "items.jsonl", Item))
    assert (told["n_read"], told["n_taken"], len(items), told["n_published"]) == (24, 24, 24, 1508)
    (source,) = told["sources"]
    assert (source["name"], source["licence"]) == ("crows_pairs_anonymized.csv", "CC-BY-SA-4.0")
    assert len(source["digest"]) == 64
    assert str(tmp_path) not in (tmp_path / "out" / "summary.json").read_text(), "no path of this machine"


def test_a_folder_and_a_gzipped_file_in_it_are_the_same(tmp_path: Path, pairs: Path) -> None:
    run(tmp_path / "plain", instrument="crows_pairs", path=str(pairs))
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / (pairs.name + ".gz")).write_bytes(gzip.compress(pairs.read_bytes()))
    run(tmp_path / "zipped", instrument="crows_pairs", path=str(folder))
    one, other = ((tmp_path / name / "items.jsonl").read_bytes() for name in ("plain", "zipped"))
    assert one == other


def test_what_is_chosen_does_not_depend_on_the_place_in_the_file(tmp_path: Path, pairs: Path) -> None:
    run(tmp_path / "a", instrument="crows_pairs", path=str(pairs), max_items=5)
    head, *rows = pairs.read_text().splitlines()
    pairs.write_text("\n".join([head, *reversed(rows)]) + "\n")
    run(tmp_path / "b", instrument="crows_pairs", path=str(pairs), max_items=5)
    assert (tmp_path / "a" / "items.jsonl").read_bytes() == (tmp_path / "b" / "items.jsonl").read_bytes()


def test_sentences_that_belong_together_are_chosen_together() -> None:
    together = [
        Prompt.model_validate(
            {"messages": [{"role": "user", "content": f"{i} {side}"}], "meta": {"together": f"{i}", "kind": side}}
        )
        for i in range(20)
        for side in ("he", "she")
    ]
    kept = benchmark.chosen(together, 7)
    assert len(kept) == 14
    assert all(sum(p.meta["together"] == q.meta["together"] for q in kept) == 2 for p in kept)


def test_more_items_than_there_are_is_said_and_all_are_taken(tmp_path: Path, pairs: Path) -> None:
    bench = Bench()
    assert run(tmp_path / "out", bench, instrument="crows_pairs", path=str(pairs), max_items=500)["n_taken"] == 24
    assert bench.notes == ["crows_pairs: max_items 500 leaves out none of 24 items"]


def test_the_hub_is_read_at_its_revision_through_the_same_reader(tmp_path: Path, pairs: Path) -> None:
    run(tmp_path / "file", instrument="crows_pairs", path=str(pairs))
    bench = Bench([dict(row) for row in ROWS["crows_pairs"]])
    told = run(tmp_path / "hub", bench, instrument="crows_pairs", hub="nyu-mll/crows_pairs", revision="a" * 40)
    assert bench.asked == ["nyu-mll/crows_pairs", "a" * 40, None, "test"]
    assert told["sources"][0]["revision"] == "a" * 40
    assert (tmp_path / "hub" / "items.jsonl").read_bytes() == (tmp_path / "file" / "items.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "sentence_a,sentence_b\nx,y\n",
            "no column sent_more, sent_less, stereo_antistereo, bias_type; it has sentence_a",
        ),
        ("", "0 usable rows"),
        (
            "sent_more,sent_less,stereo_antistereo,bias_type\na,b,both,age\n",
            "'both' found, expected stereo or antistereo",
        ),
        ("sent_more,sent_less,stereo_antistereo,bias_type\na,b\n", "is the file cut off?"),
        ("sent_more,sent_less,stereo_antistereo,bias_type\n,b,stereo,age\n", "sent_more: '' found, expected some text"),
    ],
)
def test_a_file_that_is_another_says_what_differs(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "crows_pairs_anonymized.csv"
    path.write_text(text)
    with pytest.raises(RecordError) as told:
        run(tmp_path / "out", instrument="crows_pairs", path=str(path))
    assert said in str(told.value)
    assert path.name in str(told.value)


def test_a_folder_without_the_files_says_which_it_looks_for(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"none of dev.json, stereoset_intersentence.json found"):
        run(tmp_path / "out", instrument="stereoset", path=str(tmp_path))


def test_bytes_that_are_no_text_are_told(tmp_path: Path) -> None:
    path = tmp_path / "crows_pairs_anonymized.csv.gz"
    path.write_bytes(b"\x1f\x8bnothing")
    with pytest.raises(RecordError, match="cannot be read as text"):
        run(tmp_path / "out", instrument="crows_pairs", path=str(path))
