"""The end of a run in a terminal."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from align.report.terminal import summary
from align.report.view import RunView
from tests.report.conftest import made_run


def printed(view: RunView, *, width: int = 110) -> str:
    stream = io.StringIO()
    Console(file=stream, width=width).print(summary(view))
    return stream.getvalue()


def test_the_verdict_comes_first_and_the_three_models_stand_side_by_side(view: RunView) -> None:
    lines = printed(view).splitlines()
    assert lines[0].startswith("quickstart: Stopped by the gate. 5 of 8 margins held.")
    row = next(line for line in lines if line.startswith("↑ facts · accuracy"))
    places = [row.index(number) for number in ("0.63 [", "0.67 [", "0.65 [")]
    assert places == sorted(places)
    assert "tuned over SFT: raw" in "\n".join(lines)


def test_simulated_runs_say_so(tmp_path: Path) -> None:
    assert "simulated" in printed(made_run(tmp_path / "made"))
    assert "simulated" not in printed(made_run(tmp_path / "real", simulated=False))


@pytest.mark.parametrize("missing", [{"sft": False}, {"label": False}, {"verdict": None}])
def test_a_run_with_pieces_missing_still_has_a_summary(tmp_path: Path, missing: dict[str, bool]) -> None:
    assert printed(made_run(tmp_path, **missing))  # type: ignore[arg-type]


def test_the_models_fit_side_by_side_in_eighty_columns(view: RunView) -> None:
    assert any(line.count("[") == 3 for line in printed(view, width=80).splitlines())


def test_a_number_that_is_absent_is_a_dash(view: RunView) -> None:
    assert re.search(r"↑ dpo accuracy · reward +– +– +0\.", printed(view))


def test_nothing_is_cut_off_in_a_narrow_terminal(view: RunView) -> None:
    text = printed(view, width=60)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= 60
