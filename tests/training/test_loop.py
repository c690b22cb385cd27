from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from align.configs import RuntimeConfig
from align.errors import BackendError
from align.training.loop import fitting, trackers
from tests.training.tiny import Place


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


def test_as_many_rows_are_taken_at_once_as_fit_whichever_they_are() -> None:
    assert fitting([10, 20, 30, 40], 4, 100) == 4
    assert fitting([10, 20, 30, 40], 4, 99) == 2
    assert fitting([10, 20, 30, 40], 4, 60) == 1
