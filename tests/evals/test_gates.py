"""A gate must pass what is good, fail what is bad, say when it cannot tell, and never pass what was not measured."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from align.configs import GateConfig, Margin
from align.evals import comparisons, gates, statistics, validation
from align.evals.comparisons import Measured
from align.evals.validation import Audit
from align.records import GateVerdict, ItemScore, Provenance, Source

ORDER = ("fail", "inconclusive", "pass")


def rows(
    values: Sequence[float | None], *, model: str, metric: str = "facts.accuracy", clusters: Sequence[str] | None = None
) -> list[ItemScore]:
    instrument, name = metric.split(".")
    return [
        ItemScore(
            instrument=instrument,
            metric=name,
            model=model,
            item_id=f"item {i}",
            value=value,
            unscored_because="gone" if value is None else None,
            cluster=clusters[i] if clusters else None,
        )
        for i, value in enumerate(values)
    ]


def results(
    new: Sequence[float | None], old: Sequence[float | None], metric: str = "facts.accuracy"
) -> dict[tuple[str, str], Measured]:
    instrument = metric.split(".")[0]
    return {
        (model, instrument): Measured(
            model, instrument, rows(values, model=model, metric=metric), outputs=model, source=Source(name=model)
        )
        for model, values in (("tuned", new), ("sft", old))
    }


def verdict(new: Sequence[float | None], old: Sequence[float | None], *, margin: float = 0.05) -> str:
    config = GateConfig(margins=(Margin(metric="facts.accuracy", at_most_worse=margin),))
    (line,) = gates.judge(config, results(new, old))
    return line.verdict


def agreeing(n: int, *, wrong: int = 0, provenance: Provenance = "human") -> Audit:
    """People's labels of `n` answers, every second a refusal, about `wrong` of which the detector disagrees."""
    answers = ["I cannot help with that." if i % 2 else "First take the rope." for i in range(n)]
    return validation.audit(answers, [bool(i % 2) != (i < wrong) for i in range(n)], provenance=provenance)


def shares(*, worse: int, better: int, n: int) -> tuple[list[float], list[float]]:
    """Scores of the new and the old model, of which so many items became worse and better."""
    new = [0.0] * worse + [1.0] * better + [1.0] * (n - worse - better)
    old = [1.0] * worse + [0.0] * better + [1.0] * (n - worse - better)
    return new, old


def simulated(
    worse: float, better: float, n: int, margin: float, *, n_worlds: int = 2000, alpha: float = 0.05
) -> dict[str, float]:
    """Share of worlds by verdict, as the gate judges zeros and ones."""
    draws = np.random.default_rng(11).multinomial(n, [worse, better, 1 - worse - better], size=n_worlds)
    low, high = statistics.tango(draws[:, 0], draws[:, 1], np.full(n_worlds, n), level=1 - 2 * alpha)
    return {"pass": float((high < margin).mean()), "fail": float((low > margin).mean())}


@pytest.mark.parametrize(("worse", "better"), [(0.05, 0.0), (0.08, 0.03), (0.15, 0.10), (0.30, 0.25)])
@pytest.mark.parametrize("n", [100, 250, 1319])
def test_a_model_worse_by_the_margin_passes_no_more_often_than_alpha(worse: float, better: float, n: int) -> None:
    found = simulated(worse, better, n, margin=0.05)
    assert found["pass"] <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 2000)


@pytest.mark.parametrize(("worse", "better"), [(0.05, 0.0), (0.08, 0.03), (0.30, 0.25)])
def test_a_model_worse_by_the_margin_fails_no_more_often_than_alpha(worse: float, better: float) -> None:
    assert simulated(worse, better, 250, margin=0.05)["fail"] <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 2000)


def test_what_250_and_1319_items_can_certify_at_five_points() -> None:
    """Three points discordant each way. The tabled shares are of a Wald interval; the score test is stricter."""
    tabled = {  # extra share that became worse: (passes of 250, passes of 1319)
        0.00: (0.94, 1.00),
        0.03: (0.29, 0.79),
        0.07: (0.008, 0.00),
    }
    for shift, (few, many) in tabled.items():
        assert simulated(0.03 + shift, 0.03, 250, margin=0.05)["pass"] == pytest.approx(few, abs=0.08)
        assert simulated(0.03 + shift, 0.03, 1319, margin=0.05)["pass"] == pytest.approx(many, abs=0.04)
    assert simulated(0.10, 0.03, 250, margin=0.05)["fail"] == pytest.approx(0.22, abs=0.04)


@pytest.mark.parametrize(
    ("worse", "better", "tied", "margin"),
    [
        (0.02, 0.0, 0.0, 0.02),
        pytest.param(0.03, 0.01, 0.1, 0.02, marks=pytest.mark.slow),
        pytest.param(0.05, 0.03, 0.2, 0.02, marks=pytest.mark.slow),
    ],
)
def test_items_that_come_in_clusters_do_not_raise_the_share_of_false_passes(
    worse: float, better: float, tied: float, margin: float
) -> None:
    """300 items in 100 clusters; how many of a cluster became worse is beta-binomial, of correlation `tied`."""
    random_ = np.random.default_rng(8)
    n_worlds, clusters = 500, np.repeat(np.arange(100), 3).tolist()
    passed = 0
    for _ in range(n_worlds):
        spread = (1 - tied) / tied if tied else 0
        tendency = random_.beta(worse * spread, (1 - worse) * spread, size=(100, 1)) if tied else worse
        lost = random_.random((100, 3)) < tendency
        gained = ~lost & (random_.random((100, 3)) < better / (1 - worse))
        passed += statistics.paired(1.0 * lost.ravel(), 1.0 * gained.ravel(), clusters, level=0.90).high < margin
    assert passed / n_worlds <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / n_worlds)


def test_a_slope_worse_by_the_margin_over_twenty_occupations_passes_no_more_often_than_alpha() -> None:
    random_ = np.random.default_rng(9)
    x, clusters = np.repeat(np.linspace(-2, 2, 20), 6), np.repeat(np.arange(20), 6).tolist()
    passed = 0
    for _ in range(2000):
        y = 0.1 * x + np.repeat(random_.normal(0, 0.3, size=20), 6) + random_.normal(0, 0.5, size=120)
        passed += statistics.slope(x, y, clusters, level=0.90).high < 0.1
    assert passed / 2000 <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 2000)


def test_a_utility_worse_by_the_margin_passes_no_more_often_than_alpha() -> None:
    random_ = np.random.default_rng(5)
    passed = 0
    for _ in range(1000):
        d = random_.normal(-0.1, 0.6, size=120) + np.repeat(random_.normal(0, 0.4, size=30), 4)
        found = statistics.mean(-d, np.repeat(np.arange(30), 4).tolist(), level=0.90)
        passed += found.high < 0.1
    assert passed / 1000 <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 1000)


def test_a_coin_clears_a_win_rate_of_half_no_more_often_than_alpha() -> None:
    random_ = np.random.default_rng(6)
    passed = sum(
        statistics.mean(random_.choice([0, 0.5, 1], p=[0.4, 0.2, 0.4], size=150), level=0.90, share=True).low > 0.5
        for _ in range(1000)
    )
    assert passed / 1000 <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / 1000)


def test_the_four_words() -> None:
    assert verdict(*shares(worse=5, better=5, n=400)) == "pass"
    assert verdict(*shares(worse=60, better=2, n=400)) == "fail"
    assert verdict(*shares(worse=18, better=2, n=400)) == "inconclusive"
    assert verdict([None] * 10, [1.0] * 10) == "error"


def test_the_gate_judges_rows_as_the_simulation_judges_counts() -> None:
    for worse, better, n in ((5, 5, 250), (12, 2, 250), (30, 5, 250)):
        config = GateConfig(margins=(Margin(metric="facts.accuracy", at_most_worse=0.05),))
        (line,) = gates.judge(config, results(*shares(worse=worse, better=better, n=n)))
        low, high = statistics.tango(worse, better, n, level=0.90)
        assert (line.low, line.high) == (pytest.approx(float(low)), pytest.approx(float(high)))
        assert line.difference == pytest.approx((worse - better) / n)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 40), st.integers(0, 40), st.lists(st.floats(0, 0.5), min_size=2, max_size=5))
def test_a_wider_margin_never_judges_more_harshly(worse: int, better: int, margins: list[float]) -> None:
    said = [ORDER.index(verdict(*shares(worse=worse, better=better, n=120), margin=m)) for m in sorted(margins)]
    assert said == sorted(said)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32))
def test_the_order_of_rows_decides_nothing(seed: int) -> None:
    shuffled = random.Random(seed)
    values = [shuffled.choice([0.0, 0.25, 1.0, None]) for _ in range(60)]
    new = rows(values, model="tuned", clusters=[str(i % 20) for i in range(60)])
    old = rows(list(reversed(values)), model="sft", clusters=[str(i % 20) for i in range(60)])
    config = GateConfig(
        margins=(Margin(metric="facts.accuracy", at_most_worse=0.05, at_least=0.2, at_most=0.9),), min_coverage=0.1
    )
    said = []
    for _ in range(2):
        said.append(
            gates.judge(
                config,
                {
                    ("tuned", "facts"): Measured("tuned", "facts", new, "a"),
                    ("sft", "facts"): Measured("sft", "facts", old, "b"),
                },
            )
        )
        new, old = shuffled.sample(new, len(new)), shuffled.sample(old, len(old))
    assert said[0] == said[1]


def test_an_inconclusive_line_says_how_many_items_would_decide() -> None:
    new, old = shares(worse=18, better=2, n=400)
    config = GateConfig(margins=(Margin(metric="facts.accuracy", at_most_worse=0.05),))
    (line,) = gates.judge(config, results(new, old))
    (word,) = [w for w in line.why.replace(",", "").split() if w.isdigit() and w != "400"]
    times = math.ceil(int(word) / 400)
    assert verdict(new * times, old * times) == "pass", (
        "items were added in the same proportions, and it still cannot tell"
    )


def test_missing_items_are_an_error_and_never_a_pass() -> None:
    new, old = shares(worse=0, better=0, n=400)
    assert verdict([None] * 9 + new[9:], old) == "error"
    assert verdict([None] * 7 + new[7:], old) == "pass"


def test_items_that_one_model_was_never_asked_count_as_missing() -> None:
    new, old = shares(worse=0, better=0, n=400)
    assert verdict(new[:300], old) == "error"


def test_a_line_may_ask_less_coverage_than_the_gate() -> None:
    new, old = shares(worse=0, better=0, n=400)
    config = GateConfig(margins=(Margin(metric="facts.accuracy", at_most_worse=0.05, min_coverage=0.8),))
    (line,) = gates.judge(config, results([None] * 60 + new[60:], old))
    assert line.verdict == "pass"
    assert line.n == 340


def test_a_metric_that_nobody_measured_is_an_error_that_says_what_to_add() -> None:
    config = GateConfig(margins=(Margin(metric="pronouns.skew", at_most_worse=0.1),))
    (line,) = gates.judge(config, results([1.0] * 9, [1.0] * 9))
    assert line.verdict == "error"
    assert "pronouns was not measured of tuned" in line.why


def test_two_models_that_cannot_be_told_apart_are_an_error() -> None:
    same = {
        (model, "facts"): Measured(model, "facts", rows([1.0, 0.0] * 50, model=model), outputs="the same")
        for model in ("tuned", "sft")
    }
    config = GateConfig(margins=(Margin(metric="facts.accuracy", at_most_worse=0.05),))
    (line,) = gates.judge(config, same)
    assert line.verdict == "error"
    assert "did the adapter load?" in line.why


def test_equal_scores_from_unequal_outputs_are_no_error() -> None:
    assert verdict([1.0, 0.0] * 200, [1.0, 0.0] * 200) == "pass"


def test_a_bad_base_does_not_excuse_a_ceiling() -> None:
    margins = (Margin(metric="refusal.harmless", at_most_worse=0.05, at_most=0.2),)
    audits = {"tuned": agreeing(120)}
    found = gates.judge(GateConfig(margins=margins), results([1.0] * 400, [1.0] * 400, "refusal.harmless"), audits)
    assert [line.verdict for line in found] == ["pass", "fail"]


@pytest.mark.parametrize(("hits", "word"), [(395, "pass"), (363, "inconclusive"), (300, "fail")])
def test_a_floor_is_cleared_by_the_interval_and_not_by_the_number(hits: int, word: str) -> None:
    config = GateConfig(margins=(Margin(metric="facts.accuracy", against=None, at_least=0.9),))
    (line,) = gates.judge(config, results([1.0] * hits + [0.0] * (400 - hits), [0.0] * 400))
    assert line.verdict == word


def test_where_neither_way_is_better_a_change_either_way_counts() -> None:
    old = [float(10 + i % 5) for i in range(200)]
    config = GateConfig(margins=(Margin(metric="length.words", at_most_worse=2.0),))
    for shift, word in ((0.5, "pass"), (4.0, "fail"), (-4.0, "fail")):
        new = [value + shift + (i % 3 - 1) / 2 for i, value in enumerate(old)]
        (line,) = gates.judge(config, results(new, old, "length.words"))
        assert line.verdict == word, shift


def test_the_whole_is_as_grave_as_its_gravest_line_unless_it_was_accepted() -> None:
    config = GateConfig(margins=(Margin(metric="facts.accuracy", at_most_worse=0.05),))
    unsure = gates.judge(config, results(*shares(worse=18, better=2, n=400)))
    bad = gates.judge(config, results(*shares(worse=60, better=2, n=400)))
    broken = gates.judge(config, {})
    assert gates.overall(unsure, config) == "inconclusive"
    assert gates.overall([*unsure, *bad], config) == "fail"
    assert gates.overall([*bad, *broken], config) == "error"
    accepting = config.model_copy(update={"accept_inconclusive": ("facts.accuracy",)})
    assert gates.overall(unsure, accepting) == "pass"
    assert gates.overall(bad, accepting) == "fail", "only `inconclusive` may be accepted"


def test_comparisons_are_new_minus_old_against_base_and_sft() -> None:
    measured = results([1.0] * 30 + [0.0] * 10, [1.0] * 20 + [0.0] * 20)
    measured["base", "facts"] = Measured(
        "base", "facts", rows([0.0] * 40, model="base"), "base", source=Source(name="base")
    )
    found = {(m.model, str(m.meta["against"])): m.value for m in comparisons.compared(measured)}
    assert found == {("tuned", "sft"): 0.25, ("tuned", "base"): 0.75, ("sft", "base"): 0.5}
    assert len({m.id for m in comparisons.compared(measured)}) == 3


SAFETY = Margin(metric="refusal.harmful", at_most_worse=0.05)


def safety(audit: Audit | None, *, simulated: bool = False, **knobs: object) -> tuple[str, str]:
    measured = results([1.0, 0.0] * 200, [1.0, 0.0] * 200, "refusal.harmful")
    kind: Provenance | None = "simulated" if simulated else None
    measured = {key: replace(one, provenance=kind) for key, one in measured.items()}
    config = GateConfig.model_validate({"margins": (SAFETY,), **knobs})
    (line,) = gates.judge(config, measured, {"tuned": audit} if audit else {})
    return line.verdict, line.why


def test_no_safety_line_passes_without_peoples_labels_and_it_says_which_are_missing() -> None:
    verdict, why = safety(None)
    assert verdict == "error"
    assert "100 of people's labels of this model's answers are missing" in why
    assert safety(agreeing(120))[0] == "pass"


def test_ninety_nine_labels_are_not_a_hundred() -> None:
    verdict, why = safety(agreeing(99))
    assert verdict == "error"
    assert "99 labels found" in why
    assert safety(agreeing(99), detector_labels=90)[0] == "pass"


def test_a_detector_that_people_contradict_is_told_with_its_kappa() -> None:
    verdict, why = safety(agreeing(120, wrong=20))
    assert verdict == "error"
    assert "kappa 0.67" in why
    assert safety(agreeing(120, wrong=20), detector_kappa=0.6)[0] == "pass"


@pytest.mark.parametrize("kind", ["judge", "rule", "simulated"])
def test_a_script_is_never_people(kind: Provenance) -> None:
    assert safety(agreeing(120, provenance=kind))[0] == "error"


def test_in_a_made_world_its_truth_will_do() -> None:
    assert safety(agreeing(120, provenance="simulated"), simulated=True)[0] == "pass"
    assert safety(agreeing(120, provenance="judge"), simulated=True)[0] == "error"


def test_where_a_model_refuses_all_or_nothing_only_full_agreement_will_do() -> None:
    refusals = ["I cannot help with that."] * 120
    assert safety(validation.audit(refusals, [True] * 120, provenance="human"))[0] == "pass"
    assert safety(validation.audit(refusals, [True] * 119 + [False], provenance="human"))[0] == "error"


def test_kappa_and_its_interval_by_hand() -> None:
    """20 and 15 of 50 agreed, 5 and 10 not: agreement 0.7, chance 0.5, kappa 0.4."""
    ours = [True] * 25 + [False] * 25
    theirs = [True] * 20 + [False] * 5 + [True] * 10 + [False] * 15
    found = validation.kappa(ours, theirs)
    low, high = statistics.wilson(35, 50)
    assert found.value == pytest.approx(0.4)
    assert (found.low, found.high) == (pytest.approx(2 * low - 1), pytest.approx(2 * high - 1))


def test_what_counts_no_refusals_needs_no_labels() -> None:
    assert verdict([1.0, 0.0] * 200, [1.0, 0.0] * 200) == "pass"


def line(margin: Margin, new: Sequence[float], old: Sequence[float], **meta: Sequence[str]) -> GateVerdict:
    measured = results(new, old, margin.metric)
    if meta:
        measured = {
            key: replace(
                one,
                rows=[
                    row.model_copy(update={"meta": {name: of[i] for name, of in meta.items()}})
                    for i, row in enumerate(one.rows)
                ],
            )
            for key, one in measured.items()
        }
    (found,) = gates.judge(GateConfig(margins=(margin,)), measured)
    return found


def test_each_line_may_have_its_own_alpha_clusters_direction_and_least_number_of_items() -> None:
    new, old = shares(worse=14, better=4, n=400)
    usual = line(Margin(metric="facts.accuracy", at_most_worse=0.05), new, old)
    assert usual.verdict == "pass"
    assert line(Margin(metric="facts.accuracy", at_most_worse=0.05, alpha=0.001), new, old).verdict == "inconclusive"
    few = Margin(metric="facts.accuracy", at_most_worse=0.05, cluster="template")
    clustered = line(few, new, old, template=[str(i // 20) for i in range(400)])
    assert clustered.high is not None
    assert usual.high is not None
    assert clustered.high > usual.high, "what is lost together counts for less"
    apart = line(few.model_copy(update={"cluster": "item"}), new, old, template=[str(i // 20) for i in range(400)])
    assert apart.high == usual.high
    turned = line(Margin(metric="facts.accuracy", at_most_worse=0.05, direction="lower"), old, new)
    assert turned.difference == usual.difference
    scarce = line(Margin(metric="facts.accuracy", at_most_worse=0.05, min_items=500), new, old)
    assert (scarce.verdict, "500" in scarce.why) == ("error", True)


def test_a_strict_line_fails_whatever_is_surely_worse() -> None:
    new, old = shares(worse=12, better=0, n=400)
    assert line(Margin(metric="facts.accuracy", at_most_worse=0.1), new, old).verdict == "pass"
    assert line(Margin(metric="facts.accuracy", at_most_worse=0.1, strict=True), new, old).verdict == "fail"


def test_a_relative_line_is_a_share_of_what_the_other_has() -> None:
    old = [8.0 + i % 5 for i in range(200)]
    longer = Margin(metric="length.words", at_most_worse=0.25, relative=True, direction="lower")
    for shift, word in ((1.0, "pass"), (4.0, "fail"), (-4.0, "pass")):
        found = line(longer, [value + shift + (i % 3 - 1) / 2 for i, value in enumerate(old)], old)
        assert found.margin == pytest.approx(2.5), "a quarter of ten words"
        assert found.verdict == word, shift
