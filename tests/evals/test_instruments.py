"""The table of instruments, and what its names promise."""

from __future__ import annotations

import pytest

from align.errors import RecipeError
from align.evals import instruments, margins
from align.evals.instruments import COMPARISONS, INSTRUMENTS, NEVER
from align.evals.summary import measurements
from align.records import ItemScore


def test_an_instrument_stands_under_its_own_name() -> None:
    assert [i.name for i in INSTRUMENTS.values()] == list(INSTRUMENTS)


def test_a_metric_has_one_name_and_an_instrument_says_what_is_wrong_with_it() -> None:
    for instrument in INSTRUMENTS.values():
        names = [metric.name for metric in instrument.metrics]
        assert len(names) == len(set(names)), instrument.name
        assert instrument.flaws, f"{instrument.name} claims to have no flaws"
        assert instrument.paper
        assert instrument.needs


def test_the_default_gate_asks_for_metrics_that_exist_and_have_a_better_side() -> None:
    for margin in margins.DEFAULT_MARGINS:
        sided = margin.direction or instruments.metric(margin.metric).better != "neither"
        assert sided or margin.metric.startswith("discrim_eval."), "a coefficient may change neither way"


def test_the_listing_shows_every_instrument_and_never_says_it_ran_when_it_did_not() -> None:
    rows = {row["name"]: row for row in instruments.listing()}
    assert set(rows) == {*INSTRUMENTS, *COMPARISONS}
    for name, instrument in INSTRUMENTS.items():
        assert rows[name]["last_run"] == (instrument.last_run or NEVER)


@pytest.mark.parametrize(("wrong", "right"), [("fact", "facts"), ("refusals", "refusal"), ("pronoun", "pronouns")])
def test_a_slip_of_the_pen_gets_the_nearest_instrument(wrong: str, right: str) -> None:
    with pytest.raises(RecipeError, match=f"did you mean `{right}`"):
        instruments.instrument(wrong)


def test_win_rates_are_asked_for_by_the_utility_they_are_made_from() -> None:
    with pytest.raises(RecipeError, match="from `utility`: name that"):
        instruments.instrument("win_rate")
    assert instruments.made_from("win_rate.raw") == "utility"
    assert instruments.made_from("refusal.harmful") == "refusal"


def row(item_id: str, value: float | None) -> ItemScore:
    because = None if value is not None else "gone"
    return ItemScore(
        instrument="facts", metric="accuracy", model="m", item_id=item_id, value=value, unscored_because=because
    )


def test_a_measurement_counts_what_it_could_not_score_and_leaves_it_out_of_the_number() -> None:
    rows = [row("a", 1.0), row("b", 0.0), row("c", None), row("d", 1.0)]
    (found,) = measurements(INSTRUMENTS["facts"], rows, model="m")
    assert (found.value, found.n, found.n_unscored) == (pytest.approx(2 / 3), 3, 1)
    assert measurements(INSTRUMENTS["facts"], rows[::-1], model="m") == [found]


def test_one_item_has_a_value_and_an_interval_as_wide_as_ignorance() -> None:
    (found,) = measurements(INSTRUMENTS["facts"], [row("a", 1.0)], model="m")
    assert found.value == 1
    assert found.low is not None
    assert found.low < 0.25


def test_a_metric_without_items_is_not_measured_rather_than_zero() -> None:
    assert measurements(INSTRUMENTS["refusal"], [], model="m") == []
