"""What the page says of a reward model follows from its numbers: better than counting words or not, too sure or not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from align.evals.calibration import ScoredPair, held_out
from align.report.page import page
from align.report.rewards import drawn, said
from align.report.view import RunView, StepView
from tests.evals.test_calibration import drawn as pairs_of


def summary(*, sharper: float = 1.0, longer_wins: bool = False) -> dict[str, Any]:
    pairs = pairs_of(600, sharper=sharper)
    if longer_wins:
        pairs = [ScoredPair(p.pair, p.cluster, p.lead, p.label, 5 if p.lead > 0 else -5) for p in pairs]
    return held_out(pairs)


def test_a_model_that_beats_counting_words_is_said_to_and_one_that_does_not_is_not() -> None:
    assert "better than counting words would" in said(summary())[0]
    assert "no better, as far as these pairs can tell, than counting words" in said(summary(longer_wins=True))[0]


def test_only_a_model_that_is_too_sure_is_told_to_be_cooled() -> None:
    assert "too sure" not in said(summary())[1]
    assert "it is too sure, and best divided by" in said(summary(sharper=4.0))[1]


def test_a_stage_that_is_no_reward_model_says_nothing() -> None:
    assert said({"steps": 3}) == ()
    assert drawn("dpo", {"steps": 3}) == []


def test_the_page_of_a_reward_model_has_its_worth_in_words_and_its_numbers_once(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text(
        "".join(json.dumps({"step": n, "phase": "train", "loss": 0.7 - n / 50, "accuracy": 0.6, "margin": 0.1}) + "\n"
                for n in range(1, 9))
    )  # fmt: skip
    (tmp_path / "summary.json").write_text(json.dumps({"steps": 8, **summary(sharper=4.0)}))
    manifest = {"stage": "reward", "step": "reward", "key": "k" * 64, "digest": "d" * 64, "config": {}, "inputs": {}}
    view = RunView("r", None, {}, (StepView("reward", "reward", tmp_path, manifest),), None, False)
    text = page(view)
    assert "Reward model" in text
    assert "held-out pairs as people do, better than counting words would" in text
    assert "how sure it is, and how often right" in text
    assert "ece_if_calibrated" not in text
