"""What is put to the server: exact text, safe to paste, without who wrote it, and thinking as the recipe says."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from align.adapters.argilla import page
from align.adapters.argilla.book import Answer
from align.adapters.argilla.settings import KEYS, QUESTIONS, differences, settings
from align.adapters.argilla.verdicts import judged, moment
from align.configs import LabelConfig
from align.configs.argilla import ArgillaConfig
from align.errors import RecipeError
from align.records import Candidate, Judgment, Message, ToolCall
from tests.adapters.argilla.made import Work, eggs

THOUGHT = "<think>\nSix, I think.\n</think>\n\nSix minutes."


@given(st.text(st.characters(exclude_categories=("Cs",))))
def test_encoded_text_ends_no_script_and_comes_back_exactly(text):
    there = page.encoded({"a": [text]})["a"][0]
    assert not re.search(r"[<$#&\x00]", there)
    assert page.decoded(there) == text


def test_the_template_survives_the_replace_that_puts_the_page_together():
    assert not re.search(r"\$[$&'`]|#RECORD_OBJECT#|#TEMPLATE#", page.template())
    assert "http" not in page.template(), "nothing is asked of anybody"


def answer(text: str, thinking: page.Thinking, apart: str | None = None) -> page.Answer:
    said = (Message(role="assistant", content=text),)
    return page.answer(Candidate(prompt_id="p", completion=said, model="m", thinking=apart), thinking)


@pytest.mark.parametrize("how", ["fold", "show"])
def test_thinking_in_the_answer_is_kept_beside_it_so_that_raw_is_exact(how):
    found = answer(THOUGHT, how)
    assert (found.text, found.thinking) == ("Six minutes.", "Six, I think.")
    assert (found.head or "") + found.text == THOUGHT


def test_hidden_thinking_does_not_leave_this_machine():
    for found in (answer(THOUGHT, "hide"), answer("Six minutes.", "hide", apart="Six, I think.")):
        assert found == page.Answer("Six minutes.", hidden_words=3)


def test_an_answer_that_only_speaks_of_think_tags_is_no_thinking():
    for text in ("Write <think>x</think> first.", "<think>never closed", "</think> a <think>"):
        assert answer(text, "fold") == page.Answer(text)


@pytest.mark.parametrize(
    ("thinking", "apart", "line"),
    [
        ("fold", None, "Trained on: the answer exactly as Raw shows it, thinking included."),
        ("hide", None, "Trained on: the answer exactly as Raw shows it, and its thinking."),
        ("fold", "hm", "Trained on: the answer exactly as Raw shows it; the thinking is kept apart."),
    ],
)
def test_the_page_says_what_is_trained_on(thinking, apart, line):
    text = "Six minutes." if apart else THOUGHT
    work = Work(["?"], [(text, text + " Or so.")], thinking=apart)
    one = work.comparisons[0]
    shown = page.fields(one, work.prompts, work.candidates, layout="pair", thinking=thinking)
    assert shown["pair"]["trained"] == line


def test_tools_that_were_called_are_shown():
    call = ToolCall(name="clock", arguments={"minutes": 6})
    said = (
        Message(role="assistant", content="", tool_calls=(call,)),
        Message(role="tool", content="ring"),
        Message(role="assistant", content="Done."),
    )
    found = page.answer(Candidate(prompt_id="p", completion=said, model="m"), "fold")
    assert found.text == '[assistant] → clock({"minutes":6})\n\n[tool] ring\n\n[assistant] Done.'


def test_no_name_of_a_model_is_in_what_annotators_are_given():
    work = eggs(3)
    for one in work.comparisons:
        for layout in ("pair", "plain"):
            shown = page.fields(one, work.prompts, work.candidates, layout=layout, thinking="fold")
            assert "secret" not in str(shown)
            made = page.record(shown, one, work.candidates)
            assert made["external_id"] == one.id
            assert made.keys() == {"external_id", "fields", "metadata"}, "no suggestion, no response"


def test_the_data_sets_name_stands_for_what_an_answer_means(tmp_path):
    guideline = tmp_path / "g.md"
    guideline.write_text("Prefer what helps.")

    def name(**knobs: object) -> str:
        mine = {k: v for k, v in knobs.items() if k in ("layout", "thinking", "timeout_s")}
        whole = {"desk": "argilla", "argilla": ArgillaConfig.model_validate(mine)}
        return settings(LabelConfig.model_validate(whole | {k: v for k, v in knobs.items() if k not in mine})).name

    plain = name()
    assert plain == name(annotators_per_comparison=1) == name(timeout_s=1)
    assert len({plain, name(layout="plain"), name(thinking="hide"), name(guideline=str(guideline))}) == 4


def test_guidelines_that_argilla_cannot_take_are_refused_before_anything_is_made(tmp_path):
    long = tmp_path / "long.md"
    long.write_text("x" * 9_900)
    with pytest.raises(
        RecipeError, match=rf"long\.md: 9,900 characters, and with the table of keys {9_901 + len(KEYS):,}"
    ):
        settings(LabelConfig(desk="argilla", guideline=str(long)))


def test_titles_may_change_and_options_may_not():
    wanted = settings(LabelConfig(desk="argilla"))
    theirs = [dict(one) for one in QUESTIONS]
    theirs[0]["title"] = "Which one?"
    assert differences(wanted.fields, theirs, wanted) == []
    theirs[1] = theirs[1] | {"settings": {"type": "rating", "options": [{"value": n} for n in (1, 2)]}}
    assert differences(wanted.fields, theirs[:3], wanted) == [
        "question `correction` is gone",
        "question `strength`: options 1, 2, 3 → 1, 2",
    ]


def test_an_answer_becomes_a_judgment_or_a_reason():
    one = eggs(1).comparisons[0]
    said = Answer(one.id, "u", "r", "submitted", {"preference": "a"}, "2026-01-02T03:04:05", "2026-01-02T03:04:05.5")

    def found(**values: object) -> Judgment | str:
        return judged(replace(said, values=values), one, annotator="p", provenance="human")

    assert isinstance(found(preference="tie", strength=2), Judgment)
    assert found() == "without a choice"
    assert found(preference="left") == "of an unknown option"
    assert found(preference="a", strength=7) == "of an unknown strength"
    assert found(preference=["a"]) == "of an unknown option"


def test_servers_times_are_utc_whatever_they_say():
    assert moment("2026-01-02T03:04:05") == "2026-01-02T03:04:05+00:00"
    assert moment("2026-01-02T03:04:05+02:00") == "2026-01-02T01:04:05+00:00"


def test_the_guideline_of_the_house_fits():
    path = Path(__file__).parents[3] / "recipes" / "guidelines" / "helpful.md"
    assert settings(LabelConfig(desk="argilla", guideline=str(path))).guidelines.startswith("# Which answer is better?")
