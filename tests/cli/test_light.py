"""What costs nothing must go on costing nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HEAVY = (
    "torch",
    "transformers",
    "trl",
    "peft",
    "datasets",
    "accelerate",
    "pydantic",
    "numpy",
    "ruamel",
    "matplotlib",
    "rich",
)


def loaded(code: str) -> set[str]:
    """Which of the heavy packages a piece of code brings in."""
    tell = f"{code}\nimport sys; print([name for name in {HEAVY!r} if name in sys.modules])"
    told = subprocess.run(
        [sys.executable, "-c", tell], capture_output=True, text=True, check=True, cwd=ROOT, timeout=120
    )
    return set(eval(told.stdout.splitlines()[-1]))


def best_of(n: int, *command: str) -> float:
    """The least seconds of processor time that a command takes: what others do on this machine is not counted."""
    taken = []
    for _ in range(n):
        before = os.times()
        subprocess.run(command, capture_output=True, check=True, cwd=ROOT, timeout=60)
        after = os.times()
        taken.append(after.children_user + after.children_system - before.children_user - before.children_system)
    return min(taken)


def test_help_brings_in_nothing_heavy() -> None:
    assert loaded("from align.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass") == set()
    assert loaded("from align.cli import main\ntry: main(['run', '--help'])\nexcept SystemExit: pass") == set()


def test_importing_the_package_brings_in_nothing_heavy() -> None:
    assert loaded("import align") == set()


@pytest.mark.parametrize(
    "code", ["import align.plan", "import align.cli.run, align.cli.show, align.cli.clean, align.cli.check"]
)
def test_looking_at_a_plan_never_brings_in_torch(code: str) -> None:
    assert not loaded(code) & {"torch", "transformers", "trl", "peft", "datasets", "accelerate", "matplotlib"}


def test_help_answers_within_a_fifth_of_a_second() -> None:
    assert best_of(5, sys.executable, "-m", "align.cli", "--help") <= 0.2


def test_importing_the_package_takes_a_twentieth_of_a_second_at_most() -> None:
    code = "import time; start = time.perf_counter(); import align; print(time.perf_counter() - start)"
    command = (sys.executable, "-c", code)
    taken = [
        float(subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, timeout=60).stdout)
        for _ in range(5)
    ]
    assert min(taken) <= 0.05


def test_the_face_is_whole() -> None:
    import align

    for name in align.__all__:
        assert getattr(align, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = align.nothing
