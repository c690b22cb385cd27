"""`align show ARTIFACT --rollouts N`: what a policy answered while it learnt."""

from __future__ import annotations

from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from align.cli import rollouts
from align.errors import UsageError
from tests.cli.conftest import Align
from tests.runner.conftest import Place

ROWS = [
    {
        "step": step,
        "prompt_id": f"p{i}" * 8,
        "prompt": [{"role": "user", "content": f"question {i}"}],
        "answer": f"answer {step}.{i}",
        "reward/model": float(i),
        # the length of an answer counts against it here
        "reward/length": -9.0 * i,
        "reward": float(i),
        "kl": 0.5 * step,
    }
    for step in (1, 2)
    for i in range(3)
]


def test_the_last_and_best_rewarded_come_first(tmp_path: Path) -> None:
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), tmp_path / "rollouts.parquet")
    found = rollouts.last(tmp_path, 4)
    assert [row["answer"] for row in found] == ["answer 2.2", "answer 2.1", "answer 2.0", "answer 1.2"]
    text = rollouts.told(found)
    assert "step 2  reward 2.000 (model 2.000, length -18.000)  KL +1.00 nats\n  'question 2'\n  → 'answer 2.2'" in text


def test_an_artifact_without_any_says_so(tmp_path: Path, made: Place, align: Align) -> None:
    with pytest.raises(UsageError, match=r"holds no rollouts\.parquet"):
        rollouts.last(tmp_path, 1)
    code, _, err = align("show", "pair", "--rollouts", "2", "--store", made.store.root)
    assert code == 2
    assert "belongs to an artifact of stage `rlhf`" in err
