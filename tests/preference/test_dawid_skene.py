"""Errors and truths found together: as the paper has it, as another implementation has it, and as it was planted."""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from align.preference.dawid_skene import Fit, Labels, dawid_skene, spammer_score

NONE = np.zeros((3, 3))


def planted(seed: int, *, n_items: int = 150, n_annotators: int = 12, per_item: int = 5) -> tuple[Labels, np.ndarray]:
    """Labels of three classes by annotators of unequal care, and the truth."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, n_items)
    care = rng.uniform(0.4, 0.95, n_annotators)
    rows = [
        (item, who, truth[item] if rng.random() < care[who] else rng.integers(0, 3))
        for item in range(n_items)
        for who in rng.choice(n_annotators, per_item, replace=False)
    ]
    return Labels.of(*zip(*rows, strict=True)), truth


def fitted(labels: Labels, pseudo: np.ndarray = NONE, **knobs: object) -> Fit:
    n = {"n_items": int(labels.item.max()) + 1, "n_annotators": int(labels.annotator.max()) + 1}
    return dawid_skene(labels, pseudo=pseudo, **n, **knobs)  # type: ignore[arg-type]


@pytest.mark.parametrize("rounds", [1, 2, 30])
def test_without_pseudo_counts_it_is_crowd_kits(rounds: int) -> None:
    import pandas as pd
    from crowdkit.aggregation import DawidSkene

    labels, _ = planted(0)
    table = pd.DataFrame({"task": labels.item, "worker": labels.annotator, "label": labels.label})
    theirs = DawidSkene(n_iter=rounds, tol=-math.inf).fit(table)
    # their tables are of the truths that the last round found, ours of those that it began with
    before = DawidSkene(n_iter=rounds - 1, tol=-math.inf).fit(table)
    ours = fitted(labels, tolerance=-math.inf, most_rounds=rounds)
    assert len(ours.objective) == rounds
    assert ours.posterior == pytest.approx(theirs.probas_.loc[range(150), [0, 1, 2]].to_numpy(), abs=1e-6)
    errors = before.errors_[[0, 1, 2]]
    for who in range(12):
        assert ours.confusion[who] == pytest.approx(errors.loc[who].loc[[0, 1, 2]].to_numpy().T, abs=1e-6)


def plainly(
    rows: list[tuple[int, int, int, bool]], pseudo: np.ndarray, turn: tuple[int, ...], rounds: int
) -> dict[int, list[float]]:
    """The same model once more, in dictionaries and loops."""
    n = len(turn)
    truth: dict[int, list[float]] = {}
    for item in {row[0] for row in rows}:
        own = [turn[label] if turned else label for i, _, label, turned in rows if i == item]
        truth[item] = [own.count(c) / len(own) for c in range(n)]
    for _ in range(rounds):
        prior = [sum(t[c] + t[turn[c]] for t in truth.values()) / 2 / len(truth) for c in range(n)]
        table: dict[tuple[int, int, int], float] = defaultdict(float)
        for item, who, label, turned in rows:
            for c in range(n):
                table[who, turn[c] if turned else c, label] += truth[item][c]
        for who in {row[1] for row in rows}:
            for c in range(n):
                total = sum(table[who, c, label] + pseudo[c][label] for label in range(n))
                for label in range(n):
                    table[who, c, label] = (table[who, c, label] + pseudo[c][label]) / total
        for item in truth:
            weight = [
                prior[c]
                * math.prod(table[who, turn[c] if turned else c, label] for i, who, label, turned in rows if i == item)
                for c in range(n)
            ]
            truth[item] = [w / sum(weight) for w in weight]
    return truth


@pytest.mark.parametrize("seed", range(3))
def test_turned_items_and_pseudo_counts_are_as_a_plain_loop_has_them(seed: int) -> None:
    labels, _ = planted(seed, n_items=40, n_annotators=5, per_item=3)
    turned = np.random.default_rng(seed).random(labels.item.size) < 0.5
    labels = Labels.of(labels.item, labels.annotator, labels.label, turned=turned)
    pseudo, turn = np.array([[3.0, 1, 0.5], [1, 3, 0.5], [1, 1, 1]]), (1, 0, 2)
    rows = list(zip(*(part.tolist() for part in (labels.item, labels.annotator, labels.label, turned)), strict=True))
    ours = fitted(labels, pseudo, turn=turn, tolerance=-math.inf, most_rounds=6)
    assert ours.posterior == pytest.approx(np.array([plainly(rows, pseudo, turn, 6)[i] for i in range(40)]), abs=1e-9)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.1, 2.0]))
def test_no_round_makes_what_was_seen_less_likely(seed: int, pseudo: float) -> None:
    labels, _ = planted(seed, n_items=30, n_annotators=5, per_item=3)
    found = fitted(labels, np.full((3, 3), pseudo))
    gains = np.diff(found.objective)
    # the floor under probabilities costs a hair where nothing is added to the counts
    assert gains.min(initial=0) > -1e-6
    assert found.converged
    assert found.posterior.sum(axis=1) == pytest.approx(np.ones(30))


def test_another_order_of_the_classes_gives_the_same_answer_in_that_order() -> None:
    labels, _ = planted(4)
    order = np.array([2, 0, 1])
    other = Labels.of(labels.item, labels.annotator, order[labels.label])
    ours, theirs = fitted(labels, np.eye(3), most_rounds=50), fitted(other, np.eye(3), most_rounds=50)
    assert theirs.posterior[:, order] == pytest.approx(ours.posterior, abs=1e-9)


def test_three_spammers_and_an_adversary_among_twenty_cost_nothing_and_are_seen() -> None:
    rng = np.random.default_rng(7)
    truth = rng.integers(0, 2, 400)
    right = np.array([0.8] * 16 + [0.5] * 3 + [0.1])
    rows = [
        (item, who, int(truth[item] if rng.random() < right[who] else 1 - truth[item]))
        for item in range(400)
        for who in rng.choice(20, 5, replace=False)
    ]
    labels = Labels.of(*zip(*rows, strict=True))
    found = fitted(labels, np.ones((2, 2)))
    votes = np.zeros(400)
    np.add.at(votes, labels.item, 2 * labels.label - 1)
    majority = ((votes > 0) == truth).mean()
    weighted = (found.posterior.argmax(axis=1) == truth).mean()
    assert weighted > majority
    assert max(np.diag(found.confusion[19])) < 0.5
    scores = [spammer_score(table) for table in found.confusion]
    assert max(scores[16:19]) < min(scores[:16]), "spammers depend least on the truth"
    assert scores[19] > max(scores[16:19]), "an adversary's answers tell something"


@pytest.mark.parametrize(
    ("table", "score"),
    [([[1, 0], [0, 1]], 1.0), ([[0, 1], [1, 0]], 1.0), ([[0.7, 0.3], [0.7, 0.3]], 0.0),
     ([[0.9, 0.1], [0.2, 0.8]], 0.49), (np.eye(3).tolist(), 1.0)],
)  # fmt: skip
def test_the_spammer_score_of_two_classes_is_youdens_squared(table: list[list[float]], score: float) -> None:
    assert spammer_score(np.array(table)) == pytest.approx(score)


def test_a_turn_that_cannot_be_undone_by_itself_is_our_own_mistake() -> None:
    labels, _ = planted(0)
    with pytest.raises(ValueError, match="not its own inverse"):
        fitted(labels, turn=(1, 2, 0))
