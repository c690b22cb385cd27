"""Chosen answers that sink are seen, and what the recipe says of it is done."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from align.configs import Displacement, DPOConfig
from align.records import Preference
from align.store import jsonl
from align.training.displacement import FALLS, SHIFT, Look, alarm, looks
from align.training.trainer import TransformersTrainer
from tests.training.tiny import LIVES, Place, World, digests, killed, question, turn


def log(*shifts: float) -> list[dict[str, Any]]:
    return [{"step": n + 1, FALLS: float(shift < 0), SHIFT: shift} for n, shift in enumerate(shifts)]


def test_a_look_sums_up_the_steps_since_the_last_and_eval_rows_are_none() -> None:
    rows = [*log(-1, -2, 3, 4), {"step": 4, "eval_loss": 0.5}, *log(9)]
    assert looks(rows, every=2) == [Look(2, 1.0, -1.5), Look(4, 0.0, 3.5)]


def test_only_bad_looks_in_a_row_raise_the_alarm_and_the_first_such_is_named() -> None:
    bad, good = [Look(n, 0.9, -1.0) for n in range(9)], Look(99, 0.2, 1.0)
    assert alarm([bad[0], bad[1], good, bad[2], bad[3]], in_a_row=3) is None
    assert alarm([bad[0], good, bad[1], bad[2], bad[3], bad[4]], in_a_row=3) == bad[3]
    assert alarm([Look(1, 0.5, -1.0)] * 3, in_a_row=3) is None
    assert alarm([Look(1, 0.9, 0.0)] * 3, in_a_row=3) is None


@pytest.fixture(scope="module")
def alike(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs whose two answers say almost the same, so that pushing one down pulls the other along."""
    path = tmp_path_factory.mktemp("alike") / "pairs.jsonl"
    rows = [
        Preference(
            prompt=(question(name),),
            chosen=(turn("assistant", f"{name} lives in {town} now."),),
            rejected=(turn("assistant", f"{name} lives in {town} now, I think."),),
        )
        for name, town in LIVES.items()
    ]
    jsonl.write(path, rows)
    return path


def train(world: World, data: Path, out: Path, action: str, **place: Any) -> dict[str, Any]:
    out.mkdir(parents=True, exist_ok=True)
    config = DPOConfig(
        learning_rate=2e-2, batch_size=3, epochs=12, eval_every=2, beta=0.5, max_grad_norm=1e9, checkpoint_every=3,
        displacement=Displacement.model_validate({"action": action, "looks": 2, "sft_weight": 2.0}),
    )  # fmt: skip
    made = Place(out / "work", **place)
    TransformersTrainer().dpo(config, world.model, data, None, out, made)
    return {**json.loads((out / "summary.json").read_text()), "notes": made.notes}


def rows_of(out: Path) -> list[dict[str, Any]]:
    return [row for _, row in jsonl.rows(out / "log.jsonl") if FALLS in row]


def test_sinking_answers_are_noted_and_training_goes_on(world: World, alike: Path, tmp_path: Path) -> None:
    told = train(world, alike, tmp_path, "warn")
    at = told["displacement"]["alarm_at_step"]
    assert at is not None
    assert any(f"step {at}: likelihood displacement: " in note and "training goes on" in note for note in told["notes"])
    rows = rows_of(tmp_path)
    assert len(rows) == told["steps"] == 24
    # the first step is taken by the reference itself
    assert (rows[0][FALLS], rows[0][SHIFT]) == (0.0, pytest.approx(0.0, abs=1e-3)) or rows[0][SHIFT] > -1e-3


def test_training_is_stopped_where_the_recipe_says_so(world: World, alike: Path, tmp_path: Path) -> None:
    at = train(world, alike, tmp_path, "stop")["displacement"]["alarm_at_step"]
    assert at is not None
    assert rows_of(tmp_path)[-1]["step"] == at < 24
    assert (tmp_path / "model" / "config.json").exists()


def test_or_the_chosen_answers_are_lifted_again(world: World, alike: Path, tmp_path: Path) -> None:
    warned = train(world, alike, tmp_path / "warn", "warn")["displacement"]
    lifted = train(world, alike, tmp_path / "lift", "add_sft")["displacement"]
    assert lifted["alarm_at_step"] == warned["alarm_at_step"]
    assert lifted["chosen_shift"] > warned["chosen_shift"] + 1


def test_a_run_killed_after_its_alarm_ends_as_one_that_was_not(world: World, alike: Path, tmp_path: Path) -> None:
    at = train(world, alike, tmp_path / "whole", "add_sft")["displacement"]["alarm_at_step"]
    dies = ("dpo", at + 2)
    assert killed(lambda: train(world, alike, tmp_path / "broken", "add_sft", dies=dies))  # type: ignore[arg-type,return-value]
    train(world, alike, tmp_path / "broken", "add_sft")
    whole, broken = (
        {n: d for n, d in digests(tmp_path / which).items() if not n.startswith("work")}
        for which in ("whole", "broken")
    )
    assert whole == broken
