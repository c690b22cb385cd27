"""Candidates: seeded one by one, journalled, and the same after a kill."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from align.configs import GenerateStep
from align.errors import BackendError, RecordError
from align.ports import Sample
from align.records import Candidate, Message, Prompt
from align.stages import generate
from align.stages.generate import collect, requests, sample_seed, split_thought, summarise
from align.store import jsonl
from tests.workshop import TestTools, Urn, artifact

PROMPTS = [Prompt(messages=(Message(role="user", content=f"Question {i}?"),)) for i in range(6)]
ANSWERS = ("Yes.", "No.", "Perhaps.", "Ask again.")
MODEL = "d" * 64


def run(root: Path, sampler: Urn, *, out: str = "out", **knobs: Any) -> Path:
    data, folder = root / "data", root / out
    data.mkdir(exist_ok=True)
    folder.mkdir()
    jsonl.write(data / "prompts.jsonl", PROMPTS)
    jsonl.write(data / "test_prompts.jsonl", PROMPTS[:2])
    step = GenerateStep(**{"samples_per_prompt": 3, **knobs})
    inputs = {"model": artifact(root / "model", MODEL), "data": artifact(data)}
    generate.run(step, inputs, folder, TestTools(root / "work", sampler=sampler, seed=4))
    return folder


def candidates(folder: Path) -> list[Candidate]:
    return list(jsonl.read(folder / "candidates.jsonl", Candidate))


def test_candidates_stand_in_the_prompts_order_whatever_order_they_were_made_in(tmp_path):
    sampler = Urn(ANSWERS)
    made = candidates(run(tmp_path, sampler))
    assert [(one.prompt_id, one.sample) for one in made] == [(p.id, i) for p in PROMPTS for i in range(3)]
    assert sampler.asked == [p.id for p in reversed(PROMPTS)]
    assert {one.model for one in made} == {MODEL}
    assert sampler.closed


def test_a_killed_run_goes_on_where_it_stopped_and_ends_in_the_same_bytes(tmp_path):
    broken = Urn(ANSWERS, stop_after=4)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, broken, out="first")
    assert broken.closed
    rest = Urn(ANSWERS)
    resumed = run(tmp_path, rest, out="second")
    assert sorted(broken.asked + rest.asked) == sorted(p.id for p in PROMPTS), "each prompt is answered once"
    (tmp_path / "unbroken").mkdir()
    whole = run(tmp_path / "unbroken", Urn(ANSWERS))
    for name in ("candidates.jsonl", "summary.json"):
        assert (resumed / name).read_bytes() == (whole / name).read_bytes()


def test_a_torn_line_in_the_journal_costs_its_prompt_alone(tmp_path):
    run(tmp_path, Urn(ANSWERS), out="first")
    journal = tmp_path / "work" / "answers.jsonl"
    journal.write_bytes(journal.read_bytes()[:-9])
    again = Urn(ANSWERS)
    second = run(tmp_path, again, out="second")
    assert len(again.asked) == 1
    assert (second / "candidates.jsonl").read_bytes() == (tmp_path / "first" / "candidates.jsonl").read_bytes()


def test_a_finished_journal_needs_no_sampler(tmp_path):
    run(tmp_path, Urn(ANSWERS), out="first")
    idle = Urn(ANSWERS)
    run(tmp_path, idle, out="second")
    assert (idle.asked, idle.closed) == ([], False)


def test_seeds_depend_on_the_recipe_the_prompt_and_the_sample_alone():
    one, other = requests(PROMPTS, n=3, seed=4), requests(PROMPTS[::-1], n=2, seed=4)
    assert {r.prompt_id: r.seeds[:2] for r in one} == {r.prompt_id: r.seeds for r in other}
    seeds = [seed for request in one for seed in request.seeds]
    assert len(set(seeds)) == 18
    assert all(0 <= seed < 2**31 for seed in seeds)
    assert sample_seed(5, PROMPTS[0].id, 0) != sample_seed(4, PROMPTS[0].id, 0)


def test_a_prompt_that_stands_twice_is_asked_once():
    assert len(requests([*PROMPTS, PROMPTS[0]], n=1, seed=0)) == len(PROMPTS)


def test_the_held_out_prompts_get_one_answer_each(tmp_path):
    folder = run(tmp_path, Urn(ANSWERS), of="test_prompts", samples_per_prompt=1, temperature=0.0)
    assert [one.prompt_id for one in candidates(folder)] == [p.id for p in PROMPTS[:2]]
    assert json.loads((folder / "summary.json").read_text())["no_pair_share"] is None


def test_where_all_answers_are_equal_no_pair_is_possible_and_that_is_an_error(tmp_path):
    with pytest.raises(RecordError, match=r"all answers to each of 6 prompts are equal, so no pair is possible"):
        run(tmp_path, Urn(["Yes."]))


def test_several_greedy_samples_are_refused_before_any_work(tmp_path):
    sampler = Urn(ANSWERS)
    with pytest.raises(RecordError, match="3 samples a prompt at temperature 0 would all be equal"):
        run(tmp_path, sampler, temperature=0.0)
    assert sampler.asked == []


def test_a_sampler_that_leaves_answers_out_is_found_out():
    wanted = requests(PROMPTS[:1], n=2, seed=0)
    with pytest.raises(BackendError, match=r"1 answers to prompt \w{12}, expected 2"):
        collect(wanted, {PROMPTS[0].id: [Sample("Yes.", 2, "stop")]}, model=MODEL)


def test_repeats_empty_and_cut_answers_are_counted():
    wanted = requests(PROMPTS[:2], n=3, seed=0)
    answers = {
        PROMPTS[0].id: [Sample("Yes.", 2, "stop"), Sample("Yes. ", 2, "length"), Sample("", 0, "stop")],
        PROMPTS[1].id: [Sample("Yes.", 2, "stop"), Sample("No.", 2, "stop"), Sample("No.", 2, "stop")],
    }
    summary = summarise(collect(wanted, answers, model=MODEL))
    assert (summary["n_repeated"], summary["n_empty"], summary["n_cut_short"]) == (2, 1, 1)
    assert summary["no_pair_share"] == 0.5, "an empty answer makes no pair"


@pytest.mark.parametrize(
    ("text", "thought", "answer"),
    [
        ("<think>\nHm.\n</think>\n\nYes.", "Hm.", "Yes."),
        ("Yes.", None, "Yes."),
        ("Write <think> tags </think>.", None, "Write <think> tags </think>."),
        ("<think>never closed", None, "<think>never closed"),
    ],
)
def test_what_was_thought_is_kept_apart_from_what_was_said(text, thought, answer):
    assert split_thought(text) == (thought, answer)
