"""Intervals and tests against published numbers, other libraries, and simulated worlds whose truth is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from align.evals import statistics

MILLER = [[1, 1, 1, 1, 1], [0, 0, 0, 0, 0], [1, 1, 1, 0, 1], [0, 1, 0, 0, 0]]
VALUES = [value for cluster in MILLER for value in cluster]
CLUSTERS = [name for name, cluster in enumerate(MILLER) for _ in cluster]


def test_errors_of_the_published_vector() -> None:
    assert np.mean(VALUES) == 0.5
    assert statistics.standard_error(VALUES) == pytest.approx(0.1147, abs=5e-5)
    assert statistics.clustered_error(VALUES, CLUSTERS, corrected=False) == pytest.approx(0.2062, abs=5e-5)
    assert statistics.clustered_error(VALUES, CLUSTERS) == pytest.approx(0.2380, abs=5e-5)


def test_clusters_widen_the_interval_and_cost_degrees_of_freedom() -> None:
    found = statistics.mean(VALUES, CLUSTERS, share=False)
    assert (found.n, found.n_clusters) == (20, 4)
    half = 3.18245 * 0.2380476  # Student's t at 3 degrees of freedom
    assert (found.low, found.high) == (pytest.approx(0.5 - half, abs=1e-4), pytest.approx(0.5 + half, abs=1e-4))


def test_clusters_of_one_are_no_clusters() -> None:
    values = [0.1, 0.7, 0.4, 0.9, 0.2]
    assert statistics.clustered_error(values, list("abcde")) == pytest.approx(statistics.standard_error(values))


def test_exact_mcnemar() -> None:
    assert statistics.mcnemar(15, 4) == pytest.approx(0.01921, abs=5e-6)
    assert statistics.mcnemar(0, 0) == 1


def test_wilson_of_three_in_250() -> None:
    assert statistics.wilson(3, 250) == (pytest.approx(0.0041, abs=5e-5), pytest.approx(0.0347, abs=5e-5))


@pytest.mark.parametrize(("n", "upper"), [(100, 0.0295), (313, 0.0095), (500, 0.0060)])
def test_none_of_n_is_not_zero(n: int, upper: float) -> None:
    low, high = statistics.clopper_pearson(0, n, level=0.90)
    assert low == 0
    assert high == pytest.approx(upper, abs=5e-5)


def test_a_share_in_clusters_that_never_varied_is_not_certain_either() -> None:
    found = statistics.mean([0.0] * 40, [i // 2 for i in range(40)], level=0.90, share=True)
    assert found.high == pytest.approx(1 - 0.05 ** (1 / 20)), "twenty clusters, not forty items"


def test_holm_and_benjamini_hochberg_as_published() -> None:
    p = [0.001, 0.01, 0.02, 0.04, 0.3]
    assert statistics.holm(p).tolist() == pytest.approx([0.005, 0.04, 0.06, 0.08, 0.3])
    assert statistics.benjamini_hochberg(p).tolist() == pytest.approx([0.005, 0.025, 0.1 / 3, 0.05, 0.3])


@pytest.mark.slow  # statsmodels takes seconds to import
@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_adjusted_p_values_are_those_of_statsmodels(p: list[float]) -> None:
    from statsmodels.stats.multitest import multipletests

    assert statistics.holm(p) == pytest.approx(multipletests(p, method="holm")[1])
    assert statistics.benjamini_hochberg(p) == pytest.approx(multipletests(p, method="fdr_bh")[1])


def test_the_slope_is_that_of_polyfit_and_its_error_that_of_leaving_clusters_out() -> None:
    random = np.random.default_rng(7)
    clusters = np.repeat(np.arange(12), random.integers(1, 7, size=12))
    x = random.normal(size=12)[clusters] + random.normal(size=clusters.size)
    y = 0.8 * x + random.normal(size=12)[clusters] + 3
    found = statistics.slope(x, y, clusters.tolist())
    without = [np.polyfit(x[clusters != c], y[clusters != c], 1)[0] for c in range(12)]
    assert found.value == pytest.approx(np.polyfit(x, y, 1)[0])
    assert found.se == pytest.approx(math.sqrt(11 / 12 * sum((w - found.value) ** 2 for w in without)))
    assert found.n_clusters == 12


def test_the_slope_of_a_difference_is_the_difference_of_the_slopes() -> None:
    random = np.random.default_rng(1)
    x, a, b = random.normal(size=(3, 30))
    apart = statistics.slope(x, a).value - statistics.slope(x, b).value
    assert statistics.slope(x, a - b).value == pytest.approx(apart)


def test_a_shift_of_everything_moves_no_slope() -> None:
    random = np.random.default_rng(2)
    x, y = random.normal(size=(2, 30))
    assert statistics.slope(x, y + 5).value == pytest.approx(statistics.slope(x, y).value)


def test_a_slope_needs_three_places() -> None:
    with pytest.raises(ValueError, match="2 clusters"):
        statistics.slope([0, 0, 1, 1], [1, 2, 3, 4], ["a", "a", "b", "b"])
    with pytest.raises(ValueError, match="at one place"):
        statistics.slope([1, 1, 1, 1], [1, 2, 3, 4])


def test_tango_solves_its_own_equation() -> None:
    """At each limit the likelihood of (gained, lost), maximised over the nuisance share, gives a score of ±z."""
    gained, lost, n = 12.0, 5.0, 80.0
    low, high = statistics.tango(gained, lost, n, level=0.95)
    for limit, z in ((float(low), 1.959964), (float(high), -1.959964)):
        shares = np.linspace(max(0, -limit) + 1e-9, (1 - limit) / 2 - 1e-9, 400_001)
        likelihood = (
            gained * np.log(shares + limit)
            + lost * np.log(shares)
            + (n - gained - lost) * np.log(1 - 2 * shares - limit)
        )
        q = float(shares[likelihood.argmax()])
        score = (gained - lost - n * limit) / math.sqrt(n * (2 * q + limit * (1 - limit)))
        assert score == pytest.approx(z, abs=1e-3)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 60))
def test_tango_is_symmetric_and_holds_the_estimate(gained: int, lost: int, same: int) -> None:
    n = max(1, gained + lost + same)
    low, high = statistics.tango(gained, lost, n)
    mirrored = statistics.tango(lost, gained, n)
    assert -1 <= low <= (gained - lost) / n <= high <= 1
    assert (-float(mirrored[1]), -float(mirrored[0])) == (
        pytest.approx(float(low), abs=1e-9),
        pytest.approx(float(high), abs=1e-9),
    )


def test_no_change_in_n_items_bounds_the_change_as_the_score_test_does() -> None:
    _, high = statistics.tango(0, 0, 100, level=0.95)
    z2 = 1.959964**2
    assert float(high) == pytest.approx(z2 / (100 + z2), abs=1e-6)


def test_paired_intervals_hold_the_truth_as_often_as_they_say() -> None:
    random = np.random.default_rng(0)
    for worse, better, n in ((0.03, 0.03, 250), (0.08, 0.03, 250), (0.05, 0.0, 400), (0.2, 0.1, 60)):
        draws = random.multinomial(n, [worse, better, 1 - worse - better], size=4000)
        low, high = statistics.tango(draws[:, 0], draws[:, 1], np.full(4000, n), level=0.90)
        held = ((low <= worse - better) & (worse - better <= high)).mean()
        assert held >= 0.90 - 2 * math.sqrt(0.9 * 0.1 / 4000) - 0.01, (worse, better, n, held)


def test_an_interval_says_how_it_was_made() -> None:
    new, old = [1, 1, 0, 1, 1, 0], [1, 0, 0, 1, 0, 1]
    assert statistics.paired(new, old).method == "tango"
    assert statistics.paired(new, old, list("aabbcc")).method == "tango, effective n, clustered"
    assert statistics.paired([0.5, *new[1:]], old).method == "student t"
    assert statistics.mean(new, share=True).method == "wilson"
    assert statistics.mean([0.5, *new[1:]], share=True).method == "wilson, effective n"
    assert statistics.mean([0.5, *new[1:]], list("aabbcc")).method == "student t, clustered"


def test_doubling_every_item_within_its_cluster_adds_no_certainty() -> None:
    new, old = [1.0] * 70 + [0.0] * 20 + [1.0] * 10, [1.0] * 70 + [1.0] * 20 + [0.0] * 10
    once = statistics.paired(new, old)
    twice = statistics.paired(np.repeat(new, 2), np.repeat(old, 2), np.repeat(np.arange(100), 2).tolist())
    assert twice.value == once.value
    assert twice.high - twice.low == pytest.approx(once.high - once.low, rel=0.02)
    share = statistics.mean(np.repeat(new, 2), np.repeat(np.arange(100), 2).tolist(), share=True)
    alone = statistics.mean(new, share=True)
    # the exact interval of a share over clusters is a little wider than the score interval over items
    assert share.high - share.low == pytest.approx(alone.high - alone.low, rel=0.1)
    assert share.high - share.low > alone.high - alone.low


def test_pairs_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="2 against 3"):
        statistics.paired([1, 0], [1, 0, 1])


def test_the_bootstrap_agrees_with_the_formula_and_repeats_itself() -> None:
    random = np.random.default_rng(3)
    clusters = np.repeat(np.arange(60), 4)
    y = np.repeat(random.normal(size=60), 4) + random.normal(size=240)
    found = statistics.bootstrap(y, lambda v: float(v.mean()), clusters.tolist(), seed=5, n_draws=2000)
    again = statistics.bootstrap(y, lambda v: float(v.mean()), clusters.tolist(), seed=5, n_draws=2000)
    assert found == again
    assert found.se == pytest.approx(statistics.clustered_error(y, clusters.tolist()), rel=0.08)
    assert found.n_clusters == 60


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 3)), min_size=2, max_size=30))
def test_a_share_and_its_interval_stay_between_zero_and_one(rows: list[tuple[float, int]]) -> None:
    found = statistics.mean([v for v, _ in rows], [c for _, c in rows], share=True)
    assert 0 <= found.low <= found.value + 1e-12
    assert found.value - 1e-12 <= found.high <= 1


def test_two_clusters_give_a_paired_interval_that_says_almost_nothing() -> None:
    found = statistics.paired([1, 1, 0, 1, 0, 1], [0, 1, 0, 0, 0, 1], ["a", "a", "a", "b", "b", "b"])
    assert found.low < -0.5
    assert found.high > 0.9
