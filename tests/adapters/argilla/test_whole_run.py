"""One recipe over a real Argilla: put up, waited for, judged through its own interface, and carried on to training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from align.records import Candidate, Comparison, Judgment, Ordering, Preference
from align.store import jsonl
from tests.adapters.argilla.made import Annotator
from tests.e2e.test_tiny_run import align

pytestmark = pytest.mark.e2e

RECIPE = """\
title: People at an Argilla, from the first comparison to a tuned model
model:
  scratch: {vocabulary: 400, layers: 2, width: 32, heads: 2, context: 128, steps: 40, batch_size: 8,
            sequence_length: 32}
data: {testbed: {demonstrations: 60, prompts: 12, test_prompts: 12, test_items: 12}}
sft: {epochs: 1, batch_size: 16, learning_rate: 1.0e-3, max_tokens: 128}
generate: {samples_per_prompt: 3, max_tokens: 12}
label:
  desk: argilla
  comparisons_per_prompt: 1
  annotators_per_comparison: 2
  guideline: guideline.md
  argilla: {home: HOME, dataset: whole run}
# answers of so small a model are all bad: the chain is what is tested
pair: {both_bad: keep, min_agreement: 0, test_share: 0.3, accept_low_agreement: true, accept_flagged_annotators: true}
dpo: {learning_rate: 1.0e-4, epochs: 1, batch_size: 8, max_tokens: 128}
evaluate: {instruments: [dpo_accuracy], answers: {temperature: 0.0, max_tokens: 12}}
gate: {on_fail: report}
runtime: {dtype: float32, threads: 1}
"""


def artifact(folder: Path, step: str) -> Path:
    """What the recipe stands on at this step."""
    state = json.loads((folder / "runs/recipes/people.json").read_text(encoding="utf-8"))["steps"][step]
    return folder / "runs" / state["stage"] / state["key"][:16]


def test_one_command_puts_up_waits_and_carries_on_to_a_tuned_model(argilla, tmp_path):
    (tmp_path / "people.yaml").write_text(RECIPE.replace("HOME", str(argilla.home.path)), encoding="utf-8")
    (tmp_path / "guideline.md").write_text("Prefer what is right & <b>polite</b>.\n", encoding="utf-8")

    waits = align("run", "people.yaml", cwd=tmp_path)
    assert waits.returncode == 75, waits.stdout + waits.stderr
    (line,) = [line for line in waits.stderr.splitlines() if line.startswith("align: ")]
    assert "0 of 12 comparisons have 2 judgments" in line
    assert f"open {argilla.url}/dataset/" in line
    assert "0 submitted, 0 drafts, 0 discarded" in line
    assert not (tmp_path / "runs/label").joinpath("manifest.json").exists()

    found = jsonl.read(artifact(tmp_path, "generate") / "candidates.jsonl", Candidate)
    candidates = {one.id: one for one in found}
    (book,) = (tmp_path / "runs/desks").iterdir()
    shown = {one.id: one for one in jsonl.read(book / "comparisons.jsonl", Comparison)}
    assert len(shown) == 12
    dataset = json.loads((book / "dataset.json").read_text())["id"]

    def longer(one: Comparison) -> str:
        texts = [candidates[name].text for name in one.candidate_ids]
        return "tie" if len(texts[0]) == len(texts[1]) else "a" if len(texts[0]) > len(texts[1]) else "b"

    def sits(name: str, *, most: int = 99) -> None:
        def chooses(record: dict[str, Any]) -> dict[str, Any]:
            return {"preference": longer(shown[record["external_id"]]), "strength": 2, "rationale": name}

        account = argilla.add("simulated", name)
        Annotator(argilla.url, account.api_key).judges(dataset, chooses, most=most)

    sits("ann")
    sits("ben", most=5)
    waits = align("run", "people.yaml", cwd=tmp_path)
    assert waits.returncode == 75
    assert "5 of 12 comparisons have 2 judgments" in waits.stderr
    assert "ann 12 of 12, ben 5 of 12; 17 submitted, 0 drafts, 0 discarded" in waits.stderr

    sits("ben")
    done = align("run", "people.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    judgments = list(jsonl.read(artifact(tmp_path, "label") / "judgments.jsonl", Judgment))
    assert len(judgments) == 24
    assert {one.provenance for one in judgments} == {"simulated"}
    people = json.loads((book / "people.json").read_text())
    names = {(row["pseudonym"], row["name"]) for row in people.values()}
    assert names == {(one.annotator, one.rationale) for one in judgments}
    groups = {"a": 0, "b": 1}
    for one in judgments:
        said = longer(shown[one.comparison_id])
        assert isinstance(one.verdict, Ordering)
        if said == "tie":
            assert one.verdict.groups == (one.candidate_ids,)
        else:
            assert one.verdict.groups[0] == (one.candidate_ids[groups[said]],)
        assert one.strength == 2
    pairs = list(jsonl.read(artifact(tmp_path, "pair") / "preferences.train.jsonl", Preference))
    assert {one.provenance for one in pairs} == {"simulated"}
    assert all(len(one.chosen[-1].content) > len(one.rejected[-1].content) for one in pairs)
    assert (artifact(tmp_path, "dpo") / "model" / "model.safetensors").exists()
    for secret in (argilla.key, str(argilla.home.path)):
        kept = [path for path in (tmp_path / "runs").rglob("*") if path.is_file()]
        assert not [path for path in kept if secret.encode() in path.read_bytes()], "no key, no place"

    # one of them thinks again: what is frozen stays so until it is asked for anew, and what was said before is kept
    def turned(record: dict[str, Any]) -> dict[str, Any]:
        return {"preference": "tie"}

    Annotator(argilla.url, argilla.add("simulated", "ben").api_key).judges(dataset, turned, most=1)
    again = align("run", "people.yaml", cwd=tmp_path)
    assert again.returncode == 0
    assert "label                      reuse" in again.stdout
    anew = align("run", "people.yaml", "--refresh", "label", "--until", "label", cwd=tmp_path)
    assert anew.returncode == 0, anew.stderr
    later = list(jsonl.read(artifact(tmp_path, "label") / "judgments.jsonl", Judgment))
    assert (len(later), len({one.id for one in later} - {one.id for one in judgments})) == (24, 1)
    (row,) = [row for _, row in jsonl.rows(artifact(tmp_path, "label") / "set_aside.jsonl")]
    assert row["reason"] == "changed later"
