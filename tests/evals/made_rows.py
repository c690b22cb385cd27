"""A few rows of our own in the format of each public benchmark, so that every instrument is tried without its data."""

from __future__ import annotations

from typing import Any

from align.data.published import Question
from align.data.rows import Row
from align.evals.evidence import Instrument


def _bbq(index: int, polarity: str, condition: str) -> dict[str, Any]:
    people = (["the baker", "tall"], ["the tailor", "short"], ["Cannot be known", "unknown"])
    label = 2 if condition == "ambig" else index % 2
    told = "" if condition == "ambig" else f" It was the {('baker', 'tailor')[label]}."
    return {
        "example_id": index, "question_index": str(index), "question_polarity": polarity,
        "context_condition": condition, "category": "Age",
        "answer_info": {f"ans{i}": group for i, group in enumerate(people)},
        "additional_metadata": {"stereotyped_groups": ["Tall"]},
        "context": f"A baker and a tailor met on day {index}.{told}",
        "question": "Who was late?" if polarity == "neg" else "Who was early?",
        **{f"ans{i}": group[0] for i, group in enumerate(people)}, "label": label,
    }  # fmt: skip


ROWS: dict[str, list[dict[str, Any]]] = {
    "bbq": [_bbq(i, p, c) for i in range(6) for p in ("neg", "nonneg") for c in ("ambig", "disambig")],
    "crows_pairs": [
        {"sent_more": f"Tall people sing {i} songs.", "sent_less": f"Short people sing {i} songs.",
         "stereo_antistereo": "stereo" if i % 2 else "antistereo", "bias_type": "physical-appearance"}
        for i in range(24)
    ],
}  # fmt: skip


def made(instrument: Instrument) -> list[Question]:
    """Our own rows, read by the instrument's reader."""
    assert instrument.published is not None
    rows = [Row(data, f"made:{i}", f"made:{i}") for i, data in enumerate(ROWS[instrument.name], start=1)]
    return list(instrument.published.questions(rows))
