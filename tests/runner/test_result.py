"""What a run hands back."""

from __future__ import annotations

import pytest

from align.errors import UsageError
from tests.runner.conftest import Place


def test_a_run_that_stopped_before_the_model_says_that_it_has_none(made: Place) -> None:
    result = made.runner(until="pair").run()
    assert set(result.artifacts) == {"prepare", "generate", "label", "pair"}
    with pytest.raises(UsageError, match="the run stopped before `dpo`"):
        _ = result.model
