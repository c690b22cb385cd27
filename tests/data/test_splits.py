"""One prompt, one side."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from align.data.splits import Sides, opening_key, prompt_key, side
from align.errors import RecordError
from align.records import Message


def said(*turns: str) -> tuple[Message, ...]:
    return tuple(Message(role="assistant" if i % 2 else "user", content=text) for i, text in enumerate(turns))


def test_spacing_case_and_composition_make_no_other_prompt():
    assert prompt_key(said(" Caf\u00e9 \n now")) == prompt_key(said("cafe\u0301 NOW"))
    assert prompt_key(said("now")) != prompt_key(said("know"))
    assert prompt_key(said("a", "b", "c")) != prompt_key(said("a b c"))


@given(st.text(max_size=20))
def test_a_prompt_and_its_decomposed_twin_stand_together(text):
    one, twin = said(text), said(unicodedata.normalize("NFD", text))
    assert prompt_key(one) == prompt_key(twin)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5])
def test_the_share_of_prompts_held_out_is_about_what_was_asked(share):
    n = sum(side(str(i), test_share=share, salt="s") == "test" for i in range(4000))
    assert n / 4000 == pytest.approx(share, abs=0.02)


def test_raising_the_share_moves_prompts_to_test_and_none_back():
    small = {i for i in range(500) if side(str(i), test_share=0.1, salt="s") == "test"}
    large = {i for i in range(500) if side(str(i), test_share=0.3, salt="s") == "test"}
    assert small < large


def test_a_second_split_with_its_own_salt_divides_what_the_first_left():
    left = [str(i) for i in range(4000) if side(str(i), test_share=0.1, salt="prepare") == "train"]
    n = sum(side(key, test_share=0.1, salt="pair") == "test" for key in left)
    assert n / len(left) == pytest.approx(0.1, abs=0.02)


def test_the_same_prompt_fixed_on_both_sides_is_an_error_that_names_both_places():
    sides = Sides(test_share=0.1, by="opening")
    sides.fix(said("Which way?"), "train", "a.jsonl:1")
    sides.fix(said("Which way?"), "train", "a.jsonl:2")
    with pytest.raises(RecordError, match=r"b\.jsonl:9: this prompt is for test, but .* a\.jsonl:1 is for train"):
        sides.fix(said("which  WAY?"), "test", "b.jsonl:9")


def test_a_prompt_that_a_file_fixes_takes_its_repeats_along():
    sides = Sides(test_share=0.5, by="prompt")
    for i in range(20):
        sides.fix(said(f"q{i}"), "test" if i % 2 else "train", f"f:{i}")
    assert [sides.of(said(f"Q{i} ")) for i in range(20)] == ["test" if i % 2 else "train" for i in range(20)]


def test_conversations_that_open_alike_stand_together_when_split_by_opening():
    sides = Sides(test_share=0.5, by="opening")
    for i in range(30):
        opening = f"q{i}"
        whole = [said(opening), said(opening, "a", "more?"), said(opening, "b", "why?", "c", "and?")]
        assert len({sides.of(one) for one in whole}) == 1


def test_what_continues_a_held_out_opening_is_held_out_too():
    sides = Sides(test_share=0.0, by="opening")
    sides.fix(said("Which way?"), "test", "f:1")
    assert sides.of(said("Which way?", "Left.", "And then?")) == "test"
    assert sides.of(said("Which road?")) == "train"


def test_what_opens_like_a_row_that_a_file_fixes_stands_beside_it():
    sides = Sides(test_share=0.9, by="opening")
    sides.fix(said("Which way?", "Left.", "Sure?"), "train", "f:1")
    assert sides.of(said("which way?", "Right.", "Why?")) == "train"
    sides.fix(said("Which way?", "Left.", "Really?"), "test", "g:1")
    assert sides.of(said("Which way?", "Left.", "Sure?")) == "test", "an opening held out anywhere is held out"


def test_split_by_prompt_looks_at_the_whole_of_it():
    sides = Sides(test_share=0.5, by="prompt")
    assert {sides.of(said("Hi", "Hello.", f"q{i}")) for i in range(40)} == {"train", "test"}
    assert opening_key(said("Hi", "Hello.", "q1")) == opening_key(said("hi "))
