"""Coefficients of agreement against published worked examples, and where they have no value."""

from __future__ import annotations

import json
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats import inter_rater

from align.preference.agreement import agreement, cohen_kappa, fleiss_kappa, krippendorff_alpha, raw_agreement

PANDALM = Path(__file__).parents[3] / "shared/data/preferences/pandalm/testset-v1.json"

FOUR_BY_TWELVE = """
1 2 3 3 2 1 4 1 2 . . .
1 2 3 3 2 2 4 1 2 5 . 3
. 3 3 3 2 3 4 2 2 5 1 .
1 2 3 3 2 4 4 1 2 5 1 .
"""
THREE_BY_FIFTEEN = """
. . . . . 3 4 1 2 1 1 3 3 . 3
1 . 2 1 3 3 4 3 . . . . . . .
. . 2 1 3 4 4 . 2 1 1 3 3 . 4
"""
FLEISS = """
0 0 0 0 14
0 2 6 4 2
0 0 3 5 6
0 3 9 2 0
2 2 8 1 1
7 7 0 0 0
3 2 6 3 0
2 5 3 2 2
6 5 2 1 0
0 2 2 3 7
"""


def by_unit(matrix: str) -> list[list[str]]:
    """Columns of a matrix of annotators × units, without the gaps."""
    annotators = [line.split() for line in matrix.strip().splitlines()]
    return [[label for label in unit if label != "."] for unit in zip(*annotators, strict=True)]


def from_counts(matrix: str) -> list[list[int]]:
    """Labels of each unit, from a matrix of units × labels."""
    return [
        [label for label, n in enumerate(line.split()) for _ in range(int(n))] for line in matrix.strip().splitlines()
    ]


def confusion(table: list[list[int]]) -> list[tuple[int, int]]:
    return [(i, j) for i, row in enumerate(table) for j, n in enumerate(row) for _ in range(n)]


@pytest.mark.parametrize(("matrix", "alpha"), [(FOUR_BY_TWELVE, 0.743), (THREE_BY_FIFTEEN, 0.691)])
def test_krippendorffs_alpha_is_that_of_his_examples(matrix, alpha):
    assert krippendorff_alpha(by_unit(matrix)) == pytest.approx(alpha, abs=5e-4)


def test_fleiss_kappa_is_that_of_the_fourteen_psychiatrists():
    assert fleiss_kappa(from_counts(FLEISS)) == pytest.approx(0.210, abs=5e-4)


@pytest.mark.parametrize(("table", "kappa"), [([[20, 5], [10, 15]], 0.4), ([[118, 5], [2, 0]], -0.0234)])
def test_cohens_kappa_is_that_worked_out_by_hand(table, kappa):
    assert cohen_kappa(confusion(table)) == pytest.approx(kappa, abs=5e-4)


def test_prevalence_makes_kappa_negative_at_ninety_four_percent_agreement():
    assert raw_agreement(confusion([[118, 5], [2, 0]])) == pytest.approx(0.944)


@pytest.mark.parametrize("labels", [[], [["a"], ["b"]], [["a", "a"], ["a", "a"]]])
def test_without_overlap_or_contrast_agreement_beyond_chance_is_undefined(labels):
    assert krippendorff_alpha(labels) is None
    assert fleiss_kappa(labels) is None
    assert cohen_kappa([tuple(unit) for unit in labels if len(unit) == 2]) is None


def test_one_annotator_has_nobody_to_agree_with():
    alone = agreement([{"ana": 1}, {"ana": 2}])
    assert (alone.raw, alone.krippendorff_alpha, alone.cohen_kappa, alone.n_units) == (None, None, None, 0)


def test_fleiss_kappa_is_undefined_where_units_have_unequal_numbers_of_labels():
    assert fleiss_kappa([["a", "b"], ["a", "a", "b"]]) is None


@given(st.lists(st.lists(st.integers(0, 2), min_size=4, max_size=4), min_size=2, max_size=20))
def test_fleiss_kappa_agrees_with_statsmodels(labels):
    ours = fleiss_kappa(labels)
    if ours is not None:
        counts, _ = inter_rater.aggregate_raters(labels)
        assert ours == pytest.approx(inter_rater.fleiss_kappa(counts))


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=40), st.permutations((0, 1, 2)))
def test_the_names_of_labels_do_not_matter(labels, renamed):
    other = [tuple(renamed[label] for label in unit) for unit in labels]
    assert cohen_kappa(other) == pytest.approx(cohen_kappa(labels), nan_ok=True)
    assert krippendorff_alpha(other) == pytest.approx(krippendorff_alpha(labels), nan_ok=True)


@pytest.mark.skipif(not PANDALM.exists(), reason=f"needs {PANDALM.name} of PandaLM's published test set")
def test_pandalms_three_annotators_agree_as_its_authors_say():
    rows = json.loads(PANDALM.read_text(encoding="utf-8"))
    names = ("annotator1", "annotator2", "annotator3")
    kappas = [cohen_kappa([(row[a], row[b]) for row in rows]) for a, b in combinations(names, 2)]
    assert kappas == pytest.approx([0.8520, 0.8789, 0.8617], abs=5e-5)
    everyone = agreement([{name: row[name] for name in names} for row in rows])
    assert everyone.fleiss_kappa == pytest.approx(0.8642, abs=5e-5)
    assert everyone.cohen_kappa == pytest.approx(sum(k for k in kappas if k is not None) / 3)
