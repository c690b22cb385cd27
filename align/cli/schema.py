"""`align schema`: the JSON Schema (2020-12) of every record and of the recipe, and `align --version`."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from align.configs import Recipe
from align.records import RECORDS, Record

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema(arguments: argparse.Namespace) -> int:
    """Write `<record>.schema.json` for each record, and `recipe.schema.json`."""
    folder: Path = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in schemas().items():
        (folder / name).write_text(text, encoding="utf-8")
        print(folder / name)
    return 0


def schemas() -> dict[str, str]:
    """File name and text of every schema."""
    kinds: tuple[type[BaseModel], ...] = (*RECORDS, Recipe)
    return {f"{snake(kind.__name__)}.schema.json": json.dumps(_schema(kind), indent=2) + "\n" for kind in kinds}


def snake(name: str) -> str:
    """`ItemScore` → `item_score`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def _schema(kind: type[BaseModel]) -> dict[str, Any]:
    made = kind.model_json_schema(by_alias=True, mode="validation")
    if issubclass(kind, Record):
        named = "sha256 of the identity: " + ", ".join(kind.identity)
        name = {"type": "string", "pattern": "^[0-9a-f]{64}$", "description": named}
        made["properties"] = {"id": name, **made["properties"]}
    return {"$schema": DIALECT, **made}


def version(_arguments: argparse.Namespace) -> int:
    """Print the versions that decide results."""
    from align.runner.machine import packages

    print("  ".join(f"{name} {number}" for name, number in packages().items()))
    return 0
