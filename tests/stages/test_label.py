"""What is compared, who says what of it, and when enough has been said."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from align.configs import JudgeConfig, LabelConfig, LabelStep, SimulatedPeople
from align.errors import RecipeError, RecordError, Waiting
from align.ports import Told
from align.preference.asking import comparisons
from align.records import Annotator, Candidate, Comparison, Judgment, Message, Ordering, Preference, Prompt
from align.stages import label
from align.stages.label import covered, sift
from align.store import jsonl
from align.testbed import tasks
from align.testbed.world import make_world
from tests.workshop import TestTools, artifact

PROMPTS = {one.id: one for one in tasks.prompts(make_world(0), 12, 0)}
TEXTS = ("Sorry, I cannot tell you how to do that.", "Obviously. First take the rope.", "No.", "No.", " ")


def answers(texts: tuple[str, ...] = TEXTS) -> list[Candidate]:
    return [
        Candidate(prompt_id=name, completion=(Message(role="assistant", content=text),), model="m", sample=i)
        for name in PROMPTS
        for i, text in enumerate(texts)
    ]


def shown(**knobs: Any) -> list[Comparison]:
    return comparisons(answers(), PROMPTS, **{"per_prompt": 2, "guideline": None, "round": 1, "seed": 0, **knobs})


def run(root: Path, config: LabelConfig, *, out: str = "out", prompts: dict[str, Prompt] = PROMPTS) -> Path:
    made, data, folder = root / "candidates", root / "data", root / out
    for one in (made, data, folder):
        one.mkdir(exist_ok=True)
    jsonl.write(made / "candidates.jsonl", answers())
    jsonl.write(data / "prompts.jsonl", prompts.values())
    inputs = {"candidates": artifact(made), "data": artifact(data)}
    label.run(config, inputs, folder, TestTools(root / "work"))
    return folder


def says(one: Comparison, name: str, *, first: bool = True, **fields: Any) -> Judgment:
    groups = tuple((answer,) for answer in (one.candidate_ids if first else one.candidate_ids[::-1]))
    return Judgment(
        comparison_id=one.id,
        pair_id=one.pair_id,
        prompt_id=one.prompt_id,
        candidate_ids=one.candidate_ids,
        annotator=name,
        verdict=Ordering(groups=groups),
        **{"provenance": "human", **fields},
    )


def test_a_prompts_different_answers_are_compared_each_pair_once():
    found = shown(per_prompt=9)
    assert Counter(one.prompt_id for one in found) == dict.fromkeys(PROMPTS, 3), "three distinct texts, so three pairs"
    assert len({one.pair_id for one in found}) == len(found)
    said = {candidate.id: candidate.text for candidate in answers()}
    assert all(len({said[name] for name in one.candidate_ids}) == 2 for one in found)
    assert not any(said[name].strip() == "" for one in found for name in one.candidate_ids)


def test_which_answer_is_shown_first_is_a_coin_kept_with_the_comparison():
    found = [pair for seed in range(20) for pair in shown(seed=seed, per_prompt=1)]
    n = sum(one.candidate_ids == tuple(sorted(one.candidate_ids)) for one in found)
    assert 0.4 < n / len(found) < 0.6
    assert shown() == shown()


def test_the_order_of_candidates_changes_no_comparison():
    mixed = comparisons(answers()[::-1], PROMPTS, per_prompt=2, guideline=None, round=1, seed=0)
    assert mixed == shown()


def test_another_guideline_or_round_is_another_question_about_the_same_pairs():
    for knobs in ({"guideline": "f" * 64}, {"round": 2}):
        other = shown(**knobs)
        assert not {one.id for one in other} & {one.id for one in shown()}
        assert [set(one.candidate_ids) for one in other] == [set(one.candidate_ids) for one in shown()]


def test_candidates_of_other_prompts_are_refused():
    stray = Candidate(prompt_id="e" * 64, completion=(Message(role="assistant", content="Hm."),), model="m")
    with pytest.raises(RecordError, match=r"prompt eeeeeeeeeeee is not among the prompts"):
        comparisons([stray], PROMPTS, per_prompt=1, guideline=None, round=1, seed=0)


def test_a_repeat_counts_once_a_changed_mind_counts_last_and_strangers_are_set_aside():
    one, other, *_ = shown()
    lost = one.model_copy(update={"round": 9})
    lost = Comparison(**lost.model_dump(exclude={"id", "schema"}))
    mixed_up = says(other, "cyd").model_copy(update={"comparison_id": one.id})
    said = [
        says(one, "ana"),
        says(one, "ana"),
        says(one, "ben"),
        says(one, "ben", first=False),
        says(lost, "ana"),
        mixed_up,
    ]
    found = sift(said, [one, other])
    assert found.judgments == (says(one, "ana"), says(one, "ben", first=False))
    assert found.n_repeated == 1
    assert found.set_aside == (
        ("changed later", says(one, "ben")),
        ("of an unknown comparison", says(lost, "ana")),
        ("of other answers than the comparison showed", mixed_up),
    )


def test_one_name_is_one_kind_of_annotator():
    one = shown()[0]
    with pytest.raises(RecordError, match=r"annotator 'ana' is `human` in one row and `judge` in another"):
        sift([says(one, "ana"), says(one, "ana", provenance="judge")], [one])


def test_coverage_counts_annotators_and_not_rows():
    one = shown()[0]
    twice = sift([says(one, "ana"), says(one, "ana", first=False)], [one])
    assert covered(twice.judgments, [one], 1) == 1
    assert covered(twice.judgments, [one], 2) == 0


def test_simulated_people_are_marked_and_the_same_each_time(tmp_path):
    config = LabelConfig(comparisons_per_prompt=2)
    first, second = run(tmp_path, config, out="first"), run(tmp_path, config, out="second")
    for name in ("comparisons.jsonl", "judgments.jsonl", "annotators.jsonl", "summary.json"):
        assert (first / name).read_bytes() == (second / name).read_bytes()
    said = list(jsonl.read(first / "judgments.jsonl", Judgment))
    assert len(said) == 3 * len(list(jsonl.read(first / "comparisons.jsonl", Comparison))) == 72
    assert {one.provenance for one in said} == {"simulated"}
    assert {one.name for one in jsonl.read(first / "annotators.jsonl", Annotator)} == {one.annotator for one in said}
    summary = json.loads((first / "summary.json").read_text())
    assert summary["provenance"] == {"simulated": 72}
    assert 0 < summary["agreement"]["krippendorff_alpha"] < 1


def test_more_annotators_than_there_are_is_the_recipes_mistake(tmp_path):
    people = SimulatedPeople(careful=1, first_biased=0, spammers=0)
    with pytest.raises(RecipeError, match=r"3 annotators wanted, but label\.people has 1"):
        run(tmp_path, LabelConfig(people=people))


def test_simulated_people_refuse_prompts_that_are_not_the_testbeds(tmp_path):
    real = Prompt(messages=(Message(role="user", content="What is love?"),), source="q.jsonl:1")
    made = [
        Candidate(prompt_id=real.id, completion=(Message(role="assistant", content=text),), model="m") for text in "ab"
    ]
    (tmp_path / "candidates").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "out").mkdir()
    jsonl.write(tmp_path / "candidates/candidates.jsonl", made)
    jsonl.write(tmp_path / "data/prompts.jsonl", [real])
    inputs = {"candidates": artifact(tmp_path / "candidates"), "data": artifact(tmp_path / "data")}
    with pytest.raises(RecordError, match=r"q\.jsonl:1: not a prompt of the testbed"):
        label.run(LabelConfig(), inputs, tmp_path / "out", TestTools(tmp_path / "work"))


def test_people_at_a_file_are_waited_for_and_then_frozen(tmp_path):
    file = tmp_path / "people" / "judgments.jsonl"
    config = LabelConfig(desk="file", judgments=str(file), comparisons_per_prompt=1, annotators_per_comparison=2)
    with pytest.raises(
        Waiting, match=r"^0 of 12 comparisons have 2 judgments; write Judgment rows to .*judgments\.jsonl; "
    ):
        run(tmp_path, config)
    published = [row for _, row in jsonl.rows(tmp_path / "people/judgments.comparisons.jsonl")]
    assert len(published) == 12
    assert list((tmp_path / "out").iterdir()) == [], "nothing is committed while people work"

    def write(n: int) -> None:
        rows = [
            {"comparison_id": row["comparison_id"], "annotator": who, "provenance": "human", "choice": "first"}
            for row in published[:n]
            for who in ("ana", "ben")
        ]
        stale = {"comparison_id": "0" * 64, "annotator": "ana", "provenance": "human", "choice": "tie"}
        file.write_text("".join(json.dumps(row) + "\n" for row in [*rows, stale]))

    write(5)
    with pytest.raises(
        Waiting, match=r"^5 of 12 comparisons have 2 judgments \(1 rows set aside: 1 of an unknown comp"
    ):
        run(tmp_path, config)
    write(12)
    out = run(tmp_path, config)
    assert len(list(jsonl.read(out / "judgments.jsonl", Judgment))) == 24
    summary = json.loads((out / "summary.json").read_text())
    assert summary["set_aside"] == {"of an unknown comparison": 1}
    assert [row["reason"] for _, row in jsonl.rows(out / "set_aside.jsonl")] == ["of an unknown comparison"]
    assert summary["provenance"] == {"human": 24}


def test_a_guideline_enters_the_name_of_each_comparison(tmp_path):
    (tmp_path / "helpful.md").write_text("Prefer what helps.")
    plain = run(tmp_path, LabelConfig(), out="plain")
    guided = run(tmp_path, LabelConfig(guideline=str(tmp_path / "helpful.md")), out="guided")
    names = [{one.id for one in jsonl.read(out / "comparisons.jsonl", Comparison)} for out in (plain, guided)]
    assert not names[0] & names[1]
    assert str(tmp_path) not in (guided / "comparisons.jsonl").read_text()


def test_a_share_is_shown_again_swapped_and_joins_the_pair_it_repeats(tmp_path):
    out = run(tmp_path, LabelConfig(comparisons_per_prompt=2, repeat_share=0.5))
    summary = json.loads((out / "summary.json").read_text())
    put_up = list(jsonl.read(out / "comparisons.jsonl", Comparison))
    assert (summary["n_comparisons"], summary["n_shown_again"], len(put_up)) == (36, 12, 36)
    by_pair = Counter(one.pair_id for one in put_up)
    assert sorted(by_pair.values()) == [1] * 12 + [2] * 12
    first, second = put_up[:24], put_up[24:]
    assert {one.candidate_ids[::-1] for one in second} <= {one.candidate_ids for one in first}
    assert sum(row["consistent"]["n"] for row in summary["annotators"]) == 12 * 3, "the same three judge it again"


def test_known_answers_stand_among_the_others_and_are_judged_apart(tmp_path):
    known = [one for one in tasks.prompts(make_world(1), 30, 1) if one.meta["kind"] == "fact"]
    rows = [
        Preference(
            prompt=one.messages,
            chosen=(Message(role="assistant", content=f"Gladly. {one.meta['stem']} {one.meta['expected']}."),),
            rejected=(Message(role="assistant", content="Hm."),),
            meta=one.meta,
        )
        for one in known
    ]
    jsonl.write(tmp_path / "gold.jsonl", rows)
    people = SimulatedPeople(careful=2, first_biased=0, spammers=1, noise=0)
    config = LabelConfig(comparisons_per_prompt=2, gold=str(tmp_path / "gold.jsonl"), people=people)
    out = run(tmp_path, config)
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["n_gold"], summary["n_comparisons"], summary["n_judgments"]) == (10, 34, 72)
    assert {row["name"]: row["gold"]["share"] for row in summary["annotators"]} == {
        "careful-1": 1.0, "careful-2": 1.0, "spammer-1": pytest.approx(0.5, abs=0.4),
    }  # fmt: skip
    gold = {row["comparison_id"] for _, row in jsonl.rows(out / "gold.jsonl")}
    put_up = [one.id for one in jsonl.read(out / "comparisons.jsonl", Comparison)]
    places = [i for i, name in enumerate(put_up) if name in gold]
    assert len(gold) == 10
    assert places[0] < 12 < places[-1], "not all at one end"
    assert not gold & {one.comparison_id for one in jsonl.read(out / "judgments.jsonl", Judgment)}
    assert len(list(jsonl.read(out / "gold_judgments.jsonl", Judgment))) == 30


def test_gold_that_knows_no_better_answer_is_refused_by_its_line(tmp_path):
    file = tmp_path / "gold.jsonl"
    row = {"prompt": "Q?", "chosen": "A.", "rejected": "B."}
    file.write_text(json.dumps(row) + "\n" + json.dumps({**row, "chosen": "B.", "rejected": "A."}) + "\n")
    with pytest.raises(RecordError, match=r"gold\.jsonl:2: prefers the answer that another row rejects"):
        run(tmp_path, LabelConfig(gold=str(file)))
    file.write_text(json.dumps({**row, "rejected": "A."}) + "\n")
    with pytest.raises(RecordError, match=r"gold\.jsonl:1: chosen equals rejected"):
        run(tmp_path, LabelConfig(gold=str(file)), out="again")


def test_pairs_are_put_up_once_more_in_another_round_without_what_was_said(tmp_path):
    first = run(tmp_path, LabelConfig(comparisons_per_prompt=2), out="first")
    inputs = {name: artifact(tmp_path / name) for name in ("candidates", "data")}
    (tmp_path / "again").mkdir()
    config = LabelStep(asks="again", share=0.25, at_least=5)
    label.run(config, {**inputs, "label": artifact(first)}, tmp_path / "again", TestTools(tmp_path / "work"))
    before = {one.id: one for one in jsonl.read(first / "comparisons.jsonl", Comparison)}
    after = list(jsonl.read(tmp_path / "again/comparisons.jsonl", Comparison))
    assert len(after) == 6
    assert {one.round for one in after} == {2}
    assert not {one.id for one in after} & set(before)
    assert {frozenset(one.candidate_ids) for one in after} <= {frozenset(one.candidate_ids) for one in before.values()}
    with pytest.raises(RecipeError, match=r"input `label` is missing"):
        label.run(config, inputs, tmp_path / "again", TestTools(tmp_path / "work"))


def test_a_judge_is_asked_both_ways_and_what_it_could_not_say_waits_for_nobody(tmp_path):
    asked: list[Comparison] = []

    class Judging:
        def publish(self, prompts: Any, candidates: Any, put_up: list[Comparison]) -> None:
            asked.extend(put_up)

        def pull(self) -> list[Judgment]:
            return [says(one, "judge m", provenance="judge") for one in asked[2:]]

        def told(self) -> Told:
            rows = [
                {"reason": "unreadable: no verdict", "comparison_id": one.id, "reply": "11/10"} for one in asked[:2]
            ]
            return Told({"n_read": len(asked) - 2}, rows, frozenset(one.id for one in asked[:2]))

        def where(self) -> str:
            return "nowhere"

    (tmp_path / "work").mkdir()
    config = LabelConfig(desk="judge", judge=JudgeConfig(urls=("http://127.0.0.1:1/v1",), model="m"))
    for name in ("candidates", "data", "out"):
        (tmp_path / name).mkdir()
    jsonl.write(tmp_path / "candidates/candidates.jsonl", answers())
    jsonl.write(tmp_path / "data/prompts.jsonl", PROMPTS.values())
    inputs = {name: artifact(tmp_path / name) for name in ("candidates", "data")}
    label.run(config, inputs, tmp_path / "out", TestTools(tmp_path / "work", desk=lambda _: Judging()))
    assert len(asked) == 72
    assert set(Counter(one.pair_id for one in asked).values()) == {2}
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert summary["set_aside"] == {"unreadable: no verdict": 2}
    assert summary["desk"] == {"n_read": 70}
    assert summary["n_judgments"] == 70
