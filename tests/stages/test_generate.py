"""Candidates: seeded one by one, journalled, and the same after a kill."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from align.configs import GenerateStep
from align.data.drawn import Tally, split_thought
from align.errors import BackendError, RecordError
from align.ports import Sample, Unanswered
from align.records import Candidate, Message, Prompt, canonical
from align.stages import generate
from align.stages.generate import asked, candidate, sample_seed, seeds_of
from align.store import jsonl
from tests.workshop import TestTools, Urn, artifact

PROMPTS = [Prompt(messages=(Message(role="user", content=f"Question {i}?"),)) for i in range(6)]
OTHER = Prompt(messages=(Message(role="user", content="One more question?"),))
ANSWERS = ("Yes.", "No.", "Perhaps.", "Ask again.")
MODEL = "d" * 64


def run(root: Path, sampler: Urn, *, out: str = "out", prompts: Any = PROMPTS, **knobs: Any) -> Path:
    data, folder = root / "data", root / out
    data.mkdir(exist_ok=True)
    folder.mkdir()
    jsonl.write(data / "prompts.jsonl", prompts)
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
    (journal,) = (tmp_path / "work").rglob("*.jsonl")
    journal.write_bytes(journal.read_bytes()[:-9])
    again = Urn(ANSWERS)
    second = run(tmp_path, again, out="second")
    assert len(again.asked) == 1
    assert (second / "candidates.jsonl").read_bytes() == (tmp_path / "first" / "candidates.jsonl").read_bytes()


def test_a_finished_journal_needs_no_sampler(tmp_path):
    run(tmp_path, Urn(ANSWERS), out="first")
    idle = Urn(ANSWERS)
    run(tmp_path, idle, out="second")
    assert idle.asked == []


def test_seeds_depend_on_the_recipe_the_prompt_and_the_sample_alone():
    one = {p.id: seeds_of(p.id, range(3), seed=4, consecutive=False) for p in PROMPTS}
    assert {p.id: seeds_of(p.id, range(1, 3), seed=4, consecutive=False) for p in PROMPTS} == {
        name: seeds[1:] for name, seeds in one.items()
    }
    assert len({seed for seeds in one.values() for seed in seeds}) == 18
    assert all(0 <= seed < 2**31 for seeds in one.values() for seed in seeds)
    assert sample_seed(5, PROMPTS[0].id, 0) != sample_seed(4, PROMPTS[0].id, 0)
    later = seeds_of(PROMPTS[0].id, range(2, 4), seed=4, consecutive=True)
    assert later == (one[PROMPTS[0].id][0] + 2, one[PROMPTS[0].id][0] + 3)


def test_a_prompt_that_stands_twice_is_asked_once(tmp_path):
    jsonl.write(tmp_path / "prompts.jsonl", [*PROMPTS, PROMPTS[0]])
    prompts = asked(tmp_path / "prompts.jsonl")
    assert list(prompts.places) == [p.id for p in PROMPTS]
    told = [messages for _, messages, _ in prompts.conversations([PROMPTS[4].id, PROMPTS[0].id])]
    assert told == [PROMPTS[4].messages, PROMPTS[0].messages]
    assert asked(tmp_path / "prompts.jsonl", sealed=True).places == prompts.places


@pytest.mark.parametrize("logp", [None, -12.5])
@pytest.mark.parametrize("text", ["Yes.", "", "<think>Hm.</think>Ja — \u2028 naïve 🙂", '<think>"never\\ closed'])
def test_a_candidates_row_is_what_the_record_would_write(text, logp):
    sample = {"text": text, "n_tokens": 3, "finish_reason": "stop", "logp": logp, "thinking": None}
    row = candidate(PROMPTS[0].id, sample, model=MODEL, place=2, seed=7)
    assert canonical(row) == jsonl.dumps(Candidate.model_validate(row))


def test_more_prompts_and_more_samples_cost_only_the_new_ones(tmp_path):
    run(tmp_path, Urn(ANSWERS), out="first", samples_per_prompt=2)
    more = Urn(ANSWERS)
    grown = run(tmp_path, more, out="second", samples_per_prompt=5)
    assert more.n_drawn == 3 * len(PROMPTS)
    (tmp_path / "anew").mkdir()
    assert candidates(grown) == candidates(run(tmp_path / "anew", Urn(ANSWERS), samples_per_prompt=5))
    again = Urn(ANSWERS)
    wider = run(tmp_path, again, out="third", samples_per_prompt=5, prompts=[*PROMPTS, OTHER])
    assert again.asked == [OTHER.id]
    assert candidates(wider)[:-5] == candidates(grown)


def test_another_setting_is_another_answer_and_is_drawn_anew(tmp_path):
    run(tmp_path, Urn(ANSWERS), out="first")
    warm = Urn(ANSWERS)
    run(tmp_path, warm, out="second", temperature=1.5)
    assert len(warm.asked) == len(PROMPTS)


def test_several_writers_answer_each_prompt_with_settings_of_their_own(tmp_path):
    writers = ({"name": "cool", "temperature": 0.3}, {"name": "warm", "samples_per_prompt": 2})
    urn = Urn(ANSWERS)
    made = candidates(run(tmp_path, urn, writers=writers))
    assert [(one.model, one.sample) for one in made[:5]] == [
        ("cool", 0),
        ("cool", 1),
        ("cool", 2),
        ("warm", 0),
        ("warm", 1),
    ]
    assert urn.temperatures == [0.3, 0.8]


class Models(TestTools):
    """Each model has an urn of its own."""

    def __init__(self, work: Path, urns: dict[str, Urn]) -> None:
        super().__init__(work, seed=4)
        self.urns = urns
        self.told: dict[str, Any] = {}

    def sampler(self, model: Path, config: Any = None) -> Urn:
        name = model.parent.name
        self.told[name] = config
        return self.urns[name]


def test_each_writer_writes_with_the_model_it_names_and_one_model_is_open_at_a_time(tmp_path):
    def drawn(out: str, base: str, sft: str, urns: dict[str, Urn]) -> list[Candidate]:
        (tmp_path / "data").mkdir(exist_ok=True)
        jsonl.write(tmp_path / "data" / "prompts.jsonl", PROMPTS)
        (tmp_path / out).mkdir()
        writers = ({"name": "after"}, {"name": "before", "model": "base"}, {"name": "hot", "temperature": 2.0})
        step = GenerateStep(samples_per_prompt=2, writers=writers)
        inputs = {"model": artifact(tmp_path / "sft", sft), "base": artifact(tmp_path / "base", base),
                  "data": artifact(tmp_path / "data")}  # fmt: skip
        tools = Models(tmp_path / "work", urns)
        generate.run(step, inputs, tmp_path / out, tools)
        assert [one.name for one in tools.told["sft"].writers] == ["after", "hot"]
        assert [one.name for one in tools.told["base"].writers] == ["before"]
        return candidates(tmp_path / out)

    urns = {"sft": Urn(ANSWERS), "base": Urn(["Old.", "Older."])}
    made = drawn("first", "b" * 64, "c" * 64, urns)
    assert [(one.model, one.sample) for one in made[:6]] == [
        (name, place) for name in ("after", "before", "hot") for place in range(2)
    ]
    assert {one.model for one in made if one.completion[-1].content in ("Old.", "Older.")} == {"before"}
    assert all(urn.closed for urn in urns.values())
    again = {"sft": Urn(ANSWERS), "base": Urn(["Old.", "Older."])}
    assert drawn("second", "b" * 64, "e" * 64, again)
    assert (len(again["sft"].asked), again["base"].asked) == (2 * len(PROMPTS), []), "base has not changed"


def test_an_adapter_that_was_trained_again_is_asked_again(tmp_path):
    weights = tmp_path / "adapter" / "weights"
    weights.parent.mkdir()
    asked_again = []
    for content, out in (("one", "first"), ("one", "second"), ("two", "third")):
        weights.write_text(content)
        urn = Urn(ANSWERS)
        run(tmp_path, urn, out=out, writers=({"name": "tuned", "adapter": str(weights.parent)},))
        asked_again.append(len(urn.asked))
    assert asked_again == [len(PROMPTS), 0, len(PROMPTS)]


def test_a_prompt_without_an_answer_is_kept_counted_and_told(tmp_path):
    urn = Urn(
        ANSWERS, refuses={PROMPTS[2].id: Unanswered("too_long", "the prompt has 900 tokens, and the context is 512")}
    )
    folder = run(tmp_path, urn)
    (row,) = [json.loads(line) for line in (folder / "unanswered.jsonl").read_text().splitlines()]
    assert (row["prompt_id"], row["reason"], row["n_samples"]) == (PROMPTS[2].id, "too_long", 0)
    assert len(candidates(folder)) == 15
    assert json.loads((folder / "summary.json").read_text())["n_unanswered"] == 1
    again = Urn(ANSWERS)
    run(tmp_path, again, out="second")
    assert again.asked == [], "it would be too long again"


def test_where_no_prompt_gets_an_answer_there_is_an_error(tmp_path):
    urn = Urn(ANSWERS, refuses={p.id: Unanswered("too_long", "900 tokens") for p in PROMPTS})
    with pytest.raises(RecordError, match="none of 6 prompts got an answer: too_long: 900 tokens"):
        run(tmp_path, urn)


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


def test_a_sampler_that_leaves_answers_out_is_found_out(tmp_path):
    with pytest.raises(BackendError, match=r"2 answers to prompt \w{12}, expected 3"):
        run(tmp_path, Urn(ANSWERS, at_most=2))


def test_repeats_empty_and_cut_answers_are_counted():
    tally = Tally()
    for i, own in enumerate(
        [
            [Sample("Yes.", 2, "stop"), Sample("Yes. ", 2, "length"), Sample("", 0, "stop")],
            [Sample("Yes.", 2, "stop"), Sample("No.", 2, "stop"), Sample("<think>No.", 2, "length")],
        ]
    ):
        tally.add([candidate(PROMPTS[i].id, vars(one), model=MODEL, place=n, seed=n) for n, one in enumerate(own)])
    summary = tally.summary()
    assert (summary["n_repeated"], summary["n_empty"], summary["n_cut_short"]) == (1, 2, 2)
    assert summary["n_unfinished_thoughts"] == 1
    assert summary["no_pair_share"] == 0.5, "an empty answer makes no pair"


@pytest.mark.parametrize(
    ("text", "thought", "answer"),
    [
        ("<think>\nHm.\n</think>\n\nYes.", "Hm.", "Yes."),
        ("Yes.", None, "Yes."),
        ("Write <think> tags </think>.", None, "Write <think> tags </think>."),
        ("<think>never closed", "never closed", ""),
    ],
)
def test_what_was_thought_is_kept_apart_from_what_was_said(text, thought, answer):
    assert split_thought(text) == (thought, answer)
