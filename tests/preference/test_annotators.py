"""What each annotator's judgments look like: known faults are found, careful people are left alone."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
from scipy.stats import binomtest
from statsmodels.stats.proportion import proportion_confint

from align.preference.annotators import Record, agreed, annotators, binomial_p, wilson
from align.preference.suspects import suspects
from align.records import Comparison, Judgment, Ordering, Provenance

Choice = Callable[[str, str, str], str | None]
"""From the two answers shown and the better of them to the winner, or None for a tie."""


def judged(people: dict[str, Choice], *, n: int, provenance: Provenance = "human") -> list[Judgment]:
    """Every one of `people` on `n` pairs; of each pair, the answer whose name ends in `+` is the better one."""
    rng = Random(1)
    made = []
    for i in range(n):
        shown = [f"{i}+", f"{i}{'!-'[i % 2]}"]
        rng.shuffle(shown)
        one = Comparison(prompt_id=f"p{i}", candidate_ids=tuple(shown))
        for name, choose in people.items():
            winner = choose(shown[0], shown[1], f"{i}+")
            groups = (tuple(shown),) if winner is None else ((winner,), tuple(s for s in shown if s != winner))
            made.append(
                Judgment(
                    comparison_id=one.id,
                    pair_id=one.pair_id,
                    prompt_id=one.prompt_id,
                    candidate_ids=one.candidate_ids,
                    annotator=name,
                    provenance=provenance,
                    verdict=Ordering(groups=groups),
                    seconds=float(i),
                )
            )
    return made


def right(first: str, second: str, better: str) -> str:
    return better


def of_first(first: str, second: str, better: str) -> str:
    return first


def faults(record: Record, found: dict[str, Record]) -> list[str]:
    return [fault.says for fault in suspects(list(found.values())).get(record.name, [])]


def by_name(judgments: list[Judgment], **knobs: dict[str, int]) -> dict[str, Record]:
    return {one.name: one for one in annotators(judgments, **knobs)}


def test_who_always_takes_the_first_answer_is_found_and_the_others_are_not():
    found = by_name(judged({"ana": right, "ben": right, "cyd": of_first}, n=60))
    assert found["cyd"].first_shown.share == 1.0
    assert faults(found["cyd"], found)[0] == "prefers the answer shown first (100% of 60)"
    assert faults(found["ana"], found) == faults(found["ben"], found) == []


def test_who_answers_at_random_disagrees_with_the_others():
    rng = Random(3)
    found = by_name(judged({"ana": right, "ben": right, "dee": lambda a, b, _: rng.choice((a, b))}, n=100))
    assert faults(found["dee"], found)[0].split(" (")[0] == "disagrees with the others"
    assert faults(found["ana"], found) == []


def test_few_judgments_prove_nothing():
    found = by_name(judged({"ana": right, "ben": right, "cyd": of_first}, n=8))
    assert faults(found["cyd"], found) == []


def test_one_is_compared_with_the_majority_of_the_others_not_with_one_that_holds_oneself():
    found = by_name(judged({"ana": right, "ben": lambda a, b, better: b if better == a else a}, n=10))
    assert found["ana"].with_others.share == 0.0
    assert found["ana"].with_others.n == 10


def test_ties_are_counted_and_have_no_side():
    found = by_name(judged({"ana": lambda *_: None, "ben": right}, n=5))
    assert (found["ana"].n_ties, found["ana"].first_shown.n, found["ana"].first_shown_p) == (5, 0, None)
    assert found["ana"].first_shown.share is None


def test_the_longer_answer_is_told_by_words_and_equal_lengths_do_not_count():
    lengths = {f"{i}{side}": 5 + (side == "+") for i in range(6) for side in "!+-"} | {"0+": 5}
    found = by_name(judged({"ana": right}, n=6), lengths=lengths)
    assert (found["ana"].longer.n, found["ana"].longer.share) == (5, 1.0)


def test_agreement_of_people_who_always_agree_is_one_whatever_the_pairs_are_called():
    result = agreed(judged({"ana": right, "ben": right}, n=40))
    assert result.raw == 1.0
    assert result.krippendorff_alpha == 1.0


def test_agreement_of_two_coins_is_about_none():
    rng = Random(5)
    coin: Choice = lambda a, b, _: rng.choice((a, b))  # noqa: E731
    result = agreed(judged({"ana": coin, "ben": coin}, n=400))
    assert result.krippendorff_alpha == pytest.approx(0, abs=0.12)
    assert result.cohen_kappa == pytest.approx(0, abs=0.12)


@pytest.mark.parametrize(("k", "n"), [(0, 5), (5, 5), (13, 40), (500, 1000)])
def test_the_interval_is_wilsons_and_the_test_the_exact_binomial(k, n):
    rate = wilson(k, n)
    assert (rate.low, rate.high) == pytest.approx(proportion_confint(k, n, method="wilson"), abs=1e-6)
    assert binomial_p(k, n) == pytest.approx(binomtest(k, n).pvalue)
