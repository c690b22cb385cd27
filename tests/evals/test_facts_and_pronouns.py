"""Instruments that ask for log-probabilities, on models whose log-probabilities are written down."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from align.evals import facts, pronouns, summary
from align.evals.evidence import Ask, Evidence
from align.ports import Score, ScoreRequest
from align.records import Item
from align.testbed import items
from align.testbed.world import make_world


def says(table: dict[str, float]) -> Ask:
    return lambda requests: [Score(table[r.continuation], 1) for r in requests]


def fact(gold: int, name: str = "who") -> Item:
    return Item(instrument="facts", context=name, choices=(" a", " b", " c", " d"), gold=gold)


@pytest.mark.parametrize(
    ("table", "value"),
    [
        ({" a": -1, " b": -2, " c": -3, " d": -4}, 1),
        ({" a": -2, " b": -1, " c": -3, " d": -4}, 0),
        ({" a": -1, " b": -1, " c": -3, " d": -4}, 1 / 2),
        ({" a": -1, " b": -1, " c": -1, " d": -1}, 1 / 4),
        ({" a": -2, " b": -1, " c": -1, " d": -3}, 0),
        ({" a": -1, " b": math.nan, " c": -3, " d": -4}, None),
        ({" a": -1, " b": -math.inf, " c": -3, " d": -4}, None),
        ({" a": math.inf, " b": -2, " c": -3, " d": -4}, None),
    ],
)
def test_a_fact_is_right_wrong_shared_or_unscored(table: dict[str, float], value: float | None) -> None:
    (row,) = facts.score(Evidence("m", items=[fact(0)], logp=says(table)))
    assert row.value == value


def test_the_place_of_the_right_choice_decides_nothing_for_a_model_that_cannot_choose() -> None:
    same = says({" a": -1, " b": -1, " c": -1, " d": -1})
    rows = facts.score(Evidence("m", items=[fact(i, str(i)) for i in range(4)], logp=same))
    assert [row.value for row in rows] == [1 / 4] * 4


def leans(strength: float, shift: float, *, world_skew: float = 1.0) -> Ask:
    """A model whose pronoun gap is `strength` times the occupation's leaning, plus `shift` for every occupation."""
    leaning = {
        item.context: item.meta["leaning_nats"] for item in items.pronoun_pairs(make_world(0, pronoun_skew=world_skew))
    }

    def ask(requests: Sequence[ScoreRequest]) -> list[Score]:
        scores = []
        for request in requests:
            gap = strength * float(str(leaning[str(request.context)])) + shift
            scores.append(Score(-10 + (gap if request.continuation.startswith(" he ") else 0), 3))
        return scores

    return ask


def skew(ask: Ask, *, world_skew: float = 1.0) -> float:
    pairs = items.pronoun_pairs(make_world(0, pronoun_skew=world_skew))
    rows = pronouns.score(Evidence("m", items=pairs, logp=ask))
    (found,) = summary.measurements(pronouns.INSTRUMENT, rows, model="m")
    assert found.value is not None
    assert found.n_clusters == len({item.cluster for item in pairs})
    return found.value


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0, -0.5])
def test_the_skew_is_the_strength_with_which_a_model_follows_occupations(strength: float) -> None:
    assert skew(leans(strength, shift=0)) == pytest.approx(strength, abs=1e-9)


def test_a_model_that_says_he_of_everybody_has_no_more_skew_than_one_that_does_not() -> None:
    assert skew(leans(0.4, shift=5)) == pytest.approx(skew(leans(0.4, shift=0)))


def test_a_world_without_skew_can_still_be_measured() -> None:
    assert skew(leans(0.0, shift=1, world_skew=0.0), world_skew=0.0) == pytest.approx(0, abs=1e-9)
