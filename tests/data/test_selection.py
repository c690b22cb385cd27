"""Which rows are kept, and that each of the others is accounted for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from align.data.formats import EQUAL, Left
from align.data.rows import Row
from align.data.selection import Taken, few_equal, one_content_a_name, take, usable
from align.errors import RecordError

words = st.text(alphabet="abcdef ", min_size=1, max_size=6)


def stream(values: list[str]) -> Iterator[tuple[Row, str | Left]]:
    for i, value in enumerate(values, start=1):
        yield Row({}, f"f:{i}", f"f:{i}"), value if value.strip() else Left("blank")


def taken(values: list[str], *, limit: int | None = None, max_words: int | None = None) -> Taken[str]:
    return take(stream(values), prompt=str, name=str, words=lambda v: len(v.split()), limit=limit, max_words=max_words)


@given(st.lists(words, max_size=30), st.randoms(), st.integers(1, 8), st.one_of(st.none(), st.integers(1, 2)))
def test_the_order_of_a_file_decides_neither_which_rows_are_kept_nor_any_count(values, random, limit, longest):
    mixed = list(values)
    random.shuffle(mixed)
    one, other = taken(values, limit=limit, max_words=longest), taken(mixed, limit=limit, max_words=longest)
    assert {unit.value for unit in one.units} == {unit.value for unit in other.units}
    assert one.dropped == other.dropped


@given(st.lists(words, max_size=30), st.one_of(st.none(), st.integers(1, 8)))
def test_every_row_is_kept_or_counted(values, limit):
    result = taken(values, limit=limit)
    assert result.n_read == len(values) == len(result.units) + sum(result.dropped.values())
    assert len(result.units) == min(len({v for v in values if v.strip()}), limit or len(values))


@given(st.lists(words, max_size=30))
def test_kept_rows_stand_in_the_files_order_at_their_first_place(values):
    result = taken(values)
    assert [unit.value for unit in result.units] == list(dict.fromkeys(v for v in values if v.strip()))
    assert all(unit.place == f"f:{values.index(unit.value) + 1}" for unit in result.units)


def test_rows_added_to_a_file_take_places_but_never_swap_those_that_stay():
    small = {unit.value for unit in taken([f"row {i}" for i in range(50)], limit=20).units}
    large = {unit.value for unit in taken([f"row {i}" for i in range(60)], limit=20).units}
    assert {value for value in large if int(value.split()[1]) < 50} <= small


def test_memory_holds_what_is_kept_and_not_what_was_read():
    alive = 0
    most = 0

    class Value:
        """A value that knows how many of its kind there are."""

        def __init__(self, name: str) -> None:
            nonlocal alive, most
            self.name = name
            alive += 1
            most = max(most, alive)

        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    rows = ((Row({}, f"f:{i}", ""), Value(str(i))) for i in range(5000))
    result = take(rows, prompt=lambda v: v.name, name=lambda v: v.name, words=lambda v: 1, limit=10)
    assert len(result.units) == 10
    assert most <= 13


def test_nothing_left_is_an_error_that_says_why():
    with pytest.raises(RecordError, match=r"here: 0 usable rows of 3: 2 blank, 1 more words than max_words"):
        usable(taken([" ", "a b", "  "], max_words=1), "here")
    with pytest.raises(RecordError, match=r"here: 0 usable rows of 0: the file is empty"):
        usable(taken([]), "here")


def test_a_few_equal_pairs_are_let_pass_and_many_are_not():
    made: Taken[str] = Taken(n_read=100)
    made.dropped[EQUAL] = 5
    few_equal(made, "here", max_equal_share=0.05)
    made.dropped[EQUAL] = 6
    with pytest.raises(RecordError, match="here: chosen equals rejected in 6 of 100 rows, more than"):
        few_equal(made, "here", max_equal_share=0.05)


def test_one_name_for_two_contents_is_an_error_that_gives_both_places():
    units = taken(["1:a", "2:b", "1:c"]).units
    with pytest.raises(RecordError, match=r"f:3: id '1' names another row already \(f:1\)"):
        one_content_a_name(units, called=lambda v: v.split(":")[0], name=str)
    one_content_a_name(units, called=lambda v: None, name=str)
