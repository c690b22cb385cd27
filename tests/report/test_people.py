"""What is said of those who judged."""

from __future__ import annotations

from pathlib import Path

from align.report.people import people
from align.report.view import RunView
from tests.report.conftest import made_run


def test_every_judgment_is_accounted_for(view: RunView) -> None:
    told = people(view)
    assert told is not None
    assert told.sentences[0] == (
        "3,600 judgments by 5 annotators of 1,200 comparisons gave 994 pairs to train on and 110 held out; "
        "96 gave none."
    )
    assert dict(told.dropped) == {"tie": 61, "both bad": 20, "too little agreement": 15}


def test_agreement_is_put_in_words_and_a_taste_for_length_is_a_warning(view: RunView) -> None:
    told = people(view)
    assert told is not None
    assert "Krippendorff's alpha is 0.580 (0 is chance, 1 is full agreement): low" in told.sentences[1]
    assert told.sentences[2].endswith("A policy can learn that alone.")


def test_where_nobody_judged_there_is_nothing_to_say(tmp_path: Path) -> None:
    assert people(made_run(tmp_path, label=False)) is None


def test_real_people_are_not_called_simulated(tmp_path: Path) -> None:
    told = people(made_run(tmp_path, simulated=False))
    assert told is not None
    assert not told.simulated
