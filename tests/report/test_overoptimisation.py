"""What the report says of a policy on its way through reinforcement learning."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

from align.report.overoptimisation import drift
from align.report.view import StepView
from align.store import jsonl


def made(folder: Path, *, turns: bool, judged: bool = True, alarms: dict[str, Any] | None = None) -> StepView:
    rng = Random(3)
    rows = []
    for t in range(8):
        gain = (0.2 * t if t < 4 else 0.6 - 0.3 * (t - 3)) if turns else 0.2 * t
        for p in range(12):
            rows.append(
                {"step": 10 * t, "prompt_id": f"p{p}", "answers": [f"answer {t} <b>{p}</b>", "other"],
                 "proxy": p / 6 + 0.5 * t + rng.gauss(0, 0.05), "held_out": p / 6 + gain if judged else None,
                 "kl": 0.4 * t, "tokens": 10.0 + t, "refused": 0.0, "likeness": 0.3, "unfinished": 0.0}
            )  # fmt: skip
    folder.mkdir(parents=True)
    jsonl.write(folder / "looks.jsonl", rows)
    jsonl.write(folder / "summary.json", [{"alarms": alarms or {}}])
    return StepView("rlhf", "rlhf", folder, {"stage": "rlhf", "step": "rlhf"})


def test_a_run_that_kept_what_it_was_after(tmp_path: Path) -> None:
    found = drift(made(tmp_path / "a", turns=False))
    assert found is not None
    text = " ".join(found.sentences)
    assert "8 looks at the policy, two answers to each of 12 prompts" in text
    assert "The held-out reward changed by +1.400" in text
    assert "No look lay significantly below" in text
    assert len(found.looks) == 8
    assert "<svg" in found.plot


def test_a_run_that_learnt_its_reward_instead(tmp_path: Path) -> None:
    alarm = {
        "held_out": {"step": 60, "best": 30, "fall": 0.6, "error": 0.1},
        "tokens": {"step": 20, "best": 0, "fall": 2.0, "error": 0.1},
    }
    found = drift(made(tmp_path / "a", turns=True, alarms=alarm))
    assert found is not None
    text = " ".join(found.sentences)
    assert "Alarm: at step 60 the held-out reward lay 0.600 (standard error 0.100) below its best, at step 30" in text
    assert "Answers have become longer since step 0 (+2.000)" in text
    assert "Gao et al.'s curve" in text


def test_the_best_of_n_stands_beside_it_with_what_it_costs(tmp_path: Path) -> None:
    (tmp_path / "best").mkdir()
    told = {"n_most": 8, "reward_of_kept": 1.25, "reward_of_all": 0.5, "kl_at_most": 1.2044}
    jsonl.write(tmp_path / "best" / "summary.json", [told])
    best = StepView("answers/best_of_n", "best_of", tmp_path / "best", {"stage": "best_of"})
    found = drift(made(tmp_path / "a", turns=False), best)
    assert found is not None
    assert "the best of 8 answers by the same reward model scores 1.250" in found.sentences[-1]
    assert "at no more than 1.20 nats" in found.sentences[-1]


def test_a_run_that_nobody_judged_says_so(tmp_path: Path) -> None:
    found = drift(made(tmp_path / "a", turns=True, judged=False))
    assert found is not None
    assert "over-optimisation could not have been seen" in " ".join(found.sentences)
    assert all(look.held_out is None for look in found.looks)
    assert drift(None) is None
