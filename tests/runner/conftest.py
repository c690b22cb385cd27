"""A desk of people and no model: a recipe of real stages that needs no torch, over a store in a folder."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from align import recipe as recipes
from align.errors import Waiting
from align.records import Candidate, Message, Prompt
from align.runner import Outlook, Runner
from align.runner.console import Console
from align.store import jsonl
from align.store.artifacts import Store

RECIPE = """\
# People judge answers that somebody else's model gave.
model: {folder: not-needed}
data: {prompts: [{path: prompts.jsonl}], test_share: 0}
generate: {ready: candidates.jsonl}
label: {desk: file, judgments: judgments.jsonl, annotators_per_comparison: 1, comparisons_per_prompt: 1}
pair: {test_share: 0}
"""


class Heard(Console):
    """A console whose lines can be read; it can be asked to do something when a step says a word."""

    def __init__(self) -> None:
        super().__init__(io.StringIO())
        self.said: list[tuple[str, str, str]] = []

    def line(self, step: str, word: str, text: str = "") -> None:
        self.said.append((step, word, text))

    def words(self) -> dict[str, str]:
        """The last word on each step."""
        return {step: word for step, word, _ in self.said if word != "…"}


@dataclass
class Place:
    """A folder with a recipe, its data and a store."""

    folder: Path
    sets: Sequence[str] = ()
    console: Heard = field(default_factory=Heard)

    def __post_init__(self) -> None:
        self.recipe = self.folder / "recipe.yaml"
        self.store = Store(self.folder / "runs")

    def runner(self, *sets: str, until: str | None = "pair", **more: Sequence[str]) -> Runner:
        self.console = Heard()
        recipe = recipes.load(self.recipe, (*self.sets, *sets))
        return Runner(recipe, Store(self.store.root), self.console, until=until, **more)

    def plan(self, *sets: str, until: str | None = "pair") -> dict[str, Outlook]:
        return {seen.name: seen for seen in self.runner(*sets, until=until).outlook()}

    def actions(self, *sets: str) -> dict[str, str]:
        return {name: seen.action for name, seen in self.plan(*sets).items()}

    def judge(self, choice: str = "first", *, only: int | None = None) -> None:
        """Say the same of every comparison that is up, or of the first few."""
        with open(self.folder / "judgments.jsonl", "a", encoding="utf-8") as stream:
            for _, row in list(jsonl.rows(self.folder / "judgments.comparisons.jsonl"))[:only]:
                said = {
                    "comparison_id": row["comparison_id"],
                    "annotator": "ann-1",
                    "provenance": "human",
                    "choice": choice,
                }
                stream.write(json.dumps(said) + "\n")


def lay_out(folder: Path, text: str = RECIPE) -> Place:
    """The recipe, three prompts, and two answers to each."""
    folder.mkdir(parents=True, exist_ok=True)
    prompts = [Prompt(messages=(Message(role="user", content=f"What is {n}?"),)) for n in range(3)]
    answers = [
        Candidate(prompt_id=prompt.id, completion=(Message(role="assistant", content=text),), model="m", sample=i)
        for prompt in prompts
        for i, text in enumerate(("A number.", "I will not say."))
    ]
    jsonl.write(folder / "prompts.jsonl", prompts)
    jsonl.write(folder / "candidates.jsonl", answers)
    (folder / "recipe.yaml").write_text(text, encoding="utf-8")
    return Place(folder)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Laid out, nothing run."""
    return lay_out(tmp_path / "here")


@pytest.fixture(scope="session")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Judged and run to the pairs, once."""
    made = lay_out(tmp_path_factory.mktemp("judged") / "there")
    with pytest.raises(Waiting):
        made.runner().run()
    made.judge()
    made.runner().run()
    return made.folder


@pytest.fixture
def made(judged: Path, tmp_path: Path) -> Place:
    """A copy of what is judged and run."""
    shutil.copytree(judged, tmp_path / "here")
    return Place(tmp_path / "here")
