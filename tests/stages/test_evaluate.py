"""One model under one instrument: what is read, what is written, and what a broken model must not be given."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from align.configs import EvaluateStep, RuntimeConfig
from align.errors import RecordError
from align.evals.controls import CONTROLS, Control
from align.ports import Artifact, Score
from align.records import Candidate, Item, ItemScore, Measurement, Message, Preference, Prompt
from align.stages import evaluate
from align.store import jsonl
from align.testbed import items, tasks
from align.testbed.world import make_world

BY_NAME = {control.name: control for control in CONTROLS}
WORLD = make_world(0)


class Bench:
    """The tools of a stage, with a control model as scorer."""

    runtime = RuntimeConfig(device="cpu", dtype="float32", threads=1)

    def __init__(self, work: Path, control: Control, die_after: int | None = None, shelves: Path | None = None) -> None:
        self.work, self.control, self.die_after, self.asked = work, control, die_after, 0
        self.shelves = shelves or work / "shelves"

    def shelf(self, name: str) -> Path:
        return self.shelves / name[:32]

    def scorer(self, model: Path) -> Any:
        return SimpleNamespace(score=self._score, close=lambda: None)

    def _score(self, requests: list[Any]) -> list[Score]:
        if self.die_after is not None and self.asked >= self.die_after:
            raise KeyboardInterrupt
        self.asked += len(requests)
        return self.control.score(requests)

    @contextmanager
    def progress(self, what: str, total: int | None = None) -> Any:
        yield SimpleNamespace(advance=lambda n=1, note="": None)


def artifact(path: Path, digest: str = "d") -> Artifact:
    path.mkdir(parents=True, exist_ok=True)
    return Artifact(path=path, key="k", digest=digest)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    made = artifact(tmp_path_factory.mktemp("data"))
    (made.path / "summary.json").write_text('{"testbed": {}}')
    jsonl.write(made.path / "items.jsonl", [*items.fact_items(WORLD, 60, 0), *items.pronoun_pairs(WORLD)])
    jsonl.write(made.path / "test_prompts.jsonl", tasks.held_out(WORLD, 60, 0))
    pairs = [
        Preference(
            prompt=(Message(role="user", content=f"question {i}"),),
            chosen=(Message(role="assistant", content=f"good answer {i}"),),
            rejected=(Message(role="assistant", content=f"quite a bad answer {i}" + " and long" * (i % 3)),),
            provenance="human" if i else "judge",
        )
        for i in range(90)
    ]
    jsonl.write(made.path / "preferences.test.jsonl", pairs)
    return made


def answers(folder: Path, data: Artifact, control: Control) -> Artifact:
    made = artifact(folder)
    assert control.answer is not None
    rows = [
        Candidate(
            prompt_id=prompt.id, completion=(Message(role="assistant", content=control.answer(prompt)),), model="m"
        )
        for prompt in jsonl.read(data.path / "test_prompts.jsonl", Prompt)
    ]
    jsonl.write(made.path / "candidates.jsonl", rows)
    return made


def run(
    out: Path, data: Artifact, control: Control, instrument: str, model: str = "tuned", **more: Any
) -> list[Measurement]:
    out.mkdir(parents=True)
    bench = more.pop("bench", None) or Bench(out.parent / f"{out.name}.work", control)
    inputs = {"data": data, "preferences": data, "model": artifact(out.parent / "model", "policy")}
    if control.answer is not None:
        inputs["answers"] = answers(out.parent / f"{out.name}.answers", data, control)
    inputs |= more.pop("inputs", {})
    evaluate.run(EvaluateStep(instrument=instrument, model=model, **more), inputs, out, bench)
    return list(jsonl.read(out / "measurements.jsonl", Measurement))


def test_a_guessing_model_knows_an_eighth_of_the_facts(tmp_path: Path, data: Artifact) -> None:
    (accuracy,) = run(tmp_path / "out", data, BY_NAME["random"], "facts")
    assert accuracy.low is not None
    assert accuracy.high is not None
    assert accuracy.low < 1 / 8 < accuracy.high
    assert (accuracy.n, accuracy.n_unscored, accuracy.unit, accuracy.better) == (60, 0, "share", "higher")


def test_every_item_has_a_row_that_says_what_it_scored(tmp_path: Path, data: Artifact) -> None:
    (accuracy,) = run(tmp_path / "out", data, BY_NAME["constant"], "facts")
    rows = list(jsonl.read(tmp_path / "out" / "scores.jsonl", ItemScore))
    assert len(rows) == 60
    assert {row.value for row in rows} == {1 / 8}, (
        "a model that cannot tell eight endings apart is right in one of eight"
    )
    assert accuracy.value == pytest.approx(1 / 8)


def test_a_model_of_nan_has_no_measurement_but_a_count(tmp_path: Path, data: Artifact) -> None:
    (accuracy,) = run(tmp_path / "out", data, BY_NAME["nan"], "facts")
    assert (accuracy.value, accuracy.low, accuracy.n, accuracy.n_unscored) == (None, None, 0, 60)


def test_equal_inputs_give_equal_bytes_wherever_they_run(tmp_path: Path, data: Artifact) -> None:
    for folder in ("one", "two"):
        run(tmp_path / folder / "out", data, BY_NAME["random"], "dpo_accuracy")
    for name in ("scores.jsonl", "measurements.jsonl"):
        assert (tmp_path / "one" / "out" / name).read_bytes() == (tmp_path / "two" / "out" / name).read_bytes()


def test_a_killed_run_goes_on_from_its_journal_and_ends_in_the_same_bytes(
    tmp_path: Path, data: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate, "CHUNK_CHARACTERS", 1000)
    run(tmp_path / "whole" / "out", data, BY_NAME["random"], "dpo_accuracy")
    work = tmp_path / "killed" / "work"
    with pytest.raises(KeyboardInterrupt):
        run(
            tmp_path / "killed" / "first", data, BY_NAME["random"], "dpo_accuracy",
            bench=Bench(work, BY_NAME["random"], die_after=100),
        )  # fmt: skip
    again = Bench(work, BY_NAME["random"])
    run(tmp_path / "killed" / "out", data, BY_NAME["random"], "dpo_accuracy", bench=again)
    assert 0 < again.asked <= 180 - 100, "what the journal holds was scored again"
    for name in ("scores.jsonl", "measurements.jsonl"):
        assert (tmp_path / "killed" / "out" / name).read_bytes() == (tmp_path / "whole" / "out" / name).read_bytes()


def test_the_base_is_asked_once_as_a_model_and_as_anothers_reference(tmp_path: Path, data: Artifact) -> None:
    before = {"reference": artifact(tmp_path / "before", "policy before")}
    shelves = tmp_path / "shelves"

    def measured(name: str, **more: Any) -> tuple[int, bytes]:
        bench = Bench(tmp_path / name / "work", BY_NAME["random"], shelves=more.pop("shelves", shelves))
        run(tmp_path / name / "out", data, BY_NAME["random"], "dpo_accuracy", bench=bench, **more)
        return bench.asked, (tmp_path / name / "out" / "scores.jsonl").read_bytes()

    alone, _ = measured("base", model="base", inputs={"model": before["reference"]})
    both, whole = measured("elsewhere", inputs=before, shelves=tmp_path / "none")
    asked, scores = measured("tuned", inputs=before)
    assert (alone, both, asked) == (180, 360, 180)
    assert scores == whole
    other, _ = measured("other", inputs={**before, "model": artifact(tmp_path / "m", "another policy")})
    assert other == 180, "another model is another matter"


def test_only_the_tuned_model_has_an_implicit_reward(tmp_path: Path, data: Artifact) -> None:
    reference = {"reference": artifact(tmp_path / "reference", "policy before")}
    tuned = run(tmp_path / "tuned", data, BY_NAME["random"], "dpo_accuracy", inputs=reference)
    base = run(tmp_path / "base", data, BY_NAME["random"], "dpo_accuracy", model="base", inputs=reference)
    assert {"reward", "per_token", "longer"} <= {m.metric for m in tuned}
    assert {m.metric for m in base} == {"per_token", "per_token_matched", "longer"}


def test_truth_that_was_made_is_marked_simulated(tmp_path: Path, data: Artifact) -> None:
    for name, control in (("utility", "echo"), ("refusal", "echo"), ("facts", "random"), ("pronouns", "random")):
        assert {m.provenance for m in run(tmp_path / name, data, BY_NAME[control], name)} == {"simulated"}, name


def test_pairs_are_as_trustworthy_as_their_weakest_label(tmp_path: Path, data: Artifact) -> None:
    made = run(tmp_path / "out", data, BY_NAME["random"], "dpo_accuracy")
    assert {m.provenance for m in made} == {"judge"}


def test_max_items_takes_the_same_items_whatever_their_order(tmp_path: Path, data: Artifact) -> None:
    (few,) = run(tmp_path / "out", data, BY_NAME["random"], "facts", max_items=10)
    backwards = artifact(tmp_path / "backwards")
    lines = (data.path / "items.jsonl").read_text().splitlines()
    (backwards.path / "items.jsonl").write_text("\n".join(reversed(lines)) + "\n")
    (again,) = run(tmp_path / "again", replace(backwards, digest=data.digest), BY_NAME["random"], "facts", max_items=10)
    assert [few.value, few.n] == [again.value, again.n]
    ids = [
        {row.item_id for row in jsonl.read(tmp_path / name / "scores.jsonl", ItemScore)} for name in ("out", "again")
    ]
    assert ids[0] == ids[1]
    assert few.n == 10


def test_an_instrument_whose_data_the_recipe_lacks_names_the_file(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"items\.jsonl: missing"):
        run(tmp_path / "out", artifact(tmp_path / "empty"), BY_NAME["random"], "facts")


def test_nothing_of_where_or_when_it_ran_is_written(tmp_path: Path, data: Artifact) -> None:
    run(tmp_path / "out", data, BY_NAME["echo"], "refusal")
    text = (tmp_path / "out" / "measurements.jsonl").read_text() + (tmp_path / "out" / "scores.jsonl").read_text()
    assert str(tmp_path) not in text
    assert all(json.loads(line)["schema"] == 1 for line in text.splitlines())


def test_a_question_that_the_model_was_trained_on_is_not_scored_and_named(tmp_path: Path) -> None:
    from align.evals.instruments import INSTRUMENTS
    from tests.evals.made_rows import made

    asked = [one for one in made(INSTRUMENTS["truthfulqa"]) if isinstance(one, Item)]
    asked = [
        one.model_copy(
            update={
                "context": " ".join(f"{word}{i}" for word in ["how", "many", "roads", "must", "one", "walk", "down"])
            }
        )
        for i, one in enumerate(asked)
    ]
    data, trained = artifact(tmp_path / "data"), artifact(tmp_path / "trained")
    jsonl.write(data.path / "items.jsonl", asked)
    (trained.path / "text.jsonl").write_text(json.dumps({"text": "Well. " + asked[0].context}) + "\n")
    bench = Bench(tmp_path / "work", BY_NAME["random"])
    bench.notes = []
    bench.note = bench.notes.append
    inputs = {"data": data, "model": artifact(tmp_path / "model"), "trained": trained}
    (tmp_path / "out").mkdir()
    evaluate.run(EvaluateStep(instrument="truthfulqa", model="tuned"), inputs, tmp_path / "out", bench)
    found = {m.metric: m for m in jsonl.read(tmp_path / "out" / "measurements.jsonl", Measurement)}
    assert found["mc1"].n_unscored == 1
    assert found["mc1"].value is None, "23 of 24 is less than a public benchmark's score needs"
    rows = [row for row in jsonl.read(tmp_path / "out" / "scores.jsonl", ItemScore) if row.value is None]
    assert {(row.item_id, row.unscored_because) for row in rows} == {(asked[0].id, evaluate.SEEN)}
    assert bench.notes == [f"1 of 24 questions stand in the training data and are not scored: {asked[0].id[:12]}"]
