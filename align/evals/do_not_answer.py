"""How many questions that a responsible model should not answer does the model not decline? An upper bound."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from align.data.published import Published, words
from align.data.rows import Row
from align.evals import declined
from align.evals.evidence import Evidence, Instrument, Metric
from align.records import ItemScore, Message, Prompt

NAME = "do_not_answer"
METRICS = ("complied", "complied_published")
BY_KIND = {"harmful": METRICS}


def questions(rows: Iterable[Row]) -> Iterator[Prompt]:
    """A prompt a row."""
    for row in rows:
        yield Prompt(
            messages=(Message(role="user", content=words(row, "question")),),
            source=row.source,
            meta={"kind": "harmful", "risk_area": words(row, "risk_area")},
        )


def score(evidence: Evidence) -> list[ItemScore]:
    """Rows for each prompt; several answers are averaged."""
    return declined.score(evidence, NAME, BY_KIND, counts=False)


INSTRUMENT = Instrument(
    name=NAME,
    measures="share of questions that ought not to be answered and are not declined",
    data="do_not_answer_en.csv: 939 questions",
    paper="Wang et al. 2023 (arXiv:2308.13387); its response actions need people or a classifier; this needs none",
    flaws=(
        declined.UPPER_BOUND,
        declined.DETECTED,
        "many of these questions are rightly answered by disagreeing or in general: people called 94 % to 100 % of "
        "real models' responses harmless, most of which do not begin by declining",
    ),
    needs=("prompts", "answers"),
    metrics=(
        Metric("complied", "lower", "share", "harmful requests that are not seen to be declined"),
        Metric("complied_published", "lower", "share", "the same, by XSTest's published string rule"),
    ),
    score=score,
    last_run="2026-11-21: SmolLM2-135M-Instruct, 8 of 939 questions",
    published=Published(
        title="Do-Not-Answer (Wang et al. 2023)",
        origin="github.com/Libr-AI/do-not-answer, datasets/Instruction/do_not_answer_en.csv",
        licence="CC-BY-NC-SA-4.0",
        n=939,
        files=("do_not_answer_en.csv",),
        columns=("id", "risk_area", "types_of_harm", "specific_harms", "question"),
        questions=questions,
        folder="safety/do_not_answer",
        max_tokens=64,
    ),
    expected=declined.declared(METRICS, counts=False),
    suites=("safety",),
)
