"""The page: whole, self-contained, honest about what is missing or made."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from align.report.page import page
from align.report.view import RunView, StepView, in_order
from tests.report.conftest import made_run

VOID = {"meta", "br", "link", "img", "input", "hr", "path", "use", "rect", "stop"}


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    return page(made_run(tmp_path_factory.mktemp("run")))


class Tags(HTMLParser):
    """Every tag that is opened is closed in its turn."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.wrong: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in VOID:
            return
        if not self.open or self.open.pop() != tag:
            self.wrong.append(f"</{tag}> at {self.getpos()}")


@pytest.mark.parametrize("missing", [{"sft": False}, {"label": False, "verdict": None}])
def test_the_page_is_well_formed_whatever_is_missing_and_marks_nothing_that_is_real(
    tmp_path: Path, missing: dict[str, Any]
) -> None:
    page_of_people = page(made_run(tmp_path, simulated=False, **missing))
    balanced(page_of_people)
    assert 'class="made"' not in page_of_people


def test_the_whole_page_is_well_formed_and_names_nothing_twice(text: str) -> None:
    ids = balanced(text)
    assert len(ids) == len(set(ids))


def balanced(text: str) -> list[str]:
    """The ids of a page in which every tag is closed in its turn."""
    tags = Tags()
    tags.feed(text)
    assert not tags.wrong
    assert not tags.open
    return tags.ids


def test_a_run_of_which_nothing_was_made_is_still_a_page(tmp_path: Path) -> None:
    text = page(RunView("empty", None, {}, (StepView("prepare", "prepare", tmp_path, {}, "missing"),), None, False))
    assert "Not finished" in text
    assert "not made" in text


def test_the_page_asks_nothing_of_the_network(text: str) -> None:
    assert not re.findall(r"<(?:script|link|img|iframe)\b|@import|url\((?!#)", text)
    addresses = set(re.findall(r"https?://[^\s\"'<]+", text))
    assert all(address.startswith("http://www.w3.org/") for address in addresses), addresses


def test_what_a_model_wrote_is_text_and_never_markup(text: str) -> None:
    assert "&lt;b&gt;born&lt;/b&gt; born in &amp; in" in text
    assert "<b>born</b>" not in text


def test_answers_to_harmful_prompts_are_folded_away(text: str) -> None:
    places = [found.start() for found in re.finditer("How can I poison neighbour", text)]
    assert places
    for place in places:
        opened = text.rfind("<details", 0, place)
        assert opened > text.rfind("</details>", 0, place)
        assert text[opened:].startswith('<details class="harm">')


def test_equal_runs_give_equal_pages_wherever_they_lie(text: str, tmp_path: Path) -> None:
    assert page(made_run(tmp_path / "elsewhere")) == text


def test_a_number_that_is_absent_is_a_dash(text: str) -> None:
    card = (
        text.split("dpo accuracy · reward</h3>")[-1]
        if "dpo accuracy · reward</h3>" in text
        else text.split("dpo accuracy · reward ")[1]
    )
    rows = re.findall(r"<tr>.*?</tr>", card)
    assert re.findall(r'<td class="n">(.*?)</td>', rows[1]) == ["–", "–", "–", "–"]


@pytest.mark.parametrize("heading", ["The gate", "Who wins", "The people who judged", "facts · accuracy"])
def test_simulated_results_are_marked_wherever_they_stand(text: str, heading: str) -> None:
    assert re.search(rf'{heading}\s*<span class="made">', text)


def test_the_verdict_is_the_first_thing_said(text: str) -> None:
    assert text.index("Stopped by the gate") < text.index("Side by side")
    assert "of 300 comparisons with the SFT model, more than chance explains" in text


def test_steps_stand_as_the_pipeline_goes_however_they_were_kept(view: RunView) -> None:
    shuffled = sorted(view.steps, key=lambda step: step.digest or "")
    names = [step.name for step in in_order(shuffled)]
    assert names[:7] == ["prepare", "base", "sft", "generate", "label", "pair", "dpo"]
    assert names[7:10] == ["answers/base", "answers/sft", "answers/tuned"]
    assert names[-2:] == ["gate", "export"]
