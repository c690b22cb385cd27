"""What a policy answered while it learnt, and what that was worth: `align show ARTIFACT --rollouts N`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from align.errors import UsageError

FILE = "rollouts.parquet"


def last(artifact: Path, n: int) -> list[dict[str, Any]]:
    """The last `n` answers, the best rewarded first within a step; UsageError where none were kept."""
    path = artifact / FILE
    if not path.is_file():
        raise UsageError(f"{artifact}: holds no {FILE}; --rollouts belongs to an artifact of stage `rlhf`")
    import pyarrow.parquet

    rows: list[dict[str, Any]] = pyarrow.parquet.read_table(path).to_pylist()
    rows.sort(key=lambda row: (-row["step"], -row["reward"]))
    return rows[:n]


def told(rows: list[dict[str, Any]]) -> str:
    """A line of numbers and the answer, each."""
    parts = []
    for row in rows:
        scores = ", ".join(f"{k.removeprefix('reward/')} {v:.3f}" for k, v in row.items() if k.startswith("reward/"))
        kl = "no reference" if row.get("kl") is None else f"{row['kl']:+.2f} nats"
        parts.append(
            f"step {row['step']}  reward {row['reward']:.3f} ({scores})  KL {kl}\n"
            f"  {row['prompt'][-1]['content']!r}\n  → {row['answer']!r}"
        )
    return "\n".join(parts)
