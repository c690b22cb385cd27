"""What quickstart must reach, and the controls that show it does not mark its own homework.

About 25 minutes on two cores. `ALIGN_SLOW_STORE` names a store to keep, so that what is made is not made again.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import align
from align.records import GateVerdict, Measurement
from align.store import jsonl

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.e2e, pytest.mark.timeout(3600)]


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    kept = os.environ.get("ALIGN_SLOW_STORE")
    return Path(kept) if kept else tmp_path_factory.mktemp("quickstart")


def run(store: Path, name: str, *sets: str) -> align.Result:
    recipe = align.load(ROOT / "recipes" / "quickstart.yaml", [f"name={name}", "gate.on_fail=report", *sets])
    return align.run(recipe, store=store, quiet=True)


def compared(result: align.Result, metric: str, against: str = "sft") -> Measurement:
    rows = jsonl.read(result.artifacts["gate"].path / "compared.jsonl", Measurement)
    return next(
        row
        for row in rows
        if f"{row.instrument}.{row.metric}" == metric and row.model == "tuned" and row.meta["against"] == against
    )


def measured(result: align.Result, model: str, metric: str) -> Measurement:
    instrument, name = metric.split(".")
    rows = jsonl.read(result.artifacts[f"evaluate/{model}/{instrument}"].path / "measurements.jsonl", Measurement)
    return next(row for row in rows if row.metric == name)


def low(measurement: Measurement) -> float:
    assert measurement.low is not None
    return measurement.low


def high(measurement: Measurement) -> float:
    assert measurement.high is not None
    return measurement.high


@pytest.mark.parametrize("seed", [7, 8, 9])
def test_the_default_run_reaches_what_it_claims(store: Path, seed: int) -> None:
    result = run(store, f"seed-{seed}", f"seed={seed}", f"data.testbed.world_seed={seed}")
    verdicts = list(jsonl.read(result.artifacts["gate"].path / "verdicts.jsonl", GateVerdict))
    assert {v.verdict for v in verdicts} <= {"pass", "inconclusive"}, [v.why for v in verdicts if v.verdict == "fail"]
    facts = measured(result, "base", "facts.accuracy").value
    assert facts is not None
    assert 0.4 <= facts <= 0.8
    well_formed = measured(result, "sft", "utility.well_formed").value
    assert well_formed is not None
    assert well_formed >= 0.9
    for metric in ("win_rate.raw", "win_rate.length_matched"):
        assert low(compared(result, metric)) > 0.55, metric
    for kind in ("fact", "harmful", "lookalike"):
        won = compared(result, f"win_rate.{kind}").value
        assert won is not None
        assert won >= 0.5, kind


def test_with_labels_shuffled_the_tuned_model_wins_as_often_as_it_loses(store: Path) -> None:
    won = compared(run(store, "shuffled", "label.people.labels=shuffled"), "win_rate.raw")
    assert low(won) <= 0.5 <= high(won)


def test_with_labels_reversed_the_tuned_model_loses(store: Path) -> None:
    result = run(store, "reversed", "label.people.labels=reversed")
    assert high(compared(result, "win_rate.raw")) < 0.5
    assert high(compared(result, "win_rate.length_matched")) < 0.5


def test_the_measured_pronoun_skew_grows_with_the_planted_one(store: Path) -> None:
    skews = [
        measured(
            run(store, f"skew-{strength}" if strength < 1 else "seed-7", f"data.testbed.pronoun_skew={strength}"),
            "tuned",
            "pronouns.skew",
        )
        for strength in (0.0, 0.5, 1.0)
    ]
    none, half, whole = (skew.value for skew in skews)
    assert none is not None
    assert half is not None
    assert whole is not None
    assert none < half < whole
    # half the strength is learnt far less than half (recipes/LOG.md), so only the ends are far apart
    assert high(skews[0]) < low(skews[2])
    assert low(skews[0]) <= 0 <= high(skews[0])
