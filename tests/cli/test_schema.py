"""The published schemas are those of the code, and the published examples obey both."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from ruamel.yaml import YAML

from align import recipe as recipes
from align.cli.schema import schemas, snake
from align.plan import plan
from align.records import RECORDS, Record
from align.store import jsonl

MADE = schemas()
FOLDER = Path(__file__).parents[2] / "data_schemas"
EXAMPLES = [
    (kind, line, row)
    for kind in RECORDS
    for line, row in jsonl.rows(FOLDER / "examples" / f"{snake(kind.__name__)}.jsonl")
]


def validator(name: str) -> Draft202012Validator:
    return Draft202012Validator(json.loads((FOLDER / f"{name}.schema.json").read_text(encoding="utf-8")))


def test_the_schemas_on_disk_are_those_of_the_code() -> None:
    on_disk = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.schema.json")}
    assert set(on_disk) == set(MADE), "run: align schema"
    drifted = [name for name in MADE if MADE[name] != on_disk[name]]
    assert not drifted, f"{', '.join(drifted)}: other than the code; run: align schema"


@pytest.mark.parametrize("name", MADE)
def test_each_schema_is_valid_json_schema_2020_12_and_closed(name: str) -> None:
    schema = json.loads((FOLDER / name).read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["additionalProperties"] is False
    assert schema["description"]


@pytest.mark.parametrize(
    ("kind", "row"), [(k, r) for k, _, r in EXAMPLES], ids=[f"{snake(k.__name__)}:{n}" for k, n, _ in EXAMPLES]
)
def test_each_example_obeys_its_schema_and_its_record(kind: type[Record], row: dict[str, Any]) -> None:
    validator(snake(kind.__name__)).validate(row)
    kind.model_validate(row)


@pytest.mark.parametrize("kind", RECORDS, ids=lambda kind: kind.__name__)
def test_a_schema_refuses_what_its_record_refuses(kind: type[Record]) -> None:
    schema = validator(snake(kind.__name__))
    row = next(row for k, _, row in EXAMPLES if k is kind)
    assert schema.is_valid(row)
    assert not schema.is_valid({**row, "surprise": 1})
    assert not schema.is_valid({**row, "schema": 2})
    required = json.loads(MADE[f"{snake(kind.__name__)}.schema.json"])["required"]
    for name in required:
        assert not schema.is_valid({key: value for key, value in row.items() if key != name}), name


def test_the_example_recipe_obeys_the_schema_loads_and_plans() -> None:
    path = FOLDER / "examples" / "recipe.yaml"
    validator("recipe").validate(YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8")))
    assert plan(recipes.load(path))[-1].name == "export"


@pytest.mark.parametrize("path", sorted((FOLDER.parent / "recipes").glob("*.yaml")), ids=lambda path: path.name)
def test_every_recipe_obeys_the_recipe_schema(path: Path) -> None:
    validator("recipe").validate(YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8")))
