"""Simulated annotators answer through Argilla's interface, and those who do not read are found out."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from align.adapters.argilla.sitting import as_sent
from align.cli import main
from align.configs import SimulatedPeople
from align.preference.people import told
from align.records import Judgment, Ordering
from align.store import jsonl
from tests.adapters.argilla.conftest import Argilla
from tests.adapters.argilla.made import Annotator, desk
from tests.preference.made_judgments import Judged, judged


def pulled(argilla: Argilla, kept: Path, name: str, made: Judged) -> tuple[list[Judgment], dict[str, str]]:
    """What comes back of what a panel says at the server, and whose pseudonym is whose."""
    # a person at a page says "neither is acceptable" in place of an order, and not beside it
    asked = [one for one in made.judgments if isinstance(one.verdict, Ordering) and not one.verdict.both_bad]
    at = desk(argilla.home.path, kept, name, n=3)
    at.publish(made.prompts, made.candidates, made.shown)
    records = {row["external_id"]: row["id"] for row in at.server.records(at.dataset_id)}
    answers: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    for one in asked:
        answers[one.annotator][records[one.comparison_id]] = as_sent(one)
    for who, said in answers.items():
        Annotator(argilla.url, argilla.add("simulated", f"{who}-of-{name}").api_key).says_all(said)
    back = at.pull()
    names = {row["pseudonym"]: row["name"].removesuffix(f"-of-{name}") for row in at.book.people().values()}
    through = {(one.comparison_id, names[one.annotator], one.verdict, one.strength) for one in back}
    assert through == {(one.comparison_id, one.annotator, one.verdict, one.strength) for one in asked}
    assert len(back) == len(asked)
    return back, names


@pytest.mark.slow
def test_the_spammer_and_the_one_who_takes_the_first_side_are_found(argilla, tmp_path):
    made = judged(5, n_prompts=60)
    back, names = pulled(argilla, tmp_path, "panel", made)
    rows = told(back, words=made.lengths())["annotators"]
    faults = {names[row["name"]]: set(row["monitors"]) for row in rows}
    assert {name for name, found in faults.items() if found} == {"spammer-1", "first_biased-1"}, faults
    assert "side" in faults["first_biased-1"]
    assert Counter(row["provenance"] for row in rows) == {"simulated": 6}


def test_simulated_annotators_sit_down_at_what_is_put_up_and_answer_it_once(argilla, tmp_path, capsys):
    made = judged(5, n_prompts=6)
    recipe, store = tmp_path / "sitting.yaml", tmp_path / "runs"
    recipe.write_text(
        "{model: {folder: none}, data: {testbed: {}}, label: {desk: argilla, argilla: {dataset: sitting}, "
        "annotators_per_comparison: 2, people: {careful: 2, first_biased: 1, spammers: 0}}}"
    )

    def sits() -> int:
        words = ["argilla", "simulate", str(recipe), "--store", str(store), "--home", str(argilla.home.path)]
        if (code := main(words)) == 0:
            return sum(int(n) for n in re.findall(r"answered (\d+)", capsys.readouterr().out))
        return -code

    assert sits() == -2
    assert "nothing of this recipe is put up; run: align run" in capsys.readouterr().err
    for place, records in (("prepare/x/prompts.jsonl", made.prompts), ("generate/x/candidates.jsonl", made.candidates)):
        (store / place).parent.mkdir(parents=True)
        jsonl.write(store / place, records.values())
    at = desk(argilla.home.path, store / "desks", "sitting", n=2)
    at.publish(made.prompts, made.candidates, made.shown)
    assert (sits(), sits()) == (2 * len(made.shown), 0)
    said = at.pull()
    assert {one.provenance for one in said} == {"simulated"}
    assert set(Counter(one.comparison_id for one in said).values()) == {2}


@pytest.mark.slow
def test_pairs_weighed_by_who_said_so_are_nearer_the_truth_than_the_majoritys(argilla, tmp_path):
    gains = []
    for seed in (11, 12, 13):
        made = judged(
            seed, n_prompts=75, per_comparison=5, people=SimulatedPeople(careful=4, first_biased=2, spammers=3)
        )
        back, _ = pulled(argilla, tmp_path, f"world-{seed}", made)
        whole = Judged(made.prompts, made.candidates, made.shown, back)
        gains.append(whole.right("weighted") - whole.right("majority"))
    gain = np.concatenate(gains)
    low = gain.mean() - 1.96 * gain.std(ddof=1) / np.sqrt(len(gain))
    print(f"weighted - majority: {gain.mean():.3f}, at least {low:.3f}, n {len(gain)}")
    assert low > 0, (gain.mean(), low, len(gain))
