"""The long kill schedule: at every point of sealing, in every stage."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from align.store.artifacts import CRASH_POINTS
from tests.e2e.test_tiny_run import RECIPE, align, digests

pytestmark = [pytest.mark.e2e, pytest.mark.slow]
STEPS = (
    "prepare", "base", "sft", "generate", "label", "pair", "dpo", "answers/tuned", "evaluate/tuned/facts", "gate",
    "export",
)  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The digests of an unbroken run."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "tiny.yaml").write_text(RECIPE, encoding="utf-8")
    assert align("run", "tiny.yaml", cwd=folder).returncode == 0
    return digests(folder / "runs")


def test_a_kill_at_every_point_of_every_sealing_costs_one_step(whole: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(RECIPE, encoding="utf-8")
    for step in STEPS:
        for point in CRASH_POINTS:
            died = align("run", "tiny.yaml", "--until", step, cwd=tmp_path, env={"ALIGN_CRASH_AT": f"{step}:{point}"})
            if point == "set-aside":  # reached only where the step was made before
                assert died.returncode == 0, died.stderr
                again = {"ALIGN_CRASH_AT": f"{step}:{point}"}
                died = align("run", "tiny.yaml", "--until", step, "--redo", step, cwd=tmp_path, env=again)
            if point == "renamed":  # reached once, and reused from then on
                assert died.returncode in (0, -signal.SIGKILL)
            else:
                assert died.returncode == -signal.SIGKILL, (step, point, died.stderr)
    done = align("run", "tiny.yaml", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert digests(tmp_path / "runs") == whole
    assert align("check", "tiny.yaml", "--deep", cwd=tmp_path).returncode == 0
