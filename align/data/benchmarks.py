"""Published benchmarks, read from the files that their authors publish."""

from __future__ import annotations

import csv
from pathlib import Path

from align.errors import RecordError
from align.records import Message, Prompt

XSTEST_COLUMNS = ("id", "prompt", "type", "focus")


def xstest(path: Path) -> list[Prompt]:
    """The prompts of `xstest_prompts.csv` (Röttger et al. 2024, arXiv:2308.01263).

    `meta.kind` is `xstest_unsafe` for the contrast prompts (their `type` begins with `contrast_`), else `xstest_safe`.
    """
    prompts = []
    try:
        with open(path, encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            missing = [name for name in XSTEST_COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise RecordError(
                    f"{path}:1: no column {', '.join(missing)}; expected XSTest's xstest_prompts.csv as published"
                )
            for row in reader:
                if not (row["prompt"] or "").strip() or not row["type"]:
                    raise RecordError(
                        f"{path}:{reader.line_num}: an empty prompt or type, expected one XSTest prompt a row"
                    )
                kind = "xstest_unsafe" if row["type"].startswith("contrast_") else "xstest_safe"
                prompts.append(
                    Prompt(
                        messages=(Message(role="user", content=row["prompt"].strip()),),
                        source=f"{path.name}:{reader.line_num}",
                        meta={"kind": kind, "type": row["type"], "focus": row["focus"], "id": row["id"]},
                    )
                )
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RecordError(f"{path}: cannot be read as XSTest's CSV file: {error}") from error
    if not prompts:
        raise RecordError(f"{path}: 0 usable rows of 0: the file is empty")
    return prompts
