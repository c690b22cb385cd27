from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from align.errors import TrainingError
from align.training.reference import TOKENS, in_batches, reference_logps
from tests.training.tiny import Place

ROWS = [{"prompt_ids": [1] * n, "chosen_ids": [2], "rejected_ids": [3]} for n in (5, 3, 9)]


class Shelved(Place):
    def __init__(self, work: Path, shelves: Path) -> None:
        super().__init__(work)
        self.shelves = shelves

    def shelf(self, name: str) -> Path:
        return self.shelves / name[:32]


COLUMNS = ("prompt_ids", "chosen_ids", "rejected_ids")


def run(place: Place, *, made_of: str = "model", rows: list[dict[str, list[int]]] = ROWS) -> tuple[list[float], int]:
    calls = 0

    def compute(batch: Sequence[int]) -> tuple[list[float], list[float]]:
        nonlocal calls
        calls += 1
        return [-float(i) for i in batch], [-10.0 * i for i in batch]

    chosen, _ = reference_logps(
        rows,
        "train",
        compute,
        place,
        lengths=[len(row["prompt_ids"]) for row in rows],
        batch_size=2,
        made_of=[made_of],
        columns=COLUMNS,
    )
    return chosen, calls


def test_equal_contents_are_computed_once_and_others_again(tmp_path: Path) -> None:
    shelves = tmp_path / "shelves"
    assert run(Shelved(tmp_path / "a", shelves)) == ([0.0, -1.0, -2.0], 2)
    assert run(Shelved(tmp_path / "b", shelves)) == ([0.0, -1.0, -2.0], 0)
    assert run(Shelved(tmp_path / "c", shelves), made_of="another model")[1] == 2
    other = [{**row, "chosen_ids": [4]} for row in ROWS]
    assert run(Shelved(tmp_path / "d", shelves), rows=other)[1] == 2


def test_a_batch_of_the_reference_holds_so_many_rows_or_so_many_tokens() -> None:
    assert in_batches([5, 3, 9], 2) == [[1, 0], [2]]
    assert in_batches([TOKENS // 2, TOKENS // 2, 1], None) == [[2, 0], [1]]


def test_a_reference_that_is_not_a_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="NaN or infinity"):
        reference_logps(
            ROWS[:1], "train", lambda batch: ([float("nan")], [0.0]), Place(tmp_path), lengths=[5], batch_size=1,
            made_of=[], columns=COLUMNS,
        )  # fmt: skip
