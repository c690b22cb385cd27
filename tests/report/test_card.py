"""The model card: readable by the hub, honest about licences, the same wherever it is written."""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from align.configs import ExportConfig
from align.report.card import card, knobs_said, table
from align.report.licences import together
from align.report.view import RunView
from tests.report.conftest import made_run


def front(text: str) -> dict[str, Any]:
    found: dict[str, Any] = YAML(typ="safe").load(io.StringIO(text.split("---")[1]))
    return found


def test_the_front_matter_is_yaml_that_the_hub_knows(view: RunView) -> None:
    fields = front(card(view, ExportConfig(licence="Apache-2.0")))
    assert fields["license"] == "apache-2.0"
    assert fields["library_name"] == "transformers"
    assert {"dpo", "sft", "simulated"} <= set(fields["tags"])
    assert "base_model" not in fields, "a model pretrained from scratch has no base"


def test_a_card_holds_no_path_and_no_time(tmp_path: Path) -> None:
    one, two = (card(made_run(tmp_path / name), ExportConfig()) for name in ("one", "two"))
    assert one == two
    assert "/tmp" not in one
    assert "2026" not in one


def test_simulated_measurements_are_marked_and_real_ones_are_not(tmp_path: Path) -> None:
    assert "> **Simulated.**" in card(made_run(tmp_path / "made"), ExportConfig())
    assert "imulated" not in card(made_run(tmp_path / "real", simulated=False), ExportConfig())


def test_a_measurement_that_failed_is_a_dash_and_unscored_items_are_counted(view: RunView) -> None:
    line = next(line for line in card(view, ExportConfig()).splitlines() if line.startswith("| dpo accuracy · reward"))
    assert line.split(" | ")[3:5] == ["–", "–"]
    assert "(n 298, 2 unscored)" in card(view, ExportConfig())


@pytest.mark.parametrize(
    ("licences", "name"),
    [
        ({"a": "MIT", "b": "CC-BY-NC-4.0", "c": "Apache-2.0"}, "CC-BY-NC-4.0"),
        ({"a": "apache-2.0", "b": "cc-by-sa-4.0"}, "cc-by-sa-4.0"),
        ({"a": "MIT", "b": None}, None),
        ({"a": "MIT", "b": "my own words"}, None),
        ({"a": "CC-BY-SA-4.0", "b": "GPL-3.0"}, None),
        ({}, None),
    ],
)
def test_the_most_restrictive_licence_wins_and_an_unknown_one_is_not_guessed(
    licences: dict[str, str | None], name: str | None
) -> None:
    assert together(licences).name == name


def test_an_unknown_licence_says_whose_it_is() -> None:
    assert "hh.jsonl" in together({"model": "MIT", "hh.jsonl": None}).why


def test_files_among_the_knobs_are_said_by_name() -> None:
    knobs = dict(
        knobs_said(
            {
                "guideline": {"file": "helpful.md", "sha256": "a" * 64},
                "judgments": "/home/me/j.jsonl",
                "lora": {"rank": 8},
            }
        )
    )
    assert knobs == {"guideline": "helpful.md (aaaaaaaaaaaa)", "judgments": "j.jsonl", "lora.rank": "8"}


def test_nothing_that_stands_in_a_cell_can_break_its_table() -> None:
    rows = table(("a", "b"), [("x | y", "two\nlines")]).splitlines()
    assert len(rows) == 3
    assert len(re.findall(r"(?<!\\)\|", rows[2])) == 3


def test_an_adapters_card_names_the_policy_it_belongs_on(view: RunView) -> None:
    text = card(view, ExportConfig(form="adapter"))
    policy = next(step for step in view.steps if step.name == "sft").digest
    assert f"`{policy}`" in text.split("## Use")[1].split("```")[0]
    assert front(text)["library_name"] == "peft"


def test_a_hub_base_and_hub_data_are_named_with_the_licence_that_binds(tmp_path: Path) -> None:
    view = made_run(tmp_path, simulated=False)
    hub = {"name": "owner/base", "revision": "a" * 40, "licence": "Apache-2.0"}
    rows = {"part": "preferences", "name": "owner/pairs", "revision": "b" * 40, "licence": "CC-BY-NC-4.0", "n_kept": 12}
    measured = {"part": "xstest", "name": "xstest_prompts.csv", "licence": "CC-BY-ND-4.0"}
    (view.steps[0].path / "summary.json").write_text(json.dumps({"sources": [rows, measured]}))
    base = replace(view.steps[1], manifest={**view.steps[1].manifest, "config": hub})
    text = card(replace(view, steps=(view.steps[0], base, *view.steps[2:])), ExportConfig())
    fields = front(text)
    assert (fields["base_model"], fields["base_model_relation"]) == ("owner/base", "finetune")
    assert (fields["license"], fields["datasets"]) == ("cc-by-nc-4.0", ["owner/pairs"])
    assert "xstest (measured with, not trained on)" in text
