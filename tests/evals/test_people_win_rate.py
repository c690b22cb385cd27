"""Votes for one of two models: what counts, what is a tie, what is not counted, and what a careless panel must give."""

from __future__ import annotations

from random import Random

import pytest

from align.configs import GateConfig, Margin
from align.evals import gates, people_win_rate, summary
from align.evals.comparisons import Measured
from align.evals.evidence import Duel, Evidence
from align.evals.people_win_rate import INSTRUMENT, without_each
from align.preference.asking import ABSENT, EQUAL
from align.preference.votes import Vote, tally
from align.records import Comparison, Judgment, Measurement, Ordering

OURS, THEIRS = "ours", "theirs"


def votes(prompt: str, *said: str, seed: int = 0) -> tuple[Vote, ...]:
    """One vote each: `ours`, `theirs`, `tie`, `bad`, or `first` for whatever is shown first."""
    first = Random(f"{prompt} {seed}").random() < 0.5
    shown = (OURS, THEIRS) if first else (THEIRS, OURS)
    one = Comparison(prompt_id=prompt, candidate_ids=shown)
    made = []
    for i, word in enumerate(said):
        winner = shown[0] if word == "first" else word
        groups = (shown,) if word in ("tie", "bad") else ((winner,), tuple(s for s in shown if s != winner))
        made.append(
            Judgment(
                comparison_id=one.id, pair_id=one.pair_id, prompt_id=prompt, candidate_ids=shown, annotator=f"p{i}",
                provenance="human", verdict=Ordering(groups=groups, both_bad=word == "bad"),
            )
        )  # fmt: skip
    return tally(made)[0].votes if made else ()


def measured(*duels: Duel) -> dict[str, Measurement]:
    rows = INSTRUMENT.score(Evidence(model="tuned", duels=duels))
    return {one.metric: one for one in summary.measurements(INSTRUMENT, rows, model="tuned")}


def duel(prompt: str, *said: str, **more: object) -> Duel:
    return Duel(prompt, OURS, votes(prompt, *said), **{"words": 10, "their_words": 10, **more})  # type: ignore[arg-type]


def test_each_prompt_counts_once_and_a_tie_is_a_half() -> None:
    found = measured(
        duel("a", "ours", "ours", "theirs"), duel("b", "tie"), duel("c", "ours", "tie"), duel("d", "theirs")
    )
    assert found["raw"].value == pytest.approx((2 / 3 + 1 / 2 + 3 / 4 + 0) / 4)
    assert found["decided"].value == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert found["tied"].value == pytest.approx((0 + 1 + 1 / 2 + 0) / 4)
    assert found["agreement"].value == pytest.approx((1 / 3 + 0) / 2)
    assert (found["raw"].n, found["raw"].n_unscored) == (4, 0)


def test_the_same_answer_of_both_is_a_tie_and_a_missing_one_is_no_verdict() -> None:
    gone = Duel("x", "", unshown=ABSENT)
    unread = Duel("y", OURS, ())
    found = measured(duel("a", "ours"), Duel("b", "", unshown=EQUAL), gone, unread)
    assert found["raw"].value == pytest.approx(0.75)
    assert (found["raw"].n, found["raw"].n_unscored) == (2, 2)
    rows = INSTRUMENT.score(Evidence(model="tuned", duels=[gone, unread]))
    assert [row.unscored_because for row in rows] == [ABSENT, "no verdict could be read"]


def test_answers_of_unlike_length_are_left_out_of_the_length_matched_rate() -> None:
    found = measured(duel("a", "ours", words=30), duel("b", "theirs", words=100, their_words=109), duel("c", "theirs"))
    assert found["length_matched"].n == 2
    assert found["length_matched"].value == 0
    assert found["raw"].value == pytest.approx(1 / 3)


def test_both_bad_is_a_tie_that_is_told_apart() -> None:
    found = measured(duel("a", "bad", "tie"), duel("b", "bad", "bad"))
    assert found["both_bad"].value == pytest.approx(0.75)
    assert found["raw"].value == 0.5
    assert "decided" not in found


def test_people_who_do_not_read_leave_the_rate_at_one_half() -> None:
    """The controls: always a tie, always the first, a coin."""
    names = [f"prompt {i}" for i in range(200)]
    ties = measured(*(duel(name, "tie", "tie") for name in names))
    assert (ties["raw"].value, ties["raw"].n, ties["tied"].value) == (0.5, 200, 1)
    first = measured(*(duel(name, "first", "first") for name in names))
    assert first["raw"].low is not None
    assert first["raw"].high is not None
    assert first["raw"].low < 0.5 < first["raw"].high
    assert first["first_shown"].value == 1
    rng = Random(0)
    coin = measured(*(duel(name, rng.choice((OURS, THEIRS)), rng.choice((OURS, THEIRS))) for name in names))
    assert coin["raw"].low is not None
    assert coin["raw"].high is not None
    assert coin["raw"].low < 0.5 < coin["raw"].high


def test_nobody_asked_is_no_number() -> None:
    found = measured(Duel("a", "", unshown=ABSENT))
    assert (found["raw"].value, found["raw"].n, found["raw"].n_unscored) == (None, 0, 1)
    assert people_win_rate.score(Evidence(model="tuned")) == []


def test_one_persons_taste_shows_when_they_are_left_out() -> None:
    duels = [duel(f"{i}", "ours", "theirs", "theirs") for i in range(10)]
    assert without_each(duels) == {"p0": 0.0, "p1": 0.5, "p2": 0.5}
    assert without_each([duel("a", "ours")]) == {}


def gated(*duels: Duel) -> tuple[str, str]:
    rows = INSTRUMENT.score(Evidence(model="tuned", duels=duels))
    margin = Margin(metric="people_win_rate.raw", against=None, at_least=0.5)
    results = {("tuned", "people_win_rate"): Measured("tuned", "people_win_rate", rows, outputs="o")}
    (verdict,) = gates.judge(GateConfig(margins=(margin,)), results)
    return verdict.verdict, verdict.why


def test_the_gate_reads_it_like_any_measurement_and_unread_verdicts_are_an_error() -> None:
    won = [duel(f"w{i}", "ours", "ours") for i in range(80)]
    lost = [duel(f"l{i}", "theirs", "theirs") for i in range(80)]
    assert gated(*won, *lost[:20])[0] == "pass"
    assert gated(*won[:20], *lost)[0] == "fail"
    word, why = gated(*won[:40], *lost[:36])
    assert word == "inconclusive"
    assert "would" in why
    unread = [Duel(f"u{i}", OURS, ()) for i in range(10)]
    assert gated(*won, *unread) == ("error", "only 80 of 90 items could be scored (at least 98% are needed)")
    assert gated(*unread)[0] == "error"
