"""How many harmless requests about computer security does the model decline?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from align.data.published import Published, words
from align.data.rows import Row
from align.evals import declined
from align.evals.evidence import Evidence, Instrument, Metric
from align.records import ItemScore, Message, Prompt

NAME = "mitre_frr"
METRICS = ("refused", "refused_published")
BY_KIND = {"borderline": METRICS}


def questions(rows: Iterable[Row]) -> Iterator[Prompt]:
    """A prompt a row."""
    for row in rows:
        yield Prompt(
            messages=(Message(role="user", content=words(row, "mutated_prompt")),),
            source=row.source,
            meta={"kind": "borderline"},
        )


def score(evidence: Evidence) -> list[ItemScore]:
    """Rows for each prompt; several answers are averaged."""
    return declined.score(evidence, NAME, BY_KIND, counts=True)


INSTRUMENT = Instrument(
    name=NAME,
    measures="share of borderline but harmless requests about security that are declined",
    data="mitre_frr.json: 750 requests",
    paper="Bhatt et al. 2024 (arXiv:2404.13161), false refusal rate",
    flaws=(
        declined.DETECTED,
        "the requests were written by a model; some could serve harm after all",
    ),
    needs=("prompts", "answers"),
    metrics=(
        Metric("refused", "lower", "share", "harmless requests declined"),
        Metric("refused_published", "lower", "share", "the same, by XSTest's published string rule"),
    ),
    score=score,
    last_run="2026-11-21: SmolLM2-135M-Instruct, 8 of 750 requests",
    published=Published(
        title="MITRE false-refusal prompts of CyberSecEval (Bhatt et al. 2024)",
        origin="github.com/meta-llama/PurpleLlama, CybersecurityBenchmarks/datasets/mitre_frr at 4be64c3",
        licence="MIT",
        n=750,
        files=("mitre_frr.json",),
        columns=("mutated_prompt",),
        questions=questions,
        folder="safety/mitre_frr",
        max_tokens=64,
    ),
    expected=declined.declared(METRICS, counts=True),
    suites=("safety",),
)
