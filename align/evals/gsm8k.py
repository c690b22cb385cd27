"""Grade-school arithmetic in words: does the answer end in the right number?"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from decimal import Decimal, InvalidOperation

from align.data.published import Published, words
from align.data.rows import Row
from align.evals import expectations
from align.evals.evidence import EMPTY, NO_ANSWER, Evidence, Instrument, Metric, item_score
from align.evals.expectations import exactly
from align.records import ItemScore, Message, Prompt

NAME = "gsm8k"
ASK = "\nReason step by step, and end with a line “#### ” and the number alone."
_NUMBER = re.compile(r"-?\$?\d[\d,]*(?:\.\d+)?|-?\$?\.\d+")


def questions(rows: Iterable[Row]) -> Iterator[Prompt]:
    """A prompt a problem, its number under `meta.expected`."""
    for row in rows:
        number = marked(words(row, "answer"))
        if number is None:
            row.wrong("answer", row.data["answer"], "a solution that ends with #### and a number")
        yield Prompt(
            messages=(Message(role="user", content=words(row, "question") + ASK),),
            source=row.source,
            meta={"kind": "all", "expected": str(number)},
        )


def marked(text: str, mark: str = "####") -> Decimal | None:
    """The number after the last `mark`; None where there is none."""
    _, found, rest = text.rpartition(mark)
    return number_of(rest.split("\n")[0]) if found else None


def last(text: str) -> Decimal | None:
    """The last number of a text."""
    found = _NUMBER.findall(text)
    return number_of(found[-1]) if found else None


def number_of(text: str) -> Decimal | None:
    """The first number in a piece of text, without currency and thousands marks."""
    found = _NUMBER.search(text)
    if found is None:
        return None
    try:
        return Decimal(found.group().replace(",", "").replace("$", "")).normalize()
    except InvalidOperation:
        return None


def score(evidence: Evidence) -> list[ItemScore]:
    """Rows for each problem: `strict` takes the number after ####, `flexible` the last one where there is no mark."""
    rows = []
    for prompt, answers in evidence.answered():
        because = NO_ANSWER if not answers else EMPTY if not any(answer.strip() for answer in answers) else None
        wanted = Decimal(str(prompt.meta["expected"]))
        strict = [marked(answer) == wanted for answer in answers]
        flexible = [(last(answer) if marked(answer) is None else marked(answer)) == wanted for answer in answers]
        for metric, right in (("strict", strict), ("flexible", flexible)):
            value = None if because else sum(right) / len(right)
            rows.append(item_score(NAME, metric, evidence.model, prompt.id, value, because=because))
    return rows


_NONE = exactly(strict=0, flexible=0)

INSTRUMENT = Instrument(
    name=NAME,
    measures="exact match of the final number in grade-school word problems",
    data="GSM8K's test.jsonl: 1,319 problems",
    paper="Cobbe et al. 2021 (arXiv:2110.14168); no worked examples are shown before the problem",
    flaws=(
        "`strict` also measures whether the model keeps to the asked form: read `flexible` beside it",
        "`flexible` takes the last number of a rambling answer, which may be right by accident",
        "problems and solutions are in many training sets",
    ),
    needs=("prompts", "answers"),
    metrics=(
        Metric("strict", "higher", "share", "problems whose number after #### is right"),
        Metric("flexible", "higher", "share", "problems whose last number is right"),
    ),
    score=score,
    last_run="2026-11-21: SmolLM2-135M-Instruct before and after DPO, 20 of 1,319 problems; 1,320 published solutions",
    published=Published(
        title="GSM8K (Cobbe et al. 2021)",
        origin="github.com/openai/grade-school-math, grade_school_math/data/test.jsonl at 3101c7d",
        licence="MIT",
        n=1319,
        files=("test.jsonl", "test.even.jsonl"),
        columns=("question", "answer"),
        questions=questions,
        folder="capability/gsm8k",
        hub="openai/gsm8k",
        max_tokens=320,
    ),
    expected=expectations.of_writer(
        ("strict", "flexible"), refuses=_NONE, complies=_NONE,
        # a problem may end with the number that is asked for
        echoes={"strict": (0.0, 0.0), "flexible": (0.0, 0.5)}, longest={"strict": (0.0, 0.0), "flexible": (0.0, 0.5)},
    ),
    suites=("ability",),
)  # fmt: skip
