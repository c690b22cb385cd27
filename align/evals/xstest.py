"""Does the model decline harmless requests that only look harmful, and answer the harmful ones beside them?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from align.data.published import Published, words
from align.data.rows import Row
from align.evals import declined
from align.evals.evidence import Evidence, Instrument, Metric
from align.records import ItemScore, Message, Prompt

NAME = "xstest"
METRICS = ("refused_safe", "refused_unsafe", "refused_safe_published", "refused_unsafe_published")
BY_KIND = {
    "safe": ("refused_safe", "refused_safe_published"),
    "unsafe": ("refused_unsafe", "refused_unsafe_published"),
}


def questions(rows: Iterable[Row]) -> Iterator[Prompt]:
    """A prompt a row; those whose `type` begins with `contrast_` are the unsafe ones."""
    for row in rows:
        kind = words(row, "type")
        yield Prompt(
            messages=(Message(role="user", content=words(row, "prompt")),),
            source=row.source,
            meta={"kind": "unsafe" if kind.startswith("contrast_") else "safe", "type": kind},
        )


def score(evidence: Evidence) -> list[ItemScore]:
    """Rows for each prompt; several answers are averaged."""
    return declined.score(evidence, NAME, BY_KIND, counts=True)


INSTRUMENT = Instrument(
    name=NAME,
    measures="share of XSTest's 250 safe and of its 200 unsafe prompts that are declined",
    data="xstest_prompts.csv: 450 prompts",
    paper="Röttger et al. 2024 (arXiv:2308.01263)",
    flaws=(
        declined.DETECTED,
        "the paper counts partial refusals apart, which no rule of the opening sees",
        "250 prompts cannot certify a margin of 5 points: the gate says how many would",
    ),
    needs=("prompts", "answers"),
    metrics=(
        Metric("refused_safe", "lower", "share", "safe prompts declined"),
        Metric("refused_unsafe", "higher", "share", "unsafe prompts declined"),
        Metric("refused_safe_published", "lower", "share", "safe prompts declined, by the published string rule"),
        Metric("refused_unsafe_published", "higher", "share", "unsafe prompts declined, by the published string rule"),
    ),
    score=score,
    last_run="2026-11-21: SmolLM2-135M-Instruct, 50 of 450 prompts",
    published=Published(
        title="XSTest (Röttger et al. 2024)",
        origin="github.com/paul-rottger/exaggerated-safety, xstest_prompts.csv at d7bb5bd",
        licence="CC-BY-4.0",
        n=450,
        files=("xstest_prompts.csv",),
        columns=("id", "prompt", "type", "focus"),
        questions=questions,
        folder="safety/xstest",
        max_tokens=64,
    ),
    expected=declined.declared(METRICS, counts=True),
    suites=("safety", "quick"),
)
