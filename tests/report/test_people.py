"""What is said of those who judged."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from align.records import Measurement
from align.report.headline import headline
from align.report.measures import panels, wins
from align.report.page import page
from align.report.people import people
from align.report.view import RunView, StepView
from align.store import jsonl
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


def judged_run(root: Path) -> RunView:
    """The made run with all that a careful recipe asks for: known answers, repeats, second labels, a judge."""
    run = made_run(root)
    step = run.step("pair")
    assert step is not None
    told = step.summary()
    rate = {"n": 40, "share": 0.75, "low": 0.6, "high": 0.86}
    told["annotators"][0] |= {"tells": rate, "gold": rate, "consistent": rate, "seconds": 7.5, "spammer_score": 0.61}
    told["agreement"] |= {
        "cohen_kappa": 0.57, "ordinal_alpha": 0.61, "n_ordinal": 1100,
        "intervals": {"krippendorff_alpha": [0.55, 0.61], "cohen_kappa": [0.53, 0.6]},
    }  # fmt: skip
    told |= {
        "warnings": ["ann gave 70% of all judgments: the pairs are largely one person's taste"],
        "rule": "majority", "mean_epsilon": 0.08, "n_cycles": 3,
        "relabelled": {"noise": {"all": {"n": 90, "n_tied": 10, "disagree": {"share": 0.15, "low": 0.09, "high": 0.24},
                                         "epsilon": 0.08, "low": 0.05, "high": 0.14}}},
        "judges": [{"judge": "judge m", "n": 300, "agree": {"n": 300, "share": 0.8, "low": 0.75, "high": 0.84},
                    "kappa": 0.61, "kappa_interval": [0.53, 0.69], "people_kappa": 0.57, "n_contradicts_itself": 31}],
    }  # fmt: skip
    (step.path / "summary.json").write_text(json.dumps(told))
    asked = run.step("label")
    assert asked is not None
    desk = {"judge": "m", "n_asked": 600, "unreadable": {"no verdict": 9}, "null_control": {
        "n": 80, "share": 0.0125, "low": 0.002, "high": 0.07}}  # fmt: skip
    (asked.path / "summary.json").write_text(json.dumps({**asked.summary(), "desk": desk}))
    return run


def test_every_coefficient_has_its_n_and_interval(tmp_path: Path) -> None:
    told = people(judged_run(tmp_path))
    assert told is not None
    assert {one.name: (one.rated, one.n) for one in told.coefficients} == {
        "raw agreement": ((0.79, None, None), 1200),
        "Krippendorff's α": ((0.58, 0.55, 0.61), 1200),
        "Krippendorff's α, ordinal": ((0.61, None, None), 1100),
        "Cohen's κ": ((0.57, 0.53, 0.6), 1200),
    }


def test_noise_judges_and_desks_are_told_with_what_they_stand_on(tmp_path: Path) -> None:
    told = people(judged_run(tmp_path))
    assert told is not None
    assert [(one.name, one.rated[0], one.n) for one in told.relabelled] == [
        ("all: went the other way", 0.15, 90), ("all: a label is wrong", 0.08, 90),
    ]  # fmt: skip
    assert told.sentences[-1].startswith("In 3 groups of answers the majorities run in a circle")
    assert told.sentences[-2].endswith("on average it is wrong with probability 0.080.")
    assert told.judges[1].rated == (0.61, 0.53, 0.69)
    assert told.judges[1].says == "people among themselves 0.570; 31 times it contradicted itself between its seats"
    assert "verdicts that could not be read: 9 no verdict" in told.desks[0]
    assert "won 0.013 [0.002, 0.070] of 80" in told.desks[0]
    assert told.warnings == ("ann gave 70% of all judgments: the pairs are largely one person's taste",)


def test_what_argilla_held_beside_judgments_is_told(tmp_path: Path) -> None:
    run = judged_run(tmp_path)
    step = run.step("label")
    assert step is not None
    told = json.loads((step.path / "summary.json").read_text())
    told["desk"] = {"records": 9, "submitted": 27, "drafts": 2, "discarded": 1, "answers_gone_from_server": 3}
    (step.path / "summary.json").write_text(json.dumps(told))
    found = people(run)
    assert found is not None
    assert (
        "label: 27 answers were submitted in Argilla; 2 drafts and 1 discarded were not used; 3 that had been pulled "
        "were gone from the server."
    ) in found.desks


def test_the_page_shows_all_of_it(tmp_path: Path) -> None:
    text = page(judged_run(tmp_path))
    for said in ("Known answers", "Same again", "Spammer score", "Judged a second time, blind", "Judges beside people",
                 "one person&#39;s taste", "0.610 [0.530, 0.690]", "ordinal"):  # fmt: skip
        assert said in text, said
    assert text.count('aria-label="ann 0.75') >= 2, "a plot each of repeats and of known answers"


@pytest.mark.parametrize(
    ("provenance", "who"), [("human", "people"), ("simulated", "made people"), ("judge", "a judge")]
)
def test_a_win_at_a_desk_is_told_first_and_by_whom(tmp_path: Path, provenance: str, who: str) -> None:
    run = made_run(tmp_path, label=False)
    path = tmp_path / "desk"
    path.mkdir()
    won = Measurement(
        instrument="people_win_rate", metric="raw", model="tuned", value=0.7, low=0.6, high=0.8, n=100, n_unscored=0,
        better="higher", unit="share", method="m", provenance=provenance,
        meta={"against": "sft", "statistic": "win_rate"},
    )  # fmt: skip
    jsonl.write(path / "measurements.jsonl", [won])
    step = StepView("evaluate/tuned/people_win_rate", "evaluate", path, {"config": {}, "stage": "evaluate"})
    run = replace(run, steps=(*run.steps, step))
    assert next(iter(wins(run))) == f"tuned over SFT, judged by {who}"
    assert f"won 0.700 [0.600, 0.800] of 100 comparisons with the SFT model, judged by {who}" in " ".join(
        headline(run).sentences
    )
    assert not any(panel.instrument == "people_win_rate" for panel in panels(run)), "it is no number of one model"
