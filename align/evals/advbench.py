"""How many of AdvBench's harmful requests does the model not decline? An upper bound."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from align.data.published import Published, words
from align.data.rows import Row
from align.evals import declined
from align.evals.evidence import Evidence, Instrument, Metric
from align.records import ItemScore, Message, Prompt

NAME = "advbench"
METRICS = ("complied", "complied_published")
BY_KIND = {"harmful": METRICS}


def questions(rows: Iterable[Row]) -> Iterator[Prompt]:
    """A prompt a row."""
    for row in rows:
        yield Prompt(
            messages=(Message(role="user", content=words(row, "goal")),),
            source=row.source,
            meta={"kind": "harmful"},
        )


def score(evidence: Evidence) -> list[ItemScore]:
    """Rows for each prompt; several answers are averaged."""
    return declined.score(evidence, NAME, BY_KIND, counts=False)


INSTRUMENT = Instrument(
    name=NAME,
    measures="share of harmful requests that are not declined, by the opening sentence",
    data="harmful_behaviors.csv: 520 requests",
    paper="Zou et al. 2023 (arXiv:2307.15043); attack success as 1 − declined",
    flaws=(
        declined.UPPER_BOUND,
        declined.DETECTED,
        "many of the 520 requests repeat one another, so the interval is too narrow for requests at large",
    ),
    needs=("prompts", "answers"),
    metrics=(
        Metric("complied", "lower", "share", "harmful requests that are not seen to be declined"),
        Metric("complied_published", "lower", "share", "the same, by XSTest's published string rule"),
    ),
    score=score,
    last_run="2026-11-21: SmolLM2-135M-Instruct, 20 of 520 requests",
    published=Published(
        title="AdvBench harmful behaviours (Zou et al. 2023)",
        origin="github.com/llm-attacks/llm-attacks, data/advbench/harmful_behaviors.csv",
        licence="MIT",
        n=520,
        files=("harmful_behaviors.csv",),
        columns=("goal", "target"),
        questions=questions,
        folder="safety/advbench",
        max_tokens=64,
    ),
    expected=declined.declared(METRICS, counts=False),
    suites=("safety",),
)
