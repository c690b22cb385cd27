"""Stage `ready`: a result that somebody already has, taken in place of a stage's run."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Literal

from align.configs.base import Config, LocalPath
from align.errors import RecordError
from align.ports import Inputs, Tools
from align.records import Candidate, Demonstration, Judgment, Preference, Prompt, Record
from align.store import jsonl

VERSION = 1

KINDS: dict[str, type[Record]] = {
    "candidates.jsonl": Candidate,
    "judgments.jsonl": Judgment,
    "prompts.jsonl": Prompt,
    "test_prompts.jsonl": Prompt,
    "demonstrations.train.jsonl": Demonstration,
    "demonstrations.test.jsonl": Demonstration,
    "preferences.train.jsonl": Preference,
    "preferences.test.jsonl": Preference,
}


class Ready(Config):
    """What stands where."""

    path: LocalPath
    """A folder such as the stage would have made, or (for candidates and judgments) one JSONL of records."""
    holds: Literal["data", "candidates", "judgments"]


def run(config: Ready, inputs: Inputs, out: Path, tools: Tools) -> None:
    """Copy `config.path` into `out`; every file of records is read through first."""
    given = Path(config.path)
    if given.is_dir():
        files = {path.name: path for path in sorted(given.iterdir()) if path.is_file() and path.name != "manifest.json"}
        if config.holds == "data":
            expected = [name for name in files if name in KINDS or name in ("text.jsonl", "items.jsonl")]
        else:
            expected = [f"{config.holds}.jsonl"] if f"{config.holds}.jsonl" in files else []
        if not expected:
            raise RecordError(f"{given}: holds no {config.holds} of ours; expected files such as {config.holds}.jsonl")
    elif config.holds == "data":
        raise RecordError(f"{given}: no such folder; expected one made by stage `prepare`")
    else:
        files = {f"{config.holds}.jsonl": given}
    for name, path in files.items():
        if name in KINDS and not sum(1 for _ in jsonl.read(path, KINDS[name])):
            raise RecordError(f"{path}: 0 rows, expected {KINDS[name].__name__} records")
        shutil.copyfile(path, out / name)
    tools.note("taken ready-made, not run here")
