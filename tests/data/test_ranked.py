"""What rows with several answers become: an order with its ties, or nothing, and said so."""

from __future__ import annotations

from typing import Any

import pytest

from align.data.formats import Left
from align.data.ranked import FLAT, ranking
from align.data.rows import Row
from align.errors import RecordError
from align.records import Ranking

THREE = {"prompt": "Which way?", "completions": ["Left.", "Right.", "Ask."]}


def read(data: dict[str, Any], form: str = "prompts") -> Ranking | Left:
    return ranking(Row(data, "dir/f.jsonl:7", "f.jsonl:7"), form)


def texts(found: Ranking | Left) -> list[set[str]]:
    assert isinstance(found, Ranking)
    return [{found.answers[i][-1].content for i in group} for group in found.groups]


def test_higher_scores_and_lower_ranks_come_first_and_equal_ones_are_tied() -> None:
    assert texts(read({**THREE, "scores": [1, 3, 1]})) == [{"Right."}, {"Left.", "Ask."}]
    assert texts(read({**THREE, "ranks": [1, 3, 1]})) == [{"Left.", "Ask."}, {"Right."}]


def test_messages_are_answers_too_and_equal_answers_keep_the_better_place() -> None:
    said = [{"role": "assistant", "content": "Left."}]
    found = read({"prompt": "Which way?", "completions": [said, "Right.", "Left."], "scores": [0, 1, 2]})
    assert texts(found) == [{"Left."}, {"Right."}]


def test_a_record_is_taken_as_it_is() -> None:
    made = read({**THREE, "scores": [1, 3, 2]})
    assert isinstance(made, Ranking)
    assert read(made.model_dump(mode="json", by_alias=True), "records") == made


def test_an_order_that_tells_nothing_apart_is_left_out() -> None:
    assert read({**THREE, "scores": [1, 1, 1]}) == Left(FLAT)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({}, "scores: None found, expected scores (higher is better) or ranks (1 is best)"),
        ({"scores": [1, 2]}, "scores: [1, 2] found, expected 3 numbers"),
        ({"scores": [1, 2, True]}, "expected 3 numbers"),
        ({"completions": ["one"], "scores": [1]}, "completions: ['one'] found, expected two answers or more"),
        ({"prompt": "", "scores": [1, 2, 3]}, "prompt: '' found, expected a prompt"),
        ({"completions": ["a", "", "b"], "scores": [1, 2, 3]}, "completion: '' found, expected an answer"),
    ],
)
def test_a_row_that_is_wrong_is_named(more: dict[str, Any], said: str) -> None:
    with pytest.raises(RecordError) as refused:
        read({**THREE, **more})
    assert str(refused.value).startswith("dir/f.jsonl:7: ")
    assert said in str(refused.value)
