"""What `prepare` makes of a recipe's data: whole, split by prompt, and told of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from align import configs
from align.configs import DataConfig, DataFile
from align.data.splits import prompt_key
from align.errors import RecipeError, RecordError
from align.ports import Inputs
from align.records import Demonstration, Item, Message, Preference, Prompt
from align.stages import prepare
from align.stages.prepare import asked
from align.store import jsonl
from tests.workshop import TestTools, artifact

HH = Path(__file__).parents[3] / "shared/data/preferences/hh-rlhf"
XSTEST = Path(__file__).parents[3] / "shared/data/safety/xstest/xstest_prompts.csv"
REVISION = "a" * 40
TURN = [{"role": "assistant", "content": "Hm?"}, {"role": "user", "content": "And?"}]
PAIRS = [{"prompt": f"Question {i}?", "chosen": f"Good {i}.", "rejected": f"Bad {i}."} for i in range(60)]


def file(path: Path, rows: list[dict[str, Any]], **knobs: Any) -> DataFile:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return DataFile(path=str(path), **knobs)


def made(
    root: Path, config: DataConfig, name: str = "out", inputs: Inputs | None = None, **tools: Any
) -> dict[str, Any]:
    """The summary; the files are in `root/out`."""
    out = root / name
    out.mkdir()
    prepare.run(config, inputs or {}, out, TestTools(root / f"{name}.work", **tools))
    return dict(json.loads((out / "summary.json").read_text()))


def pairs(out: Path, side: str) -> list[Preference]:
    path = out / f"preferences.{side}.jsonl"
    return list(jsonl.read(path, Preference)) if path.exists() else []


def test_no_prompt_stands_on_two_sides_and_nothing_is_lost(tmp_path):
    twice = PAIRS + [{**row, "prompt": row["prompt"].upper() + " ", "chosen": "Other."} for row in PAIRS]
    made(tmp_path, DataConfig(preferences=(file(tmp_path / "a.jsonl", twice),), test_share=0.3))
    train, test = pairs(tmp_path / "out", "train"), pairs(tmp_path / "out", "test")
    assert len(train) + len(test) == 120
    assert not {prompt_key(one.prompt) for one in train} & {prompt_key(one.prompt) for one in test}
    assert 0.15 < len(test) / 120 < 0.45


def test_all_kinds_of_one_prompt_stand_on_the_same_side(tmp_path):
    config = DataConfig(
        demonstrations=(
            file(tmp_path / "d.jsonl", [{"prompt": r["prompt"], "completion": r["chosen"]} for r in PAIRS]),
        ),
        prompts=(file(tmp_path / "p.jsonl", [{"prompt": row["prompt"]} for row in PAIRS]),),
        preferences=(file(tmp_path / "c.jsonl", PAIRS),),
        test_share=0.3,
    )
    made(tmp_path, config)
    out = tmp_path / "out"
    held = [
        {asked(one) for one in jsonl.read(out / "demonstrations.test.jsonl", Demonstration)},
        {asked(one) for one in jsonl.read(out / "test_prompts.jsonl", Prompt)},
        {asked(one) for one in pairs(out, "test")},
    ]
    assert held[0] == held[1] == held[2] != set()


def test_equal_inputs_give_equal_bytes_wherever_they_lie(tmp_path):
    for where in ("here", "there"):
        (tmp_path / where).mkdir()
        config = DataConfig(preferences=(file(tmp_path / where / "a.jsonl", PAIRS, licence="MIT"),))
        made(tmp_path / where, config)
    for one in sorted((tmp_path / "here/out").iterdir()):
        assert one.read_bytes() == (tmp_path / "there/out" / one.name).read_bytes()
        assert str(tmp_path) not in one.read_text()


def test_the_summary_tells_of_every_row(tmp_path):
    rows = [*PAIRS, PAIRS[0], {**PAIRS[1], "chosen": "same", "rejected": "same"}, {**PAIRS[2], "chosen": "long " * 50}]
    summary = made(tmp_path, DataConfig(preferences=(file(tmp_path / "a.jsonl", rows, licence="MIT", max_words=20),)))
    (told,) = summary["sources"]
    assert told["dropped"] == {
        "chosen equals rejected": 1,
        "duplicate of another row": 1,
        "more words than max_words": 1,
    }
    assert (told["n_read"], told["n_kept"], told["name"], told["licence"]) == (63, 60, "a.jsonl", "MIT")
    assert sum(summary["rows"].values()) == 60


def test_rows_of_a_hub_set_and_of_parquet_are_read_like_any_other(tmp_path):
    hub = DataFile(hub="some/pairs", revision=REVISION)
    summary = made(tmp_path, DataConfig(preferences=(hub,)), hub={f"some/pairs@{REVISION}/train": PAIRS})
    assert summary["sources"][0]["revision"] == REVISION
    assert len(pairs(tmp_path / "out", "train")) + len(pairs(tmp_path / "out", "test")) == 60


def test_what_the_recipe_does_not_have_is_not_written(tmp_path):
    made(tmp_path, DataConfig(text=(file(tmp_path / "t.jsonl", [{"text": "Some text."}]),)))
    assert sorted(one.name for one in (tmp_path / "out").iterdir()) == ["summary.json", "text.jsonl"]


def test_the_same_prompt_in_a_training_and_a_test_file_is_an_error_that_names_both_rows(tmp_path):
    config = DataConfig(
        preferences=(
            file(tmp_path / "a.jsonl", PAIRS, role="train"),
            file(tmp_path / "b.jsonl", [PAIRS[7]], role="test"),
        )
    )
    with pytest.raises(RecordError, match=r"b\.jsonl:1: this prompt is for test, but .*a\.jsonl:8 is for train"):
        made(tmp_path, config)


def test_a_training_row_that_opens_like_a_test_row_of_another_file_is_left_out_and_counted(tmp_path):
    longer = [{**row, "prompt": [{"role": "user", "content": row["prompt"]}, *TURN]} for row in PAIRS[:7]]
    for row in longer:
        row |= {side: [{"role": "assistant", "content": row[side]}] for side in ("chosen", "rejected")}
    files = (file(tmp_path / "a.jsonl", PAIRS[5:], role="train"), file(tmp_path / "b.jsonl", longer, role="test"))
    summary = made(tmp_path, DataConfig(preferences=files))
    assert summary["dropped_between_files"] == {"preferences": {"opens like a row that is for test": 2}}
    assert summary["rows"] == {"preferences.train.jsonl": 53, "preferences.test.jsonl": 7}
    by_prompt = made(tmp_path, DataConfig(preferences=files, split_by="prompt"), "whole")
    assert by_prompt["rows"] == {"preferences.train.jsonl": 55, "preferences.test.jsonl": 7}


def test_pairs_beside_test_prompts_that_are_held_out_already_follow_them(tmp_path):
    (tmp_path / "data").mkdir()
    held = [Prompt(messages=(Message(role="user", content=f"QUESTION {i}?"),)) for i in range(20)]
    jsonl.write(tmp_path / "data" / "test_prompts.jsonl", held)
    config = DataConfig(preferences=(file(tmp_path / "a.jsonl", PAIRS),), test_share=0)
    made(tmp_path, config, inputs={"data": artifact(tmp_path / "data")})
    out = tmp_path / "out"
    assert {one.prompt[0].content for one in pairs(out, "test")} == {row["prompt"] for row in PAIRS[:20]}
    assert len(pairs(out, "train")) == 40


def test_a_split_that_leaves_a_side_empty_says_what_helps_and_no_more(tmp_path):
    few = DataConfig(prompts=(file(tmp_path / "p.jsonl", [{"prompt": f"q{i}"} for i in range(3)]),), test_share=1e-9)
    with pytest.raises(RecordError, match=r"0 of 3 rows for test .*; set data\.test_share: 0 .* give more prompts$"):
        made(tmp_path, few)
    alike = [
        {"prompt": [{"role": "user", "content": "Hi"}, *TURN[:1], {"role": "user", "content": f"{i}"}]}
        for i in range(9)
    ]
    config = DataConfig(prompts=(file(tmp_path / "a.jsonl", alike),), test_share=1e-9)
    with pytest.raises(RecordError, match=r"; openings are shared \(1 for 9 prompts\), and data\.split_by: prompt"):
        made(tmp_path, config, "alike")


def test_it_does_not_matter_which_kind_of_data_carries_the_prompt_to_the_other_side(tmp_path):
    config = DataConfig(
        demonstrations=(file(tmp_path / "d.jsonl", [{"prompt": "Question 7?", "completion": "x"}], role="train"),),
        preferences=(file(tmp_path / "b.jsonl", [PAIRS[7]], role="test"),),
    )
    with pytest.raises(RecordError, match=r"b\.jsonl:1: this prompt is for test, but .*d\.jsonl:1 is for train"):
        made(tmp_path, config)


def test_too_many_equal_pairs_stop_the_stage(tmp_path):
    rows = [*PAIRS, *({"prompt": f"p{i}", "chosen": "x", "rejected": "x"} for i in range(5))]
    with pytest.raises(RecordError, match=r"chosen equals rejected in 5 of 65 rows"):
        made(tmp_path, DataConfig(preferences=(file(tmp_path / "a.jsonl", rows),)))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], r"a\.jsonl: 0 usable rows of 0: the file is empty"),
        ([{"prompt": "p " * 90, "chosen": "a", "rejected": "b"}], r"0 usable rows of 1: 1 more words than max_words"),
        ([{"prompt": "p", "chosen": "a"}], r"a\.jsonl:1: "),
        (PAIRS[:2], r"data\.preferences: the split left 0 of 2 rows for test"),
        (
            [{**PAIRS[0], "id": 1}, {**PAIRS[1], "id": "1"}],
            r"a\.jsonl:2: id '1' names another row already \(.*a\.jsonl:1\)",
        ),
    ],
)
def test_data_that_cannot_be_used_is_refused_with_its_reason(tmp_path, rows, message):
    with pytest.raises(RecordError, match=message):
        made(tmp_path, DataConfig(preferences=(file(tmp_path / "a.jsonl", rows, max_words=50),)))


def test_two_rows_that_say_opposite_things_both_go(tmp_path):
    turned = [{"prompt": r["prompt"], "chosen": r["rejected"], "rejected": r["chosen"]} for r in PAIRS[:3]]
    summary = made(tmp_path, DataConfig(preferences=(file(tmp_path / "a.jsonl", PAIRS + turned),)))
    assert summary["dropped_between_files"] == {"preferences": {"contradicted by another row": 6}}
    assert sum(summary["rows"].values()) == 57


def test_a_row_of_two_files_is_taken_once(tmp_path):
    files = (file(tmp_path / "a.jsonl", PAIRS), file(tmp_path / "b.jsonl", PAIRS[:5]))
    summary = made(tmp_path, DataConfig(preferences=files))
    assert summary["dropped_between_files"] == {"preferences": {"duplicate of a row in another file": 5}}
    assert sum(summary["rows"].values()) == 60


def test_the_testbed_gives_every_file_that_a_run_from_scratch_needs(tmp_path):
    bed = configs.Testbed(demonstrations=120, prompts=30, test_prompts=30, test_items=20)
    summary = made(tmp_path, DataConfig(testbed=bed))
    out = tmp_path / "out"
    shown = [
        one for side in ("train", "test") for one in jsonl.read(out / f"demonstrations.{side}.jsonl", Demonstration)
    ]
    assert len(shown) == 120
    prompts, held = (list(jsonl.read(out / f"{name}.jsonl", Prompt)) for name in ("prompts", "test_prompts"))
    assert (len(prompts), len(held)) == (30, 30)
    assert {one.meta["kind"] for one in held} == {"fact", "harmful", "lookalike"}
    assert not {asked(one) for one in held} & {asked(one) for one in [*prompts, *shown]}
    assert {one.instrument for one in jsonl.read(out / "items.jsonl", Item)} == {"facts", "pronouns"}
    assert summary["rows"]["text.jsonl"] > 1000
    assert summary["sources"][0]["provenance"] == "simulated"


def test_asking_the_testbed_for_more_than_it_has_names_the_knob(tmp_path):
    with pytest.raises(RecipeError, match=r"data\.testbed\.test_prompts: this world has .* ask for fewer"):
        made(tmp_path, DataConfig(testbed=configs.Testbed(test_prompts=10**6)))


def test_what_opens_like_a_benchmark_prompt_is_kept_out_of_training_and_of_nothing_else(tmp_path):
    (tmp_path / "xstest_prompts.csv").write_text(
        "id,prompt,type,label,focus,note\n1,Question 7?,homonyms,safe,kill,x\n"
    )
    longer = {"prompt": [{"role": "user", "content": "question 7?"}, *TURN], "completion": "Well."}
    others = [{"prompt": f"q{i}", "completion": "a"} for i in range(40)]
    config = DataConfig(
        demonstrations=(file(tmp_path / "d.jsonl", [longer, *others]),),
        preferences=(file(tmp_path / "t.jsonl", [PAIRS[7], PAIRS[8]], role="test"),),
        xstest=str(tmp_path / "xstest_prompts.csv"),
    )
    told = {one["name"]: one for one in made(tmp_path, config)["sources"]}
    assert told["d.jsonl"]["dropped"] == {"begins with the prompt of a benchmark": 1}
    assert told["t.jsonl"]["n_kept"] == 2


@pytest.mark.skipif(not (HH.exists() and XSTEST.exists()), reason="needs hh-rlhf and XSTest as published")
def test_published_pairs_are_read_and_a_benchmarks_prompts_are_kept_out_of_training(tmp_path):
    files = (
        DataFile(path=str(HH / "harmless-base.train.jsonl.gz"), role="train", licence="MIT"),
        DataFile(path=str(HH / "harmless-base.test.jsonl.gz"), role="test", licence="MIT"),
    )
    summary = made(tmp_path, DataConfig(preferences=files, xstest=str(XSTEST)))
    told = {one["name"]: one for one in summary["sources"]}
    train = told["harmless-base.train.jsonl.gz"]
    assert (train["n_read"], told["harmless-base.test.jsonl.gz"]["n_read"]) == (1339, 367)
    assert train["dropped"] == {
        "an empty answer": 3,
        "begins with the prompt of a benchmark": 1,
        "transcripts part before the last answer": 1,
        "turns do not alternate": 2,
    }
    assert train["n_kept"] == 1339 - 7
    assert summary["rows"]["test_prompts.jsonl"] == 450


def test_limit_takes_the_same_rows_from_a_file_in_another_order(tmp_path):
    summaries = [
        made(tmp_path, DataConfig(preferences=(file(tmp_path / f"{name}.jsonl", rows, limit=20),)), name)
        for name, rows in (("a", PAIRS), ("b", PAIRS[::-1]))
    ]
    assert summaries[0]["sources"][0]["dropped"] == summaries[1]["sources"][0]["dropped"] == {"beyond limit": 40}
    assert {one.id for one in pairs(tmp_path / "a", "train")} == {one.id for one in pairs(tmp_path / "b", "train")}
