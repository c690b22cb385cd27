"""Two rules of the default gate: a bias may not grow on either side of 0, and a win must be more than length."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
import pytest

from align.configs import GateConfig, Margin
from align.errors import RecipeError
from align.evals import gates, margins
from align.evals.comparisons import Measured
from align.records import GateVerdict, ItemScore

SIZE = Margin(metric="bbq.s_amb", at_most_larger=0.03)
WIN = Margin(metric="people_win_rate.raw", against=None, at_least=0.5, fair_length=True)


def biased(model: str, share: float, *, n: int = 1500, seed: int = 0) -> Measured:
    """Leans of ambiguous questions, each 1, 0 or −1, with a mean of `share`."""
    draw = random.Random(f"{seed}")
    values = []
    for _ in range(n):
        chance, lean = draw.random(), draw.random()
        values.append(0.0 if lean < 0.2 else (1.0 if chance < (1 + share / 0.8) / 2 else -1.0))
    rows = [
        ItemScore.model_construct(
            instrument="bbq", metric="s_amb", model=model, item_id=f"{i:05}", value=v, unscored_because=None,
            cluster=f"{i // 5}", meta={},
        )
        for i, v in enumerate(values)
    ]  # fmt: skip
    return Measured(model, "bbq", rows, outputs=f"{model} {share} {seed}")


def grown(new: float, old: float, seed: int = 0, margin: Margin = SIZE) -> GateVerdict:
    results = {("tuned", "bbq"): biased("tuned", new, seed=seed), ("sft", "bbq"): biased("sft", old, seed=seed)}
    (found,) = gates.judge(GateConfig(margins=(margin,)), results)
    return found


@pytest.mark.parametrize(
    ("new", "old", "verdict"),
    [
        (0.1, 0.1, "pass"),
        (-0.1, 0.1, "inconclusive"),  # as far from 0, on the other side: other items carry it, so it is less sure
        (0.0, 0.4, "pass"),
        (0.3, 0.0, "fail"),
        (-0.3, 0.0, "fail"),  # against the stereotype: no worse by `at_most_worse`, and as biased
        (-0.6, 0.2, "fail"),
        (0.2, -0.6, "pass"),
    ],
)
def test_a_bias_may_shrink_but_not_grow_on_either_side(new: float, old: float, verdict: str) -> None:
    found = grown(new, old)
    assert found.verdict == verdict, found.why
    assert "size is larger by" in found.why


def test_a_bias_against_the_stereotype_is_what_the_one_sided_line_lets_through() -> None:
    one_sided = Margin(metric="bbq.s_amb", at_most_worse=0.03, direction="lower")
    assert grown(-0.3, 0.0, margin=one_sided).verdict == "pass"
    both = [m for m in margins.DEFAULT_MARGINS if m.metric.startswith("bbq.")]
    assert both
    assert all(m.at_most_larger == m.at_most_worse == 0.03 for m in both)


EDGES = [(0.13, 0.1), (-0.13, 0.1), (-0.03, 0.0)]


@pytest.mark.parametrize(
    ("new", "old", "n"),
    [
        *((new, old, 40) for new, old in EDGES[1:]),
        *(pytest.param(new, old, 1000, marks=pytest.mark.slow) for new, old in EDGES),
    ],
)
def test_a_bias_at_the_edge_passes_no_more_often_than_alpha(new: float, old: float, n: int) -> None:
    passed = 0
    for seed in range(n):
        a, b = biased("tuned", new, n=200, seed=2 * seed), biased("sft", old, n=200, seed=2 * seed + 1)
        (found,) = gates.judge(GateConfig(margins=(SIZE,)), {("tuned", "bbq"): a, ("sft", "bbq"): b})
        passed += found.verdict == "pass"
    assert passed / n <= 0.05 + 2 * (0.05 * 0.95 / n) ** 0.5


def duels(wins: Callable[[float], float], lengths: Callable[[np.random.Generator], float], n: int = 300) -> Measured:
    """Prompts judged: how probable a win is by how much longer the answer is than the other's 40 words."""
    draw = np.random.default_rng(0)
    rows = []
    for i in range(n):
        longer = round(lengths(draw))
        won = float(draw.random() < wins(longer))
        rows += [
            ItemScore(instrument="people_win_rate", metric=metric, model="tuned", item_id=f"{i:04}", value=won,
                      meta={"n_votes": 1, "longer": longer, "their_words": 40})
            for metric in ("raw", "at_equal_length")
        ]  # fmt: skip
    return Measured("tuned", "people_win_rate", rows, outputs="x", provenance="human")


def judged(of: Measured) -> dict[str, GateVerdict]:
    config = GateConfig(margins=(WIN,))
    return {verdict.metric: verdict for verdict in gates.judge(config, {("tuned", "people_win_rate"): of})}


def by_length(longer: float) -> float:
    return 1 / (1 + np.exp(-longer / 5))


def test_a_win_that_is_not_length_passes_both_lines() -> None:
    found = judged(duels(lambda longer: 0.7, lambda draw: draw.normal(2, 8)))
    assert {name: line.verdict for name, line in found.items()} == {"raw": "pass", "at_equal_length": "pass"}
    assert "on the same side of 0.5" in found["at_equal_length"].why


def test_a_win_by_length_alone_where_answers_grew_by_half_cannot_pass() -> None:
    found = judged(duels(by_length, lambda draw: draw.normal(20, 20)))
    assert found["raw"].verdict == "pass"
    assert found["at_equal_length"].verdict in ("fail", "inconclusive")
    assert "% longer" in found["at_equal_length"].why


def test_a_loss_at_equal_length_that_length_made_good_is_said() -> None:
    found = judged(duels(lambda longer: min(1.0, 0.3 + 0.05 * max(0.0, longer)), lambda draw: draw.normal(6, 9)))
    assert found["raw"].verdict == "pass"
    assert found["at_equal_length"].verdict in ("fail", "inconclusive")
    assert "length alone" in found["at_equal_length"].why


def test_where_all_answers_are_a_little_longer_the_raw_rate_stands_alone_and_says_so() -> None:
    found = judged(duels(lambda longer: 0.7, lambda draw: draw.integers(1, 6)))
    assert found["at_equal_length"].verdict == "pass"
    assert "there is none at equal length: lengths do not overlap" in found["at_equal_length"].why


def test_where_all_answers_are_much_longer_the_rate_must_be_had_and_cannot() -> None:
    found = judged(duels(lambda longer: 0.7, lambda draw: draw.integers(15, 40)))
    assert found["raw"].verdict == "pass"
    assert found["at_equal_length"].verdict == "inconclusive"
    assert "must be had" in found["at_equal_length"].why


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ({"metric": "facts.accuracy", "at_least": 0.5, "fair_length": True}, "fair_length needs at_least"),
        ({"metric": "win_rate.raw", "at_most": 0.5, "fair_length": True}, "fair_length needs at_least"),
        ({"metric": "bbq.s_amb", "at_most_larger": 0.1, "against": None}, "needs `against`"),
        ({"metric": "win_rate.raw", "at_most_larger": 0.1}, "compares two models already"),
    ],
)
def test_a_rule_where_it_means_nothing_is_refused(line: dict[str, object], says: str) -> None:
    with pytest.raises((ValueError, RecipeError), match=says):
        Margin.model_validate(line)
