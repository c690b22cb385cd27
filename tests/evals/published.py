"""Public data for tests: the real files where they lie beside the project, and rows of our own in the same format."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from align.data import published
from align.data.published import Published, Question
from align.evals.evidence import Instrument
from align.stages.benchmark import chosen

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


def real(instrument: Instrument, most: int | None = None) -> list[Question]:
    """Questions of the published files, at most so many of a kind; the test is skipped where they are absent."""
    of = instrument.published
    assert of is not None
    return list(chosen(_read(of, folder(of.folder)), most))


@cache
def _read(of: Published, path: Path) -> list[Question]:
    return published.read(of, path)[0]


def folder(name: str) -> Path:
    """A folder of the public data; the test is skipped where it is absent."""
    if not (DATA / name).exists():
        pytest.skip(f"the public data are not here: {DATA / name}")
    return DATA / name
