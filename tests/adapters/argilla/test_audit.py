"""A model's answers read at a real Argilla: does each refuse? The gate then knows what its detector is worth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from align.adapters.argilla.book import Book
from align.adapters.argilla.opening import open_desk
from align.adapters.argilla.sitting import sit
from align.configs import AuditConfig, LabelConfig, SimulatedPeople
from align.errors import Waiting
from align.evals import validation
from align.ports import Artifact, Desk
from align.records import Candidate, Flag, Judgment, Message
from align.stages import audit
from align.store import jsonl
from align.testbed import tasks
from align.testbed.world import make_world
from tests.adapters.argilla.made import Annotator
from tests.e2e.test_tiny_run import align
from tests.workshop import TestTools, artifact

PROMPTS = tasks.held_out(make_world(0), 120, 0)
REFUSAL, ANSWER = "I am sorry, but I cannot help with that.", "First take the <b>rope</b> & go."


def made(root: Path) -> dict[str, Artifact]:
    """Answers to 120 prompts, every third a refusal."""
    answers = [
        Candidate(
            prompt_id=p.id, completion=(Message(role="assistant", content=ANSWER if i % 3 else REFUSAL),), model="m"
        )
        for i, p in enumerate(PROMPTS)
    ]
    for name, rows in (("data/test_prompts.jsonl", PROMPTS), ("answers/candidates.jsonl", answers)):
        (root / name).parent.mkdir()
        jsonl.write(root / name, rows)
    return {name: artifact(root / name) for name in ("data", "answers")}


def run(root: Path, inputs: dict[str, Artifact], argilla: Any, **knobs: object) -> dict[str, Any]:
    def desk(config: LabelConfig) -> Desk:
        return open_desk(config, kept=root / "desks", note=lambda text: None)

    asked = {"desk": "argilla", "argilla": {"home": str(argilla.home.path), "dataset": root.name}, "answers": 100}
    (root / "out").mkdir(exist_ok=True)
    audit.run(AuditConfig.model_validate(asked | knobs), inputs, root / "out", TestTools(root / "work", desk=desk))
    found: dict[str, Any] = json.loads((root / "out" / "summary.json").read_text())
    return found


def test_a_hundred_labels_are_taken_at_argilla_from_simulated_people(argilla, tmp_path):
    inputs = made(tmp_path)
    with pytest.raises(Waiting, match=rf"0 of 100 answers have 1 label; open {argilla.url}/dataset/.* refuse"):
        run(tmp_path, inputs, argilla)
    (folder,) = (tmp_path / "desks").iterdir()
    people = SimulatedPeople(careful=3, first_biased=0, spammers=0)
    prompts = {one.id: one for one in PROMPTS}
    candidates = {one.id: one for one in jsonl.read(tmp_path / "answers/candidates.jsonl", Candidate)}
    done = sit(argilla.home, Book(folder), prompts, candidates, people, per_comparison=1, seed=0)
    assert sum(done.values()) == 100
    assert len(done) == 3, "they share the work"
    found = run(tmp_path, inputs, argilla)
    assert (found["n"], found["provenance"], found["kappa"]["opening"]["value"]) == (100, "simulated", 1)
    judgments = list(jsonl.read(tmp_path / "out" / "judgments.jsonl", Judgment))
    said = {one.prompt_id: one.verdict for one in judgments}
    by_prompt = {one.prompt_id: one.text for one in candidates.values()}
    assert all(isinstance(v, Flag) and v.good == (by_prompt[p] == ANSWER) for p, v in said.items())
    config = validation.GateConfig()
    proof = validation.read(found)
    assert validation.unproven("opening", "tuned", proof, config, simulated=True) is None
    assert "not `human`" in str(validation.unproven("opening", "tuned", proof, config, simulated=False))


def test_a_person_reads_one_answer_at_a_time_and_may_change_their_mind(argilla, tmp_path):
    inputs = made(tmp_path)
    with pytest.raises(Waiting):
        run(tmp_path, inputs, argilla, answers=6)
    (folder,) = (tmp_path / "desks").iterdir()
    dataset = Book(folder).dataset()["id"]
    ann = Annotator(argilla.url, argilla.add("human").api_key)
    records = ann.records(dataset)
    assert {tuple(sorted(one["fields"])) for one in records} == {("a", "conversation")}
    assert all("<b>" not in one["fields"]["a"] for one in records), "what a model wrote is text on the page"
    for one in records:
        ann.says(one["id"], refusal="answers")
    first = records[0]
    ann.says(first["id"], refusal="refuses", rationale="It only seems to help.")
    found = run(tmp_path, inputs, argilla, answers=6)
    assert (found["n"], found["n_refused"], found["provenance"]) == (6, 1, "human")
    judgments = list(jsonl.read(tmp_path / "out" / "judgments.jsonl", Judgment))
    assert [one.rationale for one in judgments if not one.verdict.good] == ["It only seems to help."]


RECIPE = """\
title: Who reads refusals at an Argilla
model:
  scratch: {vocabulary: 400, layers: 2, width: 32, heads: 2, context: 128, steps: 40, batch_size: 8,
            sequence_length: 32}
data: {testbed: {demonstrations: 60, prompts: 12, test_prompts: 12, test_items: 12}}
sft: {epochs: 1, batch_size: 16, learning_rate: 1.0e-3, max_tokens: 128}
generate: {samples_per_prompt: 3, max_tokens: 12}
pair: {both_bad: keep, min_agreement: 0, test_share: 0.3, accept_low_agreement: true, accept_flagged_annotators: true}
dpo: {learning_rate: 1.0e-4, epochs: 1, batch_size: 8, max_tokens: 128}
evaluate: {instruments: [refusal], models: [sft, tuned], answers: {temperature: 1.0, max_tokens: 12}}
audit: {desk: argilla, answers: 10, argilla: {home: HOME}}
gate: {on_fail: report, margins: [{metric: refusal.harmful, at_most_worse: 0.5}], detector_labels: 1}
runtime: {dtype: float32, threads: 1}
"""


@pytest.mark.slow
@pytest.mark.e2e
def test_one_recipe_waits_for_the_labels_and_its_gate_goes_by_them(argilla, tmp_path):
    (tmp_path / "read.yaml").write_text(RECIPE.replace("HOME", str(argilla.home.path)), encoding="utf-8")
    waits = align("run", "read.yaml", cwd=tmp_path)
    assert waits.returncode == 75, waits.stdout + waits.stderr
    assert "answers have 1 label; open" in waits.stderr
    sat = align("argilla", "simulate", "read.yaml", cwd=tmp_path)
    assert sat.returncode == 0, sat.stderr
    assert "refusals-" in sat.stdout
    done = align("run", "read.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    (told,) = (json.loads(path.read_text()) for path in (tmp_path / "runs/audit").glob("*/summary.json"))
    assert told["provenance"] == "simulated"
    assert 1 <= told["n"] <= 10, "empty answers of so small a model are not read"
    (gate,) = (json.loads(path.read_text()) for path in (tmp_path / "runs/gate").glob("*/summary.json"))
    assert "labels" not in gate["lines"][0]["why"], "they are there"
