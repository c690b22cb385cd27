"""Answers that a served model reads: each is asked about once, and a prompt has its verdicts or a reason for none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from align.evals.evidence import EMPTY, NO_ANSWER, Chat, Evidence
from align.records import Prompt

V = TypeVar("V")


@dataclass(frozen=True)
class Verdicts(Generic[V]):
    """What was said of one prompt's answers."""

    prompt: Prompt
    told: Sequence[V]
    because: str | None
    """Why they are no score: an answer is missing or empty, or a reply about one cannot be read."""

    def share(self, of: Callable[[V], float]) -> float | None:
        """The mean over the answers; None where there is a reason for none."""
        return None if self.because else sum(map(of, self.told)) / len(self.told)


def verdicts(
    evidence: Evidence, ask: Callable[[Prompt, str], Chat], read: Callable[[str | None], V | None], unreadable: str
) -> Iterator[Verdicts[V]]:
    """Every prompt with what the served model says of its answers, all of them asked for at once."""
    assert evidence.grade is not None
    asked = [(prompt, list(answers)) for prompt, answers in evidence.answered()]
    replies = iter(evidence.grade([ask(p, a) for p, answers in asked for a in answers if a.strip()]))
    for prompt, answers in asked:
        found = [read(next(replies)) for answer in answers if answer.strip()]
        because = NO_ANSWER if not answers else EMPTY if len(found) < len(answers) else None
        told = [one for one in found if one is not None]
        if because is None and len(told) < len(found):
            because = unreadable
        yield Verdicts(prompt, told, because)
