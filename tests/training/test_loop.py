from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from align.configs import RuntimeConfig, SFTConfig
from align.errors import BackendError
from align.store import jsonl
from align.training.loop import fitting, trackers
from align.training.trainer import TransformersTrainer
from tests.training.tiny import Place, World


def test_nothing_is_reported_anywhere_unless_asked(tmp_path: Path) -> None:
    assert trackers(Place(tmp_path)) == ["none"]


def test_a_tracker_that_is_not_installed_is_named_with_its_pip_line_before_training(tmp_path: Path) -> None:
    missing = next((name for name in ("mlflow", "trackio", "wandb", "tensorboard") if find_spec(name) is None), None)
    if missing is None:
        pytest.skip("every tracker is installed")
    place = Place(tmp_path)
    place.runtime = RuntimeConfig.model_validate({"device": "cpu", "report_to": [missing]})
    with pytest.raises(BackendError, match=f"pip install {missing}"):
        trackers(place)


def test_what_tensorboard_is_told_is_what_the_log_says_and_none_of_it_is_in_the_result(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "told"))
    out, place = tmp_path / "out", Place(tmp_path / "work")
    out.mkdir()
    place.runtime = RuntimeConfig.model_validate(
        {"device": "cpu", "dtype": "float32", "threads": 1, "report_to": ["tensorboard"]}
    )
    config = SFTConfig(learning_rate=1e-3, batch_size=6, epochs=1)
    TransformersTrainer().sft(config, world.model, world.demonstrations, None, out, place)
    (folder,) = {path.parent for path in (tmp_path / "told").rglob("events.out.tfevents.*")}
    events = EventAccumulator(str(folder))
    events.Reload()
    told = {event.step: event.value for event in events.Scalars("train/loss")}
    logged = {row["step"]: row["loss"] for _, row in jsonl.rows(out / "log.jsonl") if "loss" in row}
    assert len(logged) == 3
    assert told == pytest.approx(logged, rel=1e-5)
    assert not [path for path in out.rglob("*") if "tfevents" in path.name]


def test_as_many_rows_are_taken_at_once_as_fit_whichever_they_are() -> None:
    assert fitting([10, 20, 30, 40], 4, 100) == 4
    assert fitting([10, 20, 30, 40], 4, 99) == 2
    assert fitting([10, 20, 30, 40], 4, 60) == 1
