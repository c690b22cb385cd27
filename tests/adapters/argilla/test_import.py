"""Data sets that somebody else made come in whole: ties stay ties, and what was said beside is kept as a reason."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from align.adapters.argilla.client import Argilla as Client
from align.adapters.argilla.meaning import Meant, meant
from align.cli import main
from align.configs.argilla import ImportMapping
from align.records import Candidate, Flag, Judgment, Ordering, Preference, Prompt, Scores
from align.store import jsonl
from tests.adapters.argilla.conftest import Argilla
from tests.adapters.argilla.made import Annotator

TEXT = {"type": "text"}
CHAT = {"type": "chat"}
SIDES = {"one": "1", "two": "2", "three": "3"}


def options(*values: str) -> list[dict[str, str]]:
    return [{"value": one, "text": one} for one in values]


class Theirs:
    """A data set as somebody else makes one, by the interface alone."""

    def __init__(self, argilla: Argilla, name: str, fields: dict[str, Any], questions: dict[str, Any]) -> None:
        self.server = Client(argilla.url, argilla.key)
        place = self.server.workspaces()["align"]
        made = self.server.ask("POST", "/api/v1/datasets", json={"name": name, "workspace_id": place})
        self.id, self.url = made["id"], argilla.url
        path = f"/api/v1/datasets/{self.id}"
        for kind, items in (("fields", fields), ("questions", questions)):
            for one, settings in items.items():
                required = kind == "fields" and settings.get("required", True)
                body = {"name": one, "title": one, "required": required or one == next(iter(questions)),
                        "settings": {k: v for k, v in settings.items() if k != "required"}}  # fmt: skip
                self.server.ask("POST", f"{path}/{kind}", json=body)
        self.server.ask("PUT", f"{path}/publish")

    def put(self, *fields: dict[str, Any]) -> list[str]:
        items = [{"fields": one, "external_id": f"row-{i}"} for i, one in enumerate(fields)]
        list(self.server.put_records(self.id, items))
        return [row["id"] for row in self.server.records(self.id)]


def brought(argilla: Argilla, tmp_path: Path, name: str, mapping: dict[str, Any]) -> tuple[Path, dict[str, Any]]:
    out = tmp_path / name
    sets = [f"--set=mapping={json.dumps(mapping)}"]
    assert main(["argilla", "import", "local", name, "--home", str(argilla.home.path), "--out", str(out), *sets]) == 0
    return out, json.loads((out / "summary.json").read_text())


def judgments(out: Path) -> list[Judgment]:
    return list(jsonl.read(out / "judgments.jsonl", Judgment))


def answers(out: Path) -> dict[str, str]:
    """Candidate id → the field it stood in."""
    return {one.id: one.model for one in jsonl.read(out / "candidates.jsonl", Candidate)}


def test_rankings_come_with_their_ties_and_unmapped_questions_as_reasons(argilla, tmp_path):
    theirs = Theirs(
        argilla, "rankings",
        {"instruction": TEXT, "one": TEXT, "two": TEXT, "three": TEXT | {"required": False}},
        {
            "rank": {"type": "ranking", "options": options("one", "two", "three")},
            "issues": {"type": "multi_label_selection", "options": options("wrong", "rude")},
            "why": {"type": "text"},
        },
    )  # fmt: skip
    text = {"instruction": "What is <b>2+2</b>?", "one": "4", "two": "Four.", "three": "5"}
    first, second = theirs.put(text, {"instruction": "And 3+3?", "one": "6", "two": "7"})
    ann, ben = argilla.add("human"), argilla.add("simulated")
    tied = [{"value": "one", "rank": 1}, {"value": "two", "rank": 1}, {"value": "three", "rank": 3}]
    Annotator(theirs.url, ann.api_key).says(first, rank=tied, issues=["wrong"], why="5 is <wrong>")
    Annotator(theirs.url, ben.api_key).says(second, rank=[{"value": n, "rank": i} for i, n in enumerate(SIDES, 1)])
    Annotator(theirs.url, ann.api_key).says(second, status="draft", rank=tied)

    mapping = {"prompt": "instruction", "answers": list(SIDES), "question": "rank", "rationale": "why"}
    out, summary = brought(argilla, tmp_path, "rankings", mapping)
    of_ann, of_ben = judgments(out)
    field = answers(out)
    assert [sorted(field[name] for name in group) for group in of_ann.verdict.groups] == [["one", "two"], ["three"]]
    assert (of_ann.reasons, of_ann.rationale, of_ann.provenance) == (('issues: ["wrong"]',), "5 is <wrong>", "human")
    assert [[field[name] for name in group] for group in of_ben.verdict.groups] == [["one"], ["two"]]
    assert of_ben.provenance == "simulated"
    assert summary["server"] == {"draft": 1, "records": 2, "submitted": 2}
    prompts = [one.messages[0].content for one in jsonl.read(out / "prompts.jsonl", Prompt)]
    assert prompts == ["What is <b>2+2</b>?", "And 3+3?"]

    recipe = """
    model: {folder: not-needed}
    data: {prompts: [{path: rankings/prompts.jsonl}], test_share: 0}
    generate: {ready: rankings/candidates.jsonl}
    label: {ready: rankings/judgments.jsonl}
    pair: {test_share: 0}
    """
    (tmp_path / "theirs.yaml").write_text(textwrap.dedent(recipe))
    store = tmp_path / "runs"
    assert main(["run", str(tmp_path / "theirs.yaml"), "--store", str(store), "--until", "pair"]) == 0
    (made,) = store.glob("pair/*/preferences.train.jsonl")
    pairs = {(one.chosen[-1].content, one.rejected[-1].content) for one in jsonl.read(made, Preference)}
    assert pairs == {("4", "5"), ("Four.", "5"), ("6", "7")}, "a tie gives no pair"


def test_chats_with_a_label_come_in_as_conversations(argilla, tmp_path):
    theirs = Theirs(
        argilla, "chats",
        {"chat": CHAT, "left": TEXT, "right": TEXT},
        {"better": {"type": "label_selection", "options": options("left", "right", "same", "neither", "skip")}},
    )  # fmt: skip
    turns = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "?"},
    ]
    rows = theirs.put(*({"chat": turns, "left": f"A{i}", "right": f"B{i}"} for i in range(5)))
    person = Annotator(theirs.url, argilla.add("human").api_key)
    for row, said in zip(rows, ("left", "right", "same", "neither", "skip"), strict=True):
        person.says(row, better=said)
    mapping = {"prompt": "chat", "answers": ["left", "right"], "question": "better",
               "choices": {"same": "tie", "neither": "both_bad"}}  # fmt: skip
    out, summary = brought(argilla, tmp_path, "chats", mapping)
    found = [one.verdict for one in judgments(out)]
    assert [(len(one.groups), one.both_bad) for one in found] == [(2, False), (2, False), (1, False), (1, True)]
    field = answers(out)
    assert [field[one.groups[0][0]] for one in found[:2]] == ["left", "right"]
    assert summary["set_aside"] == {"of an option that the mapping does not know": 1}
    (prompt,) = jsonl.read(out / "prompts.jsonl", Prompt)
    assert [one.role for one in prompt.messages] == ["user", "assistant", "user"]


def test_ratings_of_each_answer_come_as_scores_and_one_scale_between_two_as_strengths(argilla, tmp_path):
    theirs = Theirs(
        argilla, "ratings", {"q": TEXT, "x": TEXT, "y": TEXT},
        {
            "overall": {"type": "rating", "options": [{"value": n} for n in range(1, 6)]},
            "x-score": {"type": "rating", "options": [{"value": n} for n in range(1, 6)]},
            "y-score": {"type": "rating", "options": [{"value": n} for n in range(1, 6)]},
        },
    )  # fmt: skip
    row, *_ = theirs.put({"q": "?", "x": "first", "y": "second"})
    Annotator(theirs.url, argilla.add("human").api_key).says(row, **{"overall": 2, "x-score": 4, "y-score": 4})
    base = {"prompt": "q", "answers": ["x", "y"]}
    out, _ = brought(argilla, tmp_path, "ratings", base | {"ratings": {"x": "x-score", "y": "y-score"}})
    (one,) = judgments(out)
    assert isinstance(one.verdict, Scores)
    assert set(one.verdict.scores.values()) == {4.0}, "a tie stays a tie"
    assert one.reasons == ("overall: 2",)
    scale = {"question": "overall", "choices": {"1": "x", "2": "x", "3": "tie", "4": "y", "5": "y"},
             "strengths": {"1": 3, "2": 1, "4": 1, "5": 3}}  # fmt: skip
    again = tmp_path / "again"
    again.mkdir()
    out, _ = brought(argilla, again, "ratings", base | scale)
    (one,) = judgments(out)
    assert isinstance(one.verdict, Ordering)
    assert ([answers(out)[name] for (name,) in one.verdict.groups], one.strength) == (["x", "y"], 1)


@pytest.mark.parametrize(
    ("dataset", "knobs", "line"),
    [
        (
            "mistakes",
            None,
            r"mapping: missing; mistakes has the fields q \(text\), .*questions pick \(label_selection: x, y\)",
        ),
        ("mistakes", {"prompt": "qq"}, r"no field `qq`; did you mean `q`\?"),
        ("mistakes", {"question": "picks"}, r"no question `picks`; did you mean `pick`\?"),
        ("mistakes", {"choices": {"z": "x"}}, r"`pick` has no option z, but x, y"),
        ("mistakes", {"choices": {"x": "w"}}, r"choices: 'w' found, expected one of both_bad, tie, x, y"),
        ("mistakes", {"rationale": "pick"}, r"`pick` is of type label_selection, expected text"),
        ("mistakes", {"question": None}, r"question: give either one question, or `ratings`"),
        ("mistake", {}, r"no data set `mistake`; did you mean `mistakes`\?"),
        ("mistakes", {}, r"mistakes: 0 judgments in 1 records: 0 submitted, 1 drafts, 0 discarded"),
    ],
)
def test_what_does_not_fit_is_said_before_anything_is_written(
    argilla, tmp_path, capsys, mistakes, dataset, knobs, line
):
    mapping = {"prompt": "q", "answers": ["x", "y"], "question": "pick"}
    given = [] if knobs is None else [f"--set=mapping={json.dumps(mapping | knobs)}"]
    out = tmp_path / "out"
    words = ["argilla", "import", "local", dataset, "--home", str(argilla.home.path), "--out", str(out), *given]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert len(said.strip().splitlines()) == 1
    assert re.search(line, said), said
    assert not out.exists()


@pytest.fixture(scope="module")
def mistakes(argilla: Argilla) -> None:
    pick = {"type": "label_selection", "options": options("x", "y")}
    theirs = Theirs(argilla, "mistakes", {"q": TEXT, "x": TEXT, "y": TEXT}, {"pick": pick})
    row, *_ = theirs.put({"q": "?", "x": "first", "y": "second"})
    Annotator(theirs.url, argilla.add("human").api_key).says(row, status="draft", pick="x")


def test_a_choice_of_one_among_three_says_nothing_of_the_other_two():
    mapping = ImportMapping(prompt="p", answers=tuple(SIDES), question="best")
    found = meant({"best": "two"}, SIDES, "label_selection", mapping)
    assert found == [
        Meant(("one", "two"), Ordering(groups=(("2",), ("1",)))),
        Meant(("two", "three"), Ordering(groups=(("2",), ("3",)))),
    ]


def test_one_answer_is_good_or_bad_or_has_a_score():
    def said(value: Any, kind: str, **knobs: Any) -> Any:
        mapping = ImportMapping(prompt="p", answers=("one",), question="q", **knobs)
        found = meant({"q": value}, {"one": "1"}, kind, mapping)
        return found if isinstance(found, str) else found[0].verdict

    choices = {"yes": "good", "no": "bad"}
    assert said("yes", "label_selection", choices=choices) == Flag(good=True)
    assert said("no", "label_selection", choices=choices) == Flag(good=False)
    assert said("hm", "label_selection", choices=choices) == "of an option that the mapping does not know"
    assert said(4, "rating") == Scores(scores={"1": 4.0})


def test_what_was_not_ranked_is_left_out_and_one_rank_alone_says_nothing():
    def said(*ranks: int | None) -> Sequence[Meant] | str:
        mapping = ImportMapping(prompt="p", answers=tuple(SIDES), question="r")
        rows = [{"value": name, "rank": rank} for name, rank in zip(SIDES, ranks, strict=True)]
        return meant({"r": rows}, SIDES, "ranking", mapping)

    assert said(2, None, 1) == [Meant(("one", "three"), Ordering(groups=(("3",), ("1",))))]
    assert said(None, 1, None) == "ranks fewer than two answers"
