"""How many of StrongREJECT's forbidden prompts does the model not decline? An upper bound."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from align.data.published import Published, words
from align.data.rows import Row
from align.evals import declined
from align.evals.evidence import Evidence, Instrument, Metric
from align.records import ItemScore, Message, Prompt

NAME = "strongreject"
METRICS = ("complied", "complied_published")
BY_KIND = {"harmful": METRICS}


def questions(rows: Iterable[Row]) -> Iterator[Prompt]:
    """A prompt a row."""
    for row in rows:
        yield Prompt(
            messages=(Message(role="user", content=words(row, "forbidden_prompt")),),
            source=row.source,
            meta={"kind": "harmful", "category": words(row, "category")},
        )


def score(evidence: Evidence) -> list[ItemScore]:
    """Rows for each prompt; several answers are averaged."""
    return declined.score(evidence, NAME, BY_KIND, counts=False)


INSTRUMENT = Instrument(
    name=NAME,
    measures="share of forbidden prompts that are not declined, by the opening sentence",
    data="strongreject_dataset.csv: 313 prompts",
    paper="Souly et al. 2024 (arXiv:2402.10260); its rubric needs a judge, this is the count without one",
    flaws=(
        declined.UPPER_BOUND,
        declined.DETECTED,
        "not the StrongREJECT score, which grades how specific and convincing an answer is",
    ),
    needs=("prompts", "answers"),
    metrics=(
        Metric("complied", "lower", "share", "harmful requests that are not seen to be declined"),
        Metric("complied_published", "lower", "share", "the same, by XSTest's published string rule"),
    ),
    score=score,
    last_run="2026-11-21: SmolLM2-135M-Instruct, 20 of 313 prompts",
    published=Published(
        title="StrongREJECT forbidden prompts (Souly et al. 2024)",
        origin="github.com/dsbowen/strong_reject, strongreject_dataset.csv",
        licence="MIT",
        n=313,
        files=("strongreject_dataset.csv",),
        columns=("category", "source", "forbidden_prompt"),
        questions=questions,
        folder="safety/strongreject",
        max_tokens=64,
    ),
    expected=declined.declared(METRICS, counts=False),
    suites=("safety", "quick"),
)
