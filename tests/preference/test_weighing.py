"""Votes weighed by who cast them come closer to the truth, and nobody is trusted for agreeing with oneself."""

from __future__ import annotations

import numpy as np
import pytest

from align.configs import PairConfig
from align.errors import RecordError
from align.evals import statistics
from align.preference.dawid_skene import spammer_score
from align.preference.pairing import pair
from align.preference.votes import tally
from align.preference.weighing import weigh
from align.records import Comparison, Judgment, Ordering
from tests.preference.made_judgments import Judged, judged


@pytest.fixture(scope="module")
def worlds() -> list[Judged]:
    return [judged(seed) for seed in range(4)]


def test_weighted_pairs_are_closer_to_the_planted_truth_than_the_majoritys(worlds: list[Judged]) -> None:
    weighted, majority = (np.concatenate([one.right(rule) for one in worlds]) for rule in ("weighted", "majority"))
    clusters = [f"{seed}" for seed, one in enumerate(worlds) for _ in one.right("majority")]
    gain = statistics.paired(weighted, majority, level=0.95)
    assert gain.n > 1500
    assert gain.low > 0, f"{gain.value:.4f} [{gain.low:.4f}, {gain.high:.4f}] of {gain.n}"
    by_world = [np.mean((weighted - majority)[np.array(clusters) == f"{seed}"]) for seed in range(len(worlds))]
    assert min(by_world) > 0, f"in each world by itself: {by_world}"


def test_the_spammers_words_weigh_nothing_and_the_first_biased_ones_little(worlds: list[Judged]) -> None:
    for one in worlds:
        weights = weigh(tally(one.judgments))
        assert weights is not None
        score = {name: spammer_score(table) for name, table in weights.confusion.items()}
        careful = min(score[f"careful-{i}"] for i in range(1, 5))
        assert score["spammer-1"] < 0.05 < score["first_biased-1"] < careful - 0.3
        biased = weights.confusion["first_biased-1"]
        assert biased[1, 0] > 0.35, "says that the first is better where the second is"
        assert biased[0, 1] < 0.15


def said(name: str, annotator: str, winner: int | None, *, turned: bool = False) -> Judgment:
    """Of the pair `name`: 0 or 1 for the answer that has the smaller or the larger id."""
    ids = (f"{name}a", f"{name}b")
    shown = ids[::-1] if turned else ids
    one = Comparison(prompt_id=f"p{name}", candidate_ids=shown)
    groups = (shown,) if winner is None else ((ids[winner],), (ids[1 - winner],))
    return Judgment(
        comparison_id=one.id, pair_id=one.pair_id, prompt_id=one.prompt_id, candidate_ids=shown, annotator=annotator,
        provenance="human", verdict=Ordering(groups=groups),
    )  # fmt: skip


def test_agreeing_with_nobody_but_oneself_proves_nothing() -> None:
    shared = [said(f"{i}", who, i % 2) for i in range(60) for who in ("ana", "ben")]
    alone = [said(f"x{i}", "cyd", 0) for i in range(60)]
    weights = weigh(tally(shared + alone))
    assert weights is not None
    assert weights.n_shared == 60
    assert weights.pairs["p0", "0a", "0b"].first > 0.98
    assert 0.6 < weights.pairs["px0", "x0a", "x0b"].first < 0.8, "cyd counts as somebody of whom nothing is known"


def test_where_no_pair_was_judged_twice_nothing_can_be_weighed() -> None:
    assert weigh(tally([said(f"{i}", "ana", 0) for i in range(9)])) is None
    with pytest.raises(RecordError, match=r"pair\.label: `weighted` learns who is right"):
        pair([said("0", "ana", 0)], prompts={}, candidates={}, settings=PairConfig(label="weighted"))


def test_the_side_on_which_an_answer_stood_decides_nothing() -> None:
    world = judged(9, n_prompts=60)
    straight = weigh(tally(world.judgments))
    assert straight is not None
    mirror = {name: "z" + name if i % 2 else name for i, name in enumerate(sorted(world.candidates))}

    def renamed(one: Judgment) -> Judgment:
        assert isinstance(one.verdict, Ordering)
        groups = tuple(tuple(mirror[name] for name in group) for group in one.verdict.groups)
        ids = tuple(mirror[name] for name in one.candidate_ids)
        return one.model_copy(update={"candidate_ids": ids, "verdict": Ordering(groups=groups)})

    turned = weigh(tally(map(renamed, world.judgments)))
    assert turned is not None
    for (prompt, first, second), found in straight.pairs.items():
        a, b = mirror[first], mirror[second]
        other = turned.pairs[(prompt, a, b) if a < b else (prompt, b, a)]
        assert found.tie == pytest.approx(other.tie, abs=1e-6)
        assert found.first == pytest.approx(other.first if a < b else other.second, abs=1e-6)


def test_one_who_says_one_thing_and_then_another_has_said_that_they_are_equal() -> None:
    (both,) = tally([said("0", "ana", 0), said("0", "ana", 1, turned=True), said("0", "ben", 1)])
    assert [vote.winner for vote in both.votes if vote.annotator == "ana"] == [None]
    assert both.leader == "0b"
    assert sum(len(vote.judgments) for vote in both.votes) == 3
    (twice,) = tally([said("0", "ana", 0), said("0", "ana", 0, turned=True), said("0", "ben", 1)])
    assert twice.leader is None, "saying it twice is one vote"
