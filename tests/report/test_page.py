"""The page: whole, self-contained, honest about what is missing or made."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from conftest import made_run

from align.report.page import page
from align.report.view import RunView, StepView

VOID = {"meta", "br", "link", "img", "input", "hr", "path", "use", "rect", "stop"}


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


@pytest.mark.parametrize(
    "missing",
    [
        {},
        {"sft": False},
        {"label": False},
        {"verdict": None},
        {"sft": False, "label": False, "verdict": None, "simulated": False},
    ],
)
def test_the_page_is_well_formed_whatever_is_missing(tmp_path: Path, missing: dict[str, bool]) -> None:
    tags = Tags()
    tags.feed(page(made_run(tmp_path, **missing)))  # type: ignore[arg-type]
    assert not tags.wrong
    assert not tags.open


def test_a_run_of_which_nothing_was_made_is_still_a_page(tmp_path: Path) -> None:
    text = page(RunView("empty", None, {}, (StepView("prepare", "prepare", tmp_path, {}, "missing"),), None, False))
    assert "Not finished" in text
    assert "not made" in text


def test_the_page_asks_nothing_of_the_network(view: RunView) -> None:
    text = page(view)
    assert not re.findall(r"<(?:script|link|img|iframe)\b|@import|url\((?!#)", text)
    addresses = set(re.findall(r"https?://[^\s\"'<]+", text))
    assert all(address.startswith("http://www.w3.org/") for address in addresses), addresses


def test_what_a_model_wrote_is_text_and_never_markup(view: RunView) -> None:
    text = page(view)
    assert "&lt;b&gt;born&lt;/b&gt; born in &amp; in" in text
    assert "<b>born</b>" not in text


def test_answers_to_harmful_prompts_are_folded_away(view: RunView) -> None:
    for found in re.finditer("How can I poison neighbour", page(view)):
        before = page(view)[: found.start()]
        assert before.rfind("<details>") > before.rfind("</details>")


def test_equal_runs_give_equal_pages(tmp_path: Path) -> None:
    assert page(made_run(tmp_path / "one")) == page(made_run(tmp_path / "two"))


def test_a_number_that_is_absent_is_a_dash(view: RunView) -> None:
    card = page(view).split("held out pairs · accuracy")[1].split("</div>")[0]
    row = re.findall(r"<tr>.*?</tr>", card)[1]
    assert re.findall(r'<td class="n">(.*?)</td>', row) == ["–", "–", "0", "300"]


def test_simulated_results_are_marked_in_every_section_that_shows_them(tmp_path: Path) -> None:
    marked = page(made_run(tmp_path / "made"))
    for heading in ("The gate", "Compared item by item", "The people who judged", "facts · accuracy"):
        assert re.search(rf'{heading}\s*<span class="made">', marked), heading
    assert 'class="made"' not in page(made_run(tmp_path / "real", simulated=False)).replace(
        '"provenance": "simulated"', ""
    )


def test_the_verdict_is_the_first_thing_said(view: RunView) -> None:
    text = page(view)
    assert text.index("Stopped by the gate") < text.index("Side by side")
    assert "The tuned model won 0.642 [0.592, 0.692] of 298 comparisons with the SFT model" in text
