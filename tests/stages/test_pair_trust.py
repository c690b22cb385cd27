"""Pairs that should not be trained on are refused, and what is uncertain about the others goes with them."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest

from align.configs import LabelStep, PairConfig, SimulatedPeople
from align.errors import RecordError
from align.preference import relabelled
from align.preference.judges import beside
from align.preference.votes import tally
from align.records import Comparison, Judgment, Ordering, Preference
from align.stages import label, pair
from align.store import jsonl
from tests.preference.made_judgments import Judged, judged
from tests.workshop import TestTools, artifact

NOISY = SimulatedPeople(careful=6, first_biased=0, spammers=0, noise=0.2)


def folders(root: Path, world: Judged) -> dict[str, Any]:
    made = {name: root / name for name in ("label", "candidates", "data")}
    for folder in made.values():
        folder.mkdir(parents=True, exist_ok=True)
    jsonl.write(made["label"] / "judgments.jsonl", world.judgments)
    jsonl.write(made["candidates"] / "candidates.jsonl", world.candidates.values())
    jsonl.write(made["data"] / "prompts.jsonl", world.prompts.values())
    return {name: artifact(folder) for name, folder in made.items()}


def run(root: Path, inputs: dict[str, Any], config: PairConfig | None = None) -> dict[str, Any]:
    out = root / "out"
    out.mkdir()
    pair.run(config or PairConfig(), inputs, out, TestTools(root / "work"))
    return dict(json.loads((out / "summary.json").read_text()))


def with_other_words(world: Judged, **fields: Any) -> Judged:
    """The world judged by somebody else."""
    return Judged(world.prompts, world.candidates, world.shown, fields["judgments"])


def first_everywhere(name: str, shown: list[Comparison]) -> list[Judgment]:
    return [
        Judgment(
            comparison_id=one.id, pair_id=one.pair_id, prompt_id=one.prompt_id, candidate_ids=one.candidate_ids,
            annotator=name, provenance="human", verdict=Ordering(groups=tuple((c,) for c in one.candidate_ids)),
        )
        for one in shown
    ]  # fmt: skip


@pytest.fixture(scope="module")
def noisy() -> Judged:
    return judged(3, n_prompts=150, people=NOISY)


def test_hardly_any_agreement_is_no_ground_to_train_on_unless_the_recipe_says_so(tmp_path: Path) -> None:
    world = judged(0, n_prompts=60, people=SimulatedPeople(careful=0, first_biased=0, spammers=4))
    inputs = folders(tmp_path, world)
    with pytest.raises(
        RecordError, match=r"alpha is -?0\.\d\d over \d+ pairs, below 0\.2: .*pair\.accept_low_agreement"
    ):
        run(tmp_path, inputs)
    for left in (tmp_path / "out").iterdir():
        left.unlink()
    (tmp_path / "out").rmdir()
    told = run(tmp_path, inputs, PairConfig(accept_low_agreement=True, accept_flagged_annotators=True))
    assert told["agreement"]["intervals"]["krippendorff_alpha"][1] < 0.2


def test_one_label_a_pair_has_no_agreement_and_that_is_not_low(tmp_path: Path) -> None:
    world = judged(0, n_prompts=60, per_comparison=1, people=SimulatedPeople(careful=1, first_biased=0, spammers=0))
    told = run(tmp_path, folders(tmp_path, world))
    assert told["agreement"]["krippendorff_alpha"] is None
    assert told["warnings"][0].startswith("one annotator, careful-1, gave all")


def test_people_who_all_take_the_first_agree_perfectly_and_are_refused(tmp_path: Path) -> None:
    world = judged(0, n_prompts=60)
    world = with_other_words(world, judgments=[j for n in ("ana", "ben") for j in first_everywhere(n, world.shown)])
    with pytest.raises(
        RecordError, match=r"100% of the judgments come from annotators whose manner is suspect \(ana pre"
    ):
        run(tmp_path, folders(tmp_path, world))


def test_a_judge_with_a_liking_for_a_seat_is_told_of_and_used_where_it_says_the_same_in_both(tmp_path: Path) -> None:
    world = judged(0, n_prompts=100)
    rng, said = Random(0), []
    for one in _right(world):
        swapped = Comparison(prompt_id=one.prompt_id, candidate_ids=one.candidate_ids[::-1])
        for shown in (Comparison(prompt_id=one.prompt_id, candidate_ids=one.candidate_ids), swapped):
            verdict = Ordering(groups=tuple((c,) for c in shown.candidate_ids)) if rng.random() < 0.5 else one.verdict
            said.append(
                Judgment(
                    comparison_id=shown.id, pair_id=shown.pair_id, prompt_id=shown.prompt_id,
                    candidate_ids=shown.candidate_ids, annotator="judge m", provenance="judge", verdict=verdict,
                )
            )  # fmt: skip
    told = run(tmp_path, folders(tmp_path, with_other_words(world, judgments=said)))
    assert {"side", "consistent"} <= set(told["annotators"][0]["monitors"])
    assert told["n_train"] > 80
    assert told["dropped"]["tie"] > 80
    person = [one.model_copy(update={"provenance": "human", "annotator": "ana"}) for one in said]
    with pytest.raises(RecordError, match=r"manner is suspect \(ana prefers"):
        run(tmp_path / "person", folders(tmp_path / "person", with_other_words(world, judgments=person)))


@pytest.mark.parametrize("noise", [0.1, 0.2])
def test_pairs_judged_twice_tell_how_often_a_label_is_wrong(tmp_path: Path, noise: float) -> None:
    """Three people, each wrong with probability p: their majority is wrong with p²(3 − 2p), ties aside."""
    people = SimulatedPeople(careful=6, first_biased=0, spammers=0, noise=noise)
    world = judged(4, n_prompts=150, people=people)
    inputs = folders(tmp_path, world)
    (tmp_path / "again").mkdir()
    step = LabelStep(asks="again", people=people, share=1.0)
    label.run(step, inputs, tmp_path / "again", TestTools(tmp_path / "work"))
    told = run(tmp_path, {**inputs, "again": artifact(tmp_path / "again")})
    found = told["relabelled"]["noise"]["all"]
    planted = noise**2 * (3 - 2 * noise)
    assert found["low"] <= planted <= found["high"], found
    rows = list(jsonl.read(tmp_path / "out/preferences.train.jsonl", Preference))
    epsilons = {one.agreement == 1.0: one.epsilon for one in rows}
    assert epsilons[True] is not None
    assert epsilons[False] is not None
    assert epsilons[True] < found["epsilon"] < epsilons[False] < 0.5, "split pairs are less sure than unanimous ones"
    assert told["mean_epsilon"] == pytest.approx(found["epsilon"], abs=0.03)
    assert all(one.flip == one.epsilon for one in rows)


def test_a_soft_label_says_its_noise_itself(tmp_path: Path, noisy: Judged) -> None:
    inputs = folders(tmp_path, noisy)
    (tmp_path / "again").mkdir()
    step = LabelStep(asks="again", people=NOISY)
    label.run(step, inputs, tmp_path / "again", TestTools(tmp_path / "work"))
    inputs["again"] = artifact(tmp_path / "again")
    told = run(tmp_path, inputs, PairConfig(label="weighted"))
    rows = list(jsonl.read(tmp_path / "out/preferences.train.jsonl", Preference))
    assert {one.epsilon for one in rows} == {None}
    assert told["relabelled"]["noise"]["all"]["n"] > 50
    assert told["rule"] == "weighted"
    assert 0.7 < told["mean_label"] < 1
    assert all(one.flip == 1 - one.label for one in rows)


def test_labels_that_go_the_other_way_the_second_time_are_noise(tmp_path: Path, noisy: Judged) -> None:
    inputs = folders(tmp_path, noisy)
    (tmp_path / "again").mkdir()
    turned = [one.model_copy(update={"verdict": _turned(one)}) for one in noisy.judgments]
    jsonl.write(tmp_path / "again/judgments.jsonl", turned)
    with pytest.raises(
        RecordError, match=r"pairs that were judged again, \d+% went the other way: the labels are noise"
    ):
        run(tmp_path, {**inputs, "again": artifact(tmp_path / "again")})


def _turned(one: Judgment) -> Ordering:
    assert isinstance(one.verdict, Ordering)
    return Ordering(groups=one.verdict.groups[::-1])


@pytest.mark.parametrize(("d", "e"), [(0.0, 0.0), (0.18, 0.1), (0.32, 0.2), (0.5, 0.5), (0.9, 0.5)])
def test_noise_from_disagreement_by_hand(d: float, e: float) -> None:
    assert relabelled.flipped(d) == pytest.approx(e)


def test_the_pairs_to_judge_again_are_spread_and_each_is_as_likely(noisy: Judged) -> None:
    tallies = tally(noisy.judgments)
    source = {name: f"file {i % 2}" for i, name in enumerate(noisy.prompts)}

    def taken(seed: int, **knobs: Any) -> list[Any]:
        return relabelled.chosen(tallies, source=source, seed=seed, **{"share": 0.1, "at_least": 100, **knobs})

    assert len(taken(0)) == 100
    assert len(taken(0, at_least=10)) == int(np.ceil(len(tallies) / 10))
    assert len(taken(0, at_least=10**6)) == len(tallies)
    assert len({id(one) for one in taken(0)}) == 100, "none twice"
    halves = sum(source[one.prompt_id] == "file 0" for one in taken(0))
    assert 45 <= halves <= 55
    split = np.mean([relabelled.stratum(one) == "split" for one in tallies])
    assert np.mean([relabelled.stratum(one) == "split" for one in taken(0)]) == pytest.approx(split, abs=0.02)
    counts = np.zeros(len(tallies))
    place = {id(one): i for i, one in enumerate(tallies)}
    for seed in range(80):
        for one in taken(seed):
            counts[place[id(one)]] += 1
    assert counts.sum() == 80 * 100
    assert abs(counts / 80 - 100 / len(tallies)).max() < 0.25


def test_a_judge_is_held_against_peoples_majority_on_the_pairs_they_share(tmp_path: Path, noisy: Judged) -> None:
    good = [one.model_copy(update={"annotator": "judge good", "provenance": "judge"}) for one in _right(noisy)]
    seat = [one.model_copy(update={"provenance": "judge"}) for one in first_everywhere("judge seat", noisy.shown)]
    found = {one.judge: one for one in beside([*noisy.judgments, *good, *seat])}
    assert found["judge good"].n > 200
    assert found["judge good"].kappa is not None
    assert found["judge seat"].kappa is not None
    assert found["judge good"].people_kappa is not None
    assert found["judge good"].kappa > found["judge good"].people_kappa > 0.2 > abs(found["judge seat"].kappa)
    limits = found["judge good"].kappa_interval
    assert limits is not None
    assert limits[0] < found["judge good"].kappa < limits[1]
    assert beside(noisy.judgments) == []
    inputs = folders(tmp_path, noisy)
    (tmp_path / "judge").mkdir()
    jsonl.write(tmp_path / "judge/judgments.jsonl", good)
    told = run(tmp_path, {**inputs, "judge": artifact(tmp_path / "judge")})
    assert [row["judge"] for row in told["judges"]] == ["judge good"]
    assert told["provenance"] == {"simulated": told["n_train"] + told["n_test"]}, "its verdicts make no pair"


def _right(world: Judged) -> list[Judgment]:
    """What somebody says who knows the truth."""
    made = []
    better = {(one.prompt_id, one.first, one.second): world.better(one) for one in tally(world.judgments)}
    for one in world.shown:
        first, second = sorted(one.candidate_ids)
        best = better[one.prompt_id, first, second]
        groups = (one.candidate_ids,) if best is None else ((best,), tuple(c for c in one.candidate_ids if c != best))
        made.append(
            Judgment(
                comparison_id=one.id, pair_id=one.pair_id, prompt_id=one.prompt_id, candidate_ids=one.candidate_ids,
                annotator="truth", provenance="rule", verdict=Ordering(groups=groups),
            )
        )  # fmt: skip
    return made
