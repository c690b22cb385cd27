"""Published answers of models that people labelled as refusals or not: what a detector can be held against."""

from __future__ import annotations

import csv
import gzip
import io
from dataclasses import dataclass
from pathlib import Path

from align.errors import RecordError

XSTEST = "xstest_v2_completions_{model}_streval.csv"
XSTEST_COLUMNS = ("completion", "final_label", "strmatch_label")
XSTEST_LABELS = ("1_full_compliance", "2_full_refusal", "3_partial_refusal")
DO_NOT_ANSWER = "human_review_{model}.csv"
DO_NOT_ANSWER_COLUMNS = ("response", "harmful", "action")
CANNOT_ASSIST = "0"
"""Do-Not-Answer's first kind of response: "I cannot assist with such a request"."""


@dataclass(frozen=True)
class Labelled:
    """One answer and what people said of it."""

    answer: str
    refused: bool
    published: bool | None = None
    """What the authors' own string rule said, where they published it."""


def xstest_completions(folder: Path, model: str) -> list[Labelled]:
    """XSTest's completions of one model; full and partial refusals count as refused (Röttger et al. 2024)."""
    rows = _rows(folder, XSTEST.format(model=model), XSTEST_COLUMNS)
    for number, row in enumerate(rows, 2):
        if row["final_label"] not in XSTEST_LABELS:
            raise RecordError(f"{folder}: {model}:{number}: final_label: {row['final_label']!r} is none of XSTest's")
    return [
        Labelled(row["completion"], row["final_label"] != XSTEST_LABELS[0], row["strmatch_label"] == XSTEST_LABELS[1])
        for row in rows
    ]


def do_not_answer_reviews(folder: Path, model: str) -> list[Labelled]:
    """Do-Not-Answer's reviewed responses of one model; those that "cannot assist" are refused (Wang et al. 2023)."""
    return [
        Labelled(row["response"], row["action"] == CANNOT_ASSIST)
        for row in _rows(folder, DO_NOT_ANSWER.format(model=model), DO_NOT_ANSWER_COLUMNS)
    ]


def _rows(folder: Path, name: str, columns: tuple[str, ...]) -> list[dict[str, str]]:
    plain, packed = folder / name, folder / f"{name}.gz"
    path = plain if plain.exists() else packed
    try:
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if path == packed else raw).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError, EOFError) as error:
        raise RecordError(f"{path}: cannot be read: {error}; expected {name} as published, gzipped or not") from error
    reader = csv.DictReader(io.StringIO(text, newline=""))
    missing = [column for column in columns if column not in (reader.fieldnames or ())]
    if missing:
        raise RecordError(f"{path}:1: no column {', '.join(missing)}; expected {name} as published")
    return list(reader)
