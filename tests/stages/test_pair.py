"""Preferences on disk: split by prompt, every judgment accounted for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from align.configs import PairConfig
from align.data.splits import opening_key, prompt_key, side
from align.errors import RecordError
from align.records import Candidate, Comparison, Judgment, Message, Ordering, Preference, Prompt, Ranking
from align.stages import pair
from align.stages.pair import split
from align.store import jsonl
from tests.workshop import TestTools, artifact

PROMPTS = [Prompt(messages=(Message(role="user", content=f"Question {i}?"),)) for i in range(40)]
ANSWERS = {
    one.id: [
        Candidate(prompt_id=one.id, completion=(Message(role="assistant", content=text),), model="m", sample=i)
        for i, text in enumerate(("Yes.", "No, not at all.", "Perhaps."))
    ]
    for one in PROMPTS
}


def votes(winners: tuple[int | None, ...] = (0, 0, 1)) -> list[Judgment]:
    """On each prompt's first two answers, one judgment for each of `winners`: 0, 1 or None for a tie."""
    made = []
    for prompt in PROMPTS:
        names = tuple(one.id for one in ANSWERS[prompt.id][:2])
        one = Comparison(prompt_id=prompt.id, candidate_ids=names)
        for i, winner in enumerate(winners):
            groups = (names,) if winner is None else ((names[winner],), (names[1 - winner],))
            made.append(
                Judgment(
                    comparison_id=one.id,
                    pair_id=one.pair_id,
                    prompt_id=prompt.id,
                    candidate_ids=names,
                    annotator=f"p{i}",
                    provenance="human",
                    verdict=Ordering(groups=groups),
                )
            )
    return made


ACCEPT = {"accept_low_agreement": True, "accept_flagged_annotators": True}
"""`votes` are two against one on every pair, each voter always for the same place: suspect, and no agreement."""


def run(
    root: Path, judgments: list[Judgment], config: PairConfig | None = None, *, accept: dict[str, bool] = ACCEPT
) -> dict[str, Any]:
    folders = {name: root / name for name in ("label", "candidates", "data", "out")}
    for folder in folders.values():
        folder.mkdir(parents=True)
    jsonl.write(folders["label"] / "judgments.jsonl", judgments)
    jsonl.write(folders["candidates"] / "candidates.jsonl", [one for own in ANSWERS.values() for one in own])
    jsonl.write(folders["data"] / "prompts.jsonl", PROMPTS)
    inputs = {name: artifact(folders[name]) for name in ("label", "candidates", "data")}
    config = (config or PairConfig()).model_copy(update=accept)
    pair.run(config, inputs, folders["out"], TestTools(root / "work"))
    return dict(json.loads((folders["out"] / "summary.json").read_text()))


def test_the_pairs_can_be_read_by_any_trainer_of_conversations(tmp_path):
    run(tmp_path, votes())
    row = next(row for _, row in jsonl.rows(tmp_path / "out/preferences.train.jsonl"))
    assert row["prompt"][0]["role"] == "user"
    assert row["chosen"] == [{"role": "assistant", "content": "Yes."}]
    assert row["rejected"] == [{"role": "assistant", "content": "No, not at all."}]
    assert len(row["judgment_ids"]) == 3


def test_the_summary_tells_how_people_agreed(tmp_path):
    summary = run(tmp_path, votes(), PairConfig(test_share=0.3))
    assert (summary["n_judgments"], summary["n_compared"], summary["n_unanimous"], summary["n_cycles"]) == (
        120,
        40,
        0,
        0,
    )
    assert summary["agreement"]["raw"] == pytest.approx(1 / 3)
    assert summary["longer_chosen_share"] == 0.0
    assert summary["n_train"] + summary["n_test"] == 40
    assert [one["name"] for one in summary["annotators"]] == ["p0", "p1", "p2"]
    assert summary["annotators"][2]["with_others"]["share"] == 0.0


def test_all_pairs_of_a_prompt_stand_on_one_side():
    pairs = [
        Preference(prompt=prompt.messages, chosen=a.completion, rejected=b.completion)
        for prompt in PROMPTS
        for a, b in (ANSWERS[prompt.id][:2], ANSWERS[prompt.id][1:])
    ]
    train, test = split(pairs, test_share=0.3)
    assert len(train) + len(test) == 80
    assert not {one.prompt for one in train} & {one.prompt for one in test}
    assert 5 < len(test) < 45


def test_prompts_that_prepare_left_for_training_are_split_again_and_not_all_trained_on():
    asked = [(Message(role="user", content=f"Number {i}?"),) for i in range(400)]
    left = [one for one in asked if side(opening_key(one), test_share=0.2, salt="prepare") == "train"]
    left += [one for one in asked if side(prompt_key(one), test_share=0.2, salt="prepare") == "train"]
    yes, no = (answer.completion for answer in ANSWERS[PROMPTS[0].id][:2])
    train, test = split([Preference(prompt=one, chosen=yes, rejected=no) for one in left], test_share=0.2)
    assert len(train) + len(test) == len(left)
    assert 0.1 < len(test) / len(left) < 0.3


def test_conversations_that_open_alike_stand_on_one_side_and_single_questions_where_they_stood():
    yes, no = (answer.completion for answer in ANSWERS[PROMPTS[0].id][:2])
    more = tuple(Message(role=role, content=text) for role, text in (("assistant", "Hm?"), ("user", "And?")))
    asked = [turns for one in PROMPTS for turns in (one.messages, (*one.messages, *more))]
    train, test = split([Preference(prompt=one, chosen=yes, rejected=no) for one in asked], test_share=0.3)
    assert len(train) % 2 == len(test) % 2 == 0
    assert not {one.prompt[0] for one in train} & {one.prompt[0] for one in test}
    held = {one.messages for one in PROMPTS if side(prompt_key(one.messages), test_share=0.3, salt="pair") == "test"}
    assert {one.prompt for one in test if len(one.prompt) == 1} == held != set()


def test_without_a_test_share_everything_is_trained_on(tmp_path):
    summary = run(tmp_path, votes(), PairConfig(test_share=0.0))
    assert (summary["n_train"], summary["n_test"]) == (40, 0)
    assert not (tmp_path / "out/preferences.test.jsonl").exists()


def test_the_order_of_judgments_changes_no_byte(tmp_path):
    run(tmp_path / "a", votes())
    run(tmp_path / "b", votes()[::-1])
    for one in sorted((tmp_path / "a/out").iterdir()):
        assert one.read_bytes() == (tmp_path / "b/out" / one.name).read_bytes()


def test_where_no_pair_is_left_the_reasons_are_given(tmp_path):
    with pytest.raises(RecordError, match=r"0 usable pairs of 40: 40 tie"):
        run(tmp_path, votes((0, 1, None)))
    with pytest.raises(RecordError, match=r"0 usable pairs of 0: nothing was judged"):
        run(tmp_path / "none", [])


@pytest.mark.parametrize("what", ["prompt", "candidate"])
def test_a_judgment_of_something_else_is_named_by_its_line(tmp_path, what):
    said = votes()
    one = said[4]
    if what == "prompt":
        said[4] = Judgment(**{**dict(one), "prompt_id": "e" * 64})
    else:
        names = ("e" * 64, one.candidate_ids[1])
        said[4] = Judgment(**{**dict(one), "candidate_ids": names, "verdict": Ordering(groups=(names,))})
    with pytest.raises(RecordError, match=rf"judgments\.jsonl:5: {what} eeeeeeeeeeee found, which is not among the"):
        run(tmp_path, said)


def test_orders_of_three_answers_become_rankings_beside_their_pairs_and_never_on_both_sides(tmp_path):
    judgments = []
    for prompt in PROMPTS:
        names = tuple(one.id for one in ANSWERS[prompt.id])
        one = Comparison(prompt_id=prompt.id, candidate_ids=names)
        for who, best in (("p0", 0), ("p1", 0), ("p2", 2)):
            groups = ((names[best],), (names[1],), (names[2 - best],))
            judgments.append(
                Judgment(
                    comparison_id=one.id,
                    pair_id=one.pair_id,
                    prompt_id=prompt.id,
                    candidate_ids=names,
                    annotator=who,
                    provenance="human",
                    verdict=Ordering(groups=groups),
                )
            )
    summary = run(tmp_path, judgments, PairConfig(test_share=0.3))
    found = {side: list(jsonl.read(tmp_path / f"out/rankings.{side}.jsonl", Ranking)) for side in ("train", "test")}
    assert summary["rankings"] == {"train": len(found["train"]), "test": len(found["test"]), "dropped": {}}
    assert len(found["train"]) + len(found["test"]) == 120
    assert summary["n_train"] + summary["n_test"] == 120
    for kind, held in (
        ("rankings", found["test"]),
        ("pairs", jsonl.read(tmp_path / "out/preferences.test.jsonl", Preference)),
    ):
        assert not {one.prompt for one in held} & {one.prompt for one in found["train"]}, kind
    assert {one.groups for one in found["train"]} <= {
        ((i,), (j,), (k,)) for i in range(3) for j in range(3) for k in range(3)
    }


def test_pairs_alone_give_no_rankings(tmp_path):
    assert run(tmp_path, votes())["rankings"] == {"train": 0, "test": 0, "dropped": {}}
    assert not (tmp_path / "out/rankings.train.jsonl").exists()
