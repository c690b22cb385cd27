"""Stage `best_of`: the answer that a reward model likes best, and a record of all that it thought."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from align.configs import BestOf
from align.errors import RecordError
from align.ports import Artifact
from align.records import Candidate, Message, Prompt
from align.stages import best_of
from align.store import jsonl
from tests.workshop import TestTools

PROMPTS = [Prompt(messages=(Message(role="user", content=text),)) for text in ("a", "b")]


class Longest:
    """Likes what is long; reads prompt and answer."""

    def __init__(self, *, broken: bool = False) -> None:
        self.broken = broken

    def reward(self, conversations: Sequence[Sequence[Message]]) -> Iterator[float]:
        for messages in conversations:
            assert [m.role for m in messages] == ["user", "assistant"]
            yield float("nan") if self.broken else float(len(messages[-1].content))

    def close(self) -> None: ...


class Tools(TestTools):
    broken = False

    def rewarder(self, model: Path) -> Longest:
        return Longest(broken=self.broken)


def run(tmp_path: Path, texts: Sequence[Sequence[str]], *, keep: int = 1, broken: bool = False) -> Path:
    data, drawn, out = (tmp_path / name for name in ("data", "drawn", "out"))
    for folder in (data, drawn, out):
        folder.mkdir()
    jsonl.write(data / "test_prompts.jsonl", PROMPTS)
    jsonl.write(
        drawn / "candidates.jsonl",
        (
            Candidate(prompt_id=prompt.id, completion=(Message(role="assistant", content=text),), model="m", sample=i)
            for prompt, own in zip(PROMPTS, texts, strict=True)
            for i, text in enumerate(own)
        ),
    )
    tools = Tools(tmp_path / "work")
    tools.broken = broken
    places = {"data": data, "candidates": drawn, "reward": data}
    inputs = {name: Artifact(folder, "k", "d") for name, folder in places.items()}
    best_of.run(BestOf(keep=keep), inputs, out, tools)
    return out


def test_the_best_is_kept_and_every_score_too(tmp_path: Path) -> None:
    out = run(tmp_path, [["short", "the longest", "longer"], ["xx", "yy", "z"]])
    assert [one.text for one in jsonl.read(out / "candidates.jsonl", Candidate)] == ["the longest", "xx"]
    scored = [row for _, row in jsonl.rows(out / "scored.jsonl")]
    assert [row["score"] for row in scored] == [5.0, 11.0, 6.0, 2.0, 2.0, 1.0]
    assert [row["kept"] for row in scored] == [False, True, False, True, False, False]
    summary = jsonl.parse((out / "summary.json").read_bytes(), "summary")
    assert (summary["prompts"], summary["answers"], summary["kept"], summary["n_most"]) == (2, 6, 2, 3)
    assert summary["reward_of_kept"] == 6.5
    assert summary["kl_at_most"] == pytest.approx(0.4319, abs=1e-4)


def test_several_may_be_kept_and_then_no_formula_holds(tmp_path: Path) -> None:
    out = run(tmp_path, [["a", "bb", "ccc"], ["d", "ee", "fff"]], keep=2)
    assert [one.text for one in jsonl.read(out / "candidates.jsonl", Candidate)] == ["bb", "ccc", "ee", "fff"]
    assert jsonl.parse((out / "summary.json").read_bytes(), "summary")["kl_at_most"] is None


def test_scores_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="2 of 2 scores are no numbers"):
        run(tmp_path, [["a"], ["b"]], broken=True)
