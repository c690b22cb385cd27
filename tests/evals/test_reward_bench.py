"""Reward models under RewardBench's formats, and what their favourites among judged answers are worth."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from align.data.rows import Row
from align.errors import RecordError
from align.evals import best_of_n, reward_bench, summary
from align.evals.evidence import Evidence
from align.records import Item, Measurement, Message
from tests.evals.published import real


def items(*rows: dict[str, object]) -> list[Item]:
    return list(reward_bench.questions(Row(row, f"made:{i}", f"made:{i}") for i, row in enumerate(rows, start=1)))


def measured(of: list[Item], worth: Callable[[str], float]) -> dict[str, Measurement]:
    def reward(chats: Sequence[tuple[Message, ...]]) -> list[float]:
        return [worth(chat[-1].content) for chat in chats]

    scores = reward_bench.score(Evidence("reward", items=of, reward=reward))
    return {m.metric: m for m in summary.measurements(reward_bench.INSTRUMENT, scores, model="reward")}


def pair(i: int, subset: str, chosen: str, rejected: str) -> dict[str, object]:
    return {"prompt": f"Question {i}", "chosen": chosen, "rejected": rejected, "subset": subset}


def test_a_section_weighs_math_as_its_authors_do() -> None:
    """One pair of 447 counts as 984/447 beside a coding pair: right on math alone is 0.6876 of that section."""
    found = measured(items(pair(1, "math-prm", "good", "bad"), pair(2, "hep-go", "bad", "good")), len)
    weight = 984 / 447
    assert found["reasoning"].value == pytest.approx(weight / (weight + 1))
    assert "chat" not in found, "a section without pairs is not measured, and not 0"


def test_of_four_answers_the_best_must_be_found_and_a_tie_is_shared() -> None:
    rows = [{"prompt": f"Q {i}", "chosen": ["best"], "rejected": ["a", "b", "c"], "subset": "Math"} for i in range(4)]
    assert measured(items(*rows), lambda text: float(text == "best"))["math"].value == 1
    assert measured(items(*rows), lambda text: 0.0)["math"].value == 0.25
    assert measured(items(*rows), lambda text: float(text == "a"))["math"].value == 0


def test_the_two_safeties_are_two() -> None:
    of = items(
        pair(1, "donotanswer", "No.", "Sure."),
        {"prompt": "Q", "chosen": ["No."], "rejected": ["x", "y", "z"], "subset": "Safety"},
    )
    assert {item.meta["section"] for item in of} == {"safety", "safety_2"}


def test_ties_are_left_out_and_another_subset_is_another_version() -> None:
    assert items({"prompt": "Q", "chosen": ["red", "blue"], "rejected": ["tea"], "subset": "Ties"}) == []
    with pytest.raises(RecordError, match="a subset of RewardBench"):
        items(pair(1, "alpaca-very-hard", "a", "b"))


def picks(of: list[Item], worth: Callable[[Item, int], float]) -> dict[str, Measurement]:
    rewards = [worth(item, i) for item in of for i in range(len(item.choices))]
    scores = best_of_n.score(Evidence("reward", items=of, reward=lambda chats: rewards))
    return {m.metric: m for m in summary.measurements(best_of_n.INSTRUMENT, scores, model="reward")}


@pytest.mark.parametrize(("always", "published"), [(0, 27.3137), (1, 28.6766)])
def test_whoever_always_picks_one_sample_wins_as_often_as_was_published_of_it(always: int, published: float) -> None:
    """Of 805 rows; the leaderboard gives the same to four decimals, and so do we, but for prompts said twice."""
    of = [one for one in real(best_of_n.INSTRUMENT) if isinstance(one, Item)]
    found = picks(of, lambda item, i: float(i == always))
    assert found["win_rate"].value is not None
    assert 100 * found["win_rate"].value == pytest.approx(published, abs=0.1)
    assert found["win_rate"].n >= 800


def test_a_pick_lies_between_any_and_the_best() -> None:
    of = [one for one in real(best_of_n.INSTRUMENT) if isinstance(one, Item)]
    knowing = picks(of, lambda item, i: float(item.meta["wins"][i]))  # type: ignore[index, arg-type]
    assert knowing["win_rate"].value == knowing["of_best"].value
    assert knowing["over_any"].value is not None
    assert knowing["over_any"].value > 0.05
