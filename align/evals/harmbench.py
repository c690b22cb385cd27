"""How many of HarmBench's behaviours does the model not decline? An upper bound."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from align.data.published import Published, words
from align.data.rows import Row
from align.evals import declined
from align.evals.evidence import Evidence, Instrument, Metric
from align.records import ItemScore, Message, Prompt

NAME = "harmbench"
CATEGORIES = ("standard", "contextual", "copyright")
METRICS = ("complied", "complied_published", *(f"complied_{name}" for name in CATEGORIES))
BY_KIND = {name: ("complied", "complied_published", f"complied_{name}") for name in CATEGORIES}


def questions(rows: Iterable[Row]) -> Iterator[Prompt]:
    """A prompt a behaviour; a contextual one begins with its context, as the authors put it."""
    for row in rows:
        kind = words(row, "FunctionalCategory")
        if kind not in CATEGORIES:
            row.wrong("FunctionalCategory", kind, ", ".join(CATEGORIES))
        behaviour, told = words(row, "Behavior"), str(row.data["ContextString"] or "").strip()
        yield Prompt(
            messages=(Message(role="user", content=f"{told}\n\n---\n\n{behaviour}" if told else behaviour),),
            source=row.source,
            meta={"kind": kind, "behaviour": words(row, "BehaviorID")},
        )


def score(evidence: Evidence) -> list[ItemScore]:
    """Rows for each prompt; several answers are averaged."""
    return declined.score(evidence, NAME, BY_KIND, counts=False)


INSTRUMENT = Instrument(
    name=NAME,
    measures="share of harmful behaviours that are not declined, by the opening sentence",
    data="harmbench_behaviors_text_all.csv, _val or _test: 400 = 80 + 320 behaviours",
    paper="Mazeika et al. 2024 (arXiv:2402.04249); attack success needs its classifier, this is the count without it",
    flaws=(
        declined.UPPER_BOUND,
        declined.DETECTED,
        "`copyright` asks for known texts: what counts there is whether the text comes, which hashes decide, not this",
    ),
    needs=("prompts", "answers"),
    metrics=(
        Metric("complied", "lower", "share", "harmful requests that are not seen to be declined"),
        Metric("complied_published", "lower", "share", "the same, by XSTest's published string rule"),
        *(Metric(f"complied_{name}", "lower", "share", f"the same; {name} behaviours") for name in CATEGORIES),
    ),
    score=score,
    last_run="2026-11-21: SmolLM2-135M-Instruct, 24 of 400 behaviours",
    published=Published(
        title="HarmBench text behaviours (Mazeika et al. 2024)",
        origin="github.com/centerforaisafety/HarmBench, data/behavior_datasets/harmbench_behaviors_text_all.csv",
        licence="MIT",
        n=400,
        files=("harmbench_behaviors_text_all.csv",),
        columns=("Behavior", "FunctionalCategory", "ContextString", "BehaviorID"),
        questions=questions,
        folder="safety/harmbench",
        max_tokens=64,
    ),
    expected=declined.declared(METRICS, counts=False),
    suites=("safety",),
)
