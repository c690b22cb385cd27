"""The runner's small desk of people, and one command said to it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from align.cli import main
from tests.runner.conftest import Place, judged, made, place

__all__ = ["judged", "made", "place"]

Said = tuple[int, str, str]
Align = Callable[..., Said]


@pytest.fixture
def align(capsys: pytest.CaptureFixture[str]) -> Align:
    """One command in this process: its exit code, what it printed, and its complaint."""

    def obey(*words: str | Path) -> Said:
        capsys.readouterr()
        code = main([str(word) for word in words])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return code, out, err

    return obey


def at(place: Place, command: str, *words: str | Path) -> tuple[str | Path, ...]:
    return (command, place.recipe, "--store", place.store.root, *words)


def told(said: Said) -> Any:
    assert said[0] == 0, said[2]
    return json.loads(said[1])
