"""Stage `ready`: a result that somebody already has, taken in place of a stage's run."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Literal

from align.configs.base import Config, LocalPath
from align.data.reading import asked
from align.data.splits import opening_key, prompt_key
from align.errors import RecordError
from align.ports import Inputs, Tools
from align.records import Candidate, Demonstration, Judgment, Preference, Prompt, Ranking, Record
from align.store import jsonl

VERSION = 2

KINDS: dict[str, type[Record]] = {
    "candidates.jsonl": Candidate,
    "judgments.jsonl": Judgment,
    "prompts.jsonl": Prompt,
    "test_prompts.jsonl": Prompt,
    "demonstrations.train.jsonl": Demonstration,
    "demonstrations.test.jsonl": Demonstration,
    "preferences.train.jsonl": Preference,
    "preferences.test.jsonl": Preference,
    "rankings.train.jsonl": Ranking,
    "rankings.test.jsonl": Ranking,
}


SUMMARY = "summary.json"
TRAINED_ON = ("prompts.jsonl", "demonstrations.train.jsonl", "preferences.train.jsonl", "rankings.train.jsonl")


class Ready(Config):
    """What stands where."""

    path: LocalPath
    """A folder such as the stage would have made, or (for candidates and judgments) one JSONL of records."""
    holds: Literal["data", "candidates", "judgments", "preferences"]
    split_by: Literal["opening", "prompt"] = "opening"
    """How a row is known to belong to a held-out prompt."""


def run(config: Ready, inputs: Inputs, out: Path, tools: Tools) -> None:
    """Copy `config.path` into `out`, without what the recipe's own test prompts would meet again in training.

    Every file of records is read through first.
    """
    held_out = _held_out(config, inputs)
    for name, path in files(config).items():
        kind = KINDS.get(name)
        rows = list(jsonl.read(path, kind)) if kind is not None else []
        if kind is not None and not rows:
            raise RecordError(f"{path}: 0 rows, expected {kind.__name__} records")
        kept = [row for row in rows if name not in TRAINED_ON or _key(row, config) not in held_out]
        if len(kept) == len(rows):
            shutil.copyfile(path, out / name)
            continue
        if not kept:
            raise RecordError(f"{path}: all {len(rows)} rows are of prompts that the recipe holds out as test prompts")
        tools.note(f"{name}: {len(rows) - len(kept)} of {len(rows)} rows left out: their prompts are held out")
        jsonl.write(out / name, kept)
    tools.note("taken ready-made, not run here")


def files(config: Ready) -> dict[str, Path]:
    """The files that will be taken, by name; RecordError where what stands there is of another kind."""
    given, holds = Path(config.path), config.holds
    if not given.is_dir():
        if not given.exists():
            raise RecordError(f"{given}: no such file or folder; expected {holds} of ours")
        if holds in ("data", "preferences"):
            raise RecordError(f"{given}: a file found, expected a folder made by stage `prepare`")
        return {f"{holds}.jsonl": given}
    found = {path.name: path for path in sorted(given.iterdir()) if path.is_file() and path.name != "manifest.json"}
    first = {"data": "prompts.jsonl", "preferences": "preferences.train.jsonl"}.get(holds, f"{holds}.jsonl")
    if holds == "data":
        expected = [name for name in found if name in KINDS or name in ("text.jsonl", "items.jsonl")]
    else:
        expected = [first] if first in found else []
    if not expected:
        raise RecordError(f"{given}: holds no {holds} of ours; expected files such as {first}")
    if holds == "preferences":
        found = {name: path for name, path in found.items() if name.startswith("preferences.") or name == SUMMARY}
    return found


def _held_out(config: Ready, inputs: Inputs) -> frozenset[str]:
    folder = inputs["data"].path if "data" in inputs else Path(config.path)
    path = folder / "test_prompts.jsonl"
    if config.holds not in ("data", "preferences") or not path.exists():
        return frozenset()
    return frozenset(_key(prompt, config) for prompt in jsonl.read(path, Prompt))


def _key(row: Record, config: Ready) -> str:
    assert isinstance(row, (Demonstration, Preference, Prompt, Ranking))
    return (opening_key if config.split_by == "opening" else prompt_key)(asked(row))
