"""The page as people use it: a real Chromium, a real server, keys and clicks, and texts that would like to run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from align.adapters.argilla import page
from tests.adapters.argilla.conftest import Argilla
from tests.adapters.argilla.made import Annotator, Work, desk, eggs

CHROMIUM = "/usr/bin/chromium"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip
PWN = "parent.document.title='PWNED';document.title='PWNED'"
HOSTILE = {
    "script": f"<script>{PWN}</script>",
    "closing script": f"a </script><script>{PWN}</script> b",
    "handler": f'<img src=x onerror="{PWN}"> and <svg onload="{PWN}">',
    "iframe": f'<iframe srcdoc="<script>{PWN}</script>"></iframe>',
    "link": f"[click](javascript:{PWN}) javascript:alert(1)",
    "replace patterns": "$& $$ $' $` $1 #TEMPLATE# #RECORD_OBJECT# costs $5",
    "less than": "if a<b and c>d && e & f &amp; &lt;b&gt;",
    "templates": "vector<int> v; map<string, vector<int>> m;",
    "open thought": "<think>never closed",
    "thought": "<think>\nin a fold\n</think>\n\nafter it",
    "long line": "word " * 20_000,
    "unbroken line": "x" * 100_000,
    "right to left": "\u202eabc\u202c שלום עולם مرحبا (a) 123",
    "zero width": "a\u200bb\u200dc\u2060d\ufeffe",
    "emoji": "👩‍👩‍👧‍👦 🏳️‍🌈 é e\u0301 \U0001f600",
    "percent": "%3C%24%26 100% %25 %253C %00 %",
    "braces": "{{7*7}} ${7*7} <%= 7*7 %> {% raw %}",
    "separators": "a\u2028b\u2029c\u0085d\x07e\x1bf",
    "edges": "   leading\tand trailing \n\n\n   ",
    "comment": "<!-- hidden --> ]]> <![CDATA[x]]> <style>*{display:none}</style>",
    "markdown": "# Head\n\n- **bold** `code` *it*\n```js\n<b>\n```\n| a | b |\n***x*** ``a`b`` ** not ** `",
    "quotes": "\"double\" 'single' \\ \\n \\u003c `tick`",
    "carriage": "a\r\nb\rc\nd",
    "nothing but marks": "``` ` ** # ",
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if not Path(CHROMIUM).exists():
        pytest.skip(f"{CHROMIUM} is not installed")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


class Seat:
    """One annotator before one page."""

    def __init__(self, browser: Any, argilla: Argilla, account: Any) -> None:
        self.page = browser.new_page(viewport={"width": 1440, "height": 900})
        self.page.set_default_timeout(20_000)
        self.url, self.complaints, self.outside = argilla.url, [], []
        self.page.on("console", lambda said: said.type in ("error", "warning") and self.complaints.append(said.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.complaints.append("a dialog"), dialog.dismiss()))
        self.page.on("request", self._asked)
        self.page.goto(f"{argilla.url}/sign-in")
        self.page.fill("input[name=Username]", account.username)
        self.page.fill("input[name=Password]", account.password)
        self.page.keyboard.press("Enter")
        self.page.wait_for_selector("text=Your datasets")

    def _asked(self, request: Any) -> None:
        if not request.url.startswith((self.url, "data:", "blob:", "about:")):
            self.outside.append(request.url)

    def open(self, name: str) -> None:
        """By a click on the data set's card."""
        self.page.click(f"text={name}")
        self.frame()

    def frame(self) -> Any:
        """The document of the record that is shown, once it is drawn."""
        handle = self.page.wait_for_selector(".custom_field_component iframe")
        frame = handle.content_frame()
        frame.wait_for_selector(".al-answer.al-b .al-text", state="attached")
        return frame

    def question(self) -> str:
        """What was asked, as it stands on the page."""
        return str(self.frame().text_content(".al-turn.al-last .al-text"))

    def moved(self, before: str) -> str:
        """The question of the next record, once it is there."""
        for _ in range(200):
            self.page.wait_for_timeout(25)
            try:
                now = self.question()
            except Exception:  # the frame was replaced while we looked
                continue
            if now != before:
                return now
        raise AssertionError(f"still at {before!r}")

    def shot(self, name: str) -> None:
        """For whoever wants to look: set ALIGN_SHOTS to a folder."""
        if folder := os.environ.get("ALIGN_SHOTS"):
            self.page.screenshot(path=Path(folder) / f"{name}.png")

    def close(self) -> None:
        """Nothing was complained of and nobody else was asked."""
        self.page.close()
        assert self.complaints == []
        assert self.outside == []


def test_people_sign_in_judge_by_keys_and_clicks_search_filter_and_see_their_progress(browser, argilla, tmp_path):
    work = eggs(8, longer=" Then into cold water.")
    at = desk(argilla.home.path, tmp_path, "judging", n=1)
    at.publish(work.prompts, work.candidates, work.comparisons)
    account = argilla.add("human")
    seat = Seat(browser, argilla, account)
    seat.shot("home")
    seat.open(at.settings.name)
    tab = seat.page
    by_question = {work.prompts[one.prompt_id].messages[0].content: one for one in work.comparisons}

    first = seat.question()
    seat.shot("pair")
    a, b = work.texts(by_question[first])
    frame = seat.frame()
    assert [frame.text_content(f".al-{side} .al-text") for side in "ab"] == [a, b]
    left, right = (frame.locator(f".al-{side}").bounding_box() for side in "ab")
    assert left["x"] + left["width"] <= right["x"], "side by side"
    assert abs(left["y"] - right["y"]) < 2
    assert frame.text_content(".al-a h2 small") == f"{len(a.split())} words"
    assert "secret" not in tab.content()
    assert tab.locator("[aria-label='Question: preference'] input:checked").count() == 0, "nothing is suggested"

    tab.keyboard.press("d")
    assert seat.frame().locator(".al-only").count() > 0
    seat.shot("diff")
    tab.keyboard.press("d")
    assert seat.frame().locator(".al-only").count() == 0
    tab.keyboard.press("1")
    tab.keyboard.press("Enter")
    second = seat.moved(first)

    tab.click("text=B is better")
    tab.click("button:has-text('Submit')")
    third = seat.moved(second)

    seat.frame().click(".al-a .al-text")  # the focus falls into the frame, and comes back
    tab.keyboard.press("r")
    assert seat.frame().locator(".al-raw").count() == 2
    tab.keyboard.press("3")
    tab.keyboard.press("2")
    tab.keyboard.press("Enter")
    fourth = seat.moved(third)
    assert seat.frame().locator(".al-raw").count() == 2, "the view that was chosen stays"
    tab.keyboard.press("r")

    tab.keyboard.press("4")
    tab.click("[aria-label='Question: rationale'] [contenteditable], [aria-label='Question: rationale'] textarea")
    tab.keyboard.type("Dr. D rates both </script> $& bad")
    tab.click("button:has-text('Submit')")
    fifth = seat.moved(fourth)
    tab.keyboard.press("1")
    tab.keyboard.press("Control+s")
    tab.wait_for_selector(".status-tag.--draft")

    said = {one.comparison_id: one for one in at.pull()}
    assert len(said) == 4
    verdicts = [said[by_question[asked].id] for asked in (first, second, third, fourth)]
    ids = [by_question[asked].candidate_ids for asked in (first, second, third, fourth)]
    assert [one.verdict.groups for one in verdicts] == [
        ((ids[0][0],), (ids[0][1],)), ((ids[1][1],), (ids[1][0],)), (ids[2],), (ids[3],)
    ]  # fmt: skip
    assert (verdicts[2].strength, verdicts[3].verdict.both_bad) == (2, True)
    assert verdicts[3].rationale == "Dr. D rates both </script> $& bad"
    assert f"{account.username} 4 of 8; 4 submitted, 1 drafts" in at.where()
    assert fifth in by_question

    tab.goto(f"{argilla.url}/dataset/{at.dataset_id}/annotation-mode")
    left_over = seat.question()
    number = left_over.split("number ")[1].split()[0]
    tab.click("button[data-title=Search]")
    tab.fill("input[role=search]", f'"number {number}"')
    tab.keyboard.press("Enter")
    tab.wait_for_selector("[aria-label='Total Records']:has-text('of 1')")
    assert seat.question() == left_over
    seat.shot("search")
    tab.fill("input[role=search]", "")
    tab.keyboard.press("Enter")
    tab.wait_for_selector("[aria-label='Total Records']:has-text('of 3')")
    tab.click("button[data-title=Status]")
    tab.click("text=/^ *submitted *$/i >> nth=0")
    tab.wait_for_selector("[aria-label='Total Records']:has-text('of 4')")
    seat.shot("submitted")
    tab.click("text=Filters")
    tab.click("text=Metadata")
    tab.click("text=words of the longer answer")
    words = [max(len(text.split()) for text in work.texts(by_question[q])) for q in (first, second, third, fourth)]
    tab.locator(".range__inputs input >> nth=0").fill(str(max(words)))
    tab.keyboard.press("Tab")
    n = words.count(max(words))
    tab.wait_for_selector(f"[aria-label='Total Records']:has-text('of {n}')")
    seat.shot("filters")
    tab.goto(f"{argilla.url}/")
    tab.wait_for_selector("text=Your datasets")
    tab.wait_for_timeout(500)
    seat.shot("progress")
    assert "50.00%" in tab.inner_text("body")
    seat.close()


def test_hostile_text_is_shown_as_exactly_what_is_trained_on_and_nothing_runs(browser, argilla, tmp_path):
    assert len(HOSTILE) >= 15
    work = Work(
        [f"{name}: {text[:200]}" for name, text in HOSTILE.items()],
        [(text, f"Harmless. {text}") for text in HOSTILE.values()],
    )
    at = desk(argilla.home.path, tmp_path, "hostile", n=1)
    at.publish(work.prompts, work.candidates, work.comparisons)
    seat = Seat(browser, argilla, argilla.add())
    title = seat.page.title()
    seat.open(at.settings.name)
    by_question = {work.prompts[one.prompt_id].messages[0].content: one for one in work.comparisons}
    seen = set()
    now = seat.question()
    for place in range(len(HOSTILE)):
        one = by_question[now]
        seen.add(now)
        for view in ("rendered", "raw", "diff"):
            frame = seat.frame()
            frame.evaluate("view => document.querySelector(`[data-view=${view}]`).click()", view)
            for side, text in zip("ab", work.texts(one), strict=True):
                folded = text.startswith("<think>\n")
                expected = text.split("</think>\n\n")[1] if folded and view != "raw" else text
                assert frame.text_content(f".al-{side} > .al-text") == expected, (view, now[:20])
        assert frame.locator("script").count() == 3, "Argilla's two, and ours"
        assert frame.locator(".al-text :not(span), iframe, img").count() == 0
        seat.frame().evaluate("document.querySelector('[data-view=rendered]').click()")
        if place < len(HOSTILE) - 1:
            seat.page.keyboard.press("ArrowRight")
            now = seat.moved(now)
        if now.startswith(("markdown", "right to left", "long line")):
            seat.shot(now.split(":")[0])
    assert seen == set(by_question)
    assert seat.page.title() == title
    assert "PWNED" not in seat.page.title()
    seat.close()


STOCK = """async ([record, template]) => {
  const page = "\\n<script>\\n  const record = #RECORD_OBJECT#;\\n<\\/script>\\n#TEMPLATE#\\n"
    .replace("#RECORD_OBJECT#", JSON.stringify(record)).replace("#TEMPLATE#", template);
  document.body.replaceChildren();
  const frame = document.createElement("iframe");
  await new Promise((done) => { frame.onload = done; frame.srcdoc = page; document.body.append(frame); });
  frame.contentDocument.querySelector("[data-view=raw]").click();
  return [..."ab"].map((side) => frame.contentDocument.querySelector(`.al-${side} > .al-text`).textContent);
}"""
"""How Argilla as it is shipped puts a page together: the record pasted into a script, by `replace`."""


def test_on_a_server_that_is_not_ours_nothing_runs_either(browser):
    work = Work(list(HOSTILE), [(text, f"Harmless. {text}") for text in HOSTILE.values()])
    tab = browser.new_page()
    tab.goto("about:blank")
    for one in work.comparisons:
        shown = page.fields(one, work.prompts, work.candidates, layout="pair", thinking="fold")
        texts = tab.evaluate(STOCK, [page.record(shown, one, work.candidates), page.template()])
        assert texts == list(work.texts(one))
    assert tab.title() == ""
    naive = {"fields": {"pair": {"turns": [], "a": {"text": HOSTILE["closing script"]}, "b": {"text": ""}}}}
    with pytest.raises(Exception, match="null"):
        tab.evaluate(STOCK, [naive, page.template()])
    assert tab.title() == "PWNED", "the test can fail: without encoding it runs"
    tab.close()


def test_an_annotators_own_hostile_words_do_not_break_the_record_when_it_is_opened_again(browser, argilla, tmp_path):
    work = eggs(1)
    at = desk(argilla.home.path, tmp_path, "reopened", n=1)
    at.publish(work.prompts, work.candidates, work.comparisons)
    account = argilla.add()
    person = Annotator(argilla.url, account.api_key)
    words = f"</script><script>{PWN}</script> $& $` #TEMPLATE#"
    person.says(person.records(at.dataset_id)[0]["id"], preference="a", correction=words)
    assert [one.correction for one in at.pull()] == [words]
    seat = Seat(browser, argilla, account)
    seat.page.goto(f"{argilla.url}/dataset/{at.dataset_id}/annotation-mode?_status=submitted&page=1&status=submitted")
    assert seat.question() == "How long does egg number 0 boil?"
    assert "PWNED" not in seat.page.title()
    seat.close()


def test_the_plain_layout_shows_exact_text_and_runs_nothing(browser, argilla, tmp_path):
    names = ("closing script", "handler", "templates", "less than", "thought", "edges", "markdown")
    work = Work([f"{name}?" for name in names], [(HOSTILE[name], "No. " + HOSTILE[name]) for name in names])
    at = desk(argilla.home.path, tmp_path, "plain", n=1, layout="plain")
    at.publish(work.prompts, work.candidates, work.comparisons)
    seat = Seat(browser, argilla, argilla.add())
    seat.page.click(f"text={at.settings.name}")
    by_question = {work.prompts[one.prompt_id].messages[0].content: one for one in work.comparisons}
    seen = set()
    for _ in names:
        seat.page.wait_for_selector(".text_field_component >> nth=2")
        seat.page.wait_for_timeout(250)
        texts = seat.page.eval_on_selector_all(
            ".text_field_component .content-area > div", "nodes => nodes.map(node => node.textContent)"
        )
        assert len(texts) == 3
        assert texts[1:] == list(work.texts(by_question[texts[0]]))
        assert seat.page.locator(".text_field_component iframe").count() == 0
        seen.add(texts[0])
        seat.shot("plain")
        seat.page.keyboard.press("ArrowRight")
    assert seen == set(by_question)
    assert "PWNED" not in seat.page.title()
    seat.close()
