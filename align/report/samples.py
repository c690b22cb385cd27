"""A handful of answers before and after: chosen by hash, so that nobody picked them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from align.records import Candidate, Message, Prompt
from align.report.view import PARTS, RunView

HARMFUL = frozenset({"harmful", "xstest_unsafe"})
"""Kinds whose answers are folded away until somebody asks for them."""


@dataclass(frozen=True)
class Sample:
    """One held-out prompt and what each model said to it."""

    kind: str | None
    turns: tuple[Message, ...]
    answers: tuple[tuple[str, Candidate | None], ...]

    @property
    def folded(self) -> bool:
        return self.kind in HARMFUL


def samples(view: RunView, *, of_each_kind: int = 3) -> list[Sample]:
    """The first few prompts of each kind by the hash of the prompt, with one answer of each model."""
    answered = {part: step for part in PARTS if (step := view.step(f"answers/{part}")) is not None}
    if not answered:
        return []
    prompts = [p for step in view.of_stage("prepare") for p in step.records("test_prompts.jsonl", Prompt)]
    said = {part: _first(step.records("candidates.jsonl", Candidate)) for part, step in answered.items()}
    kinds: dict[str | None, list[Prompt]] = {}
    for prompt in sorted(prompts, key=lambda prompt: prompt.id):
        if any(prompt.id in answers for answers in said.values()):
            kind = prompt.meta.get("kind")
            kinds.setdefault(str(kind) if kind is not None else None, []).append(prompt)
    return [
        Sample(kind, prompt.messages, tuple((part, said[part].get(prompt.id)) for part in answered))
        for kind in sorted(kinds, key=lambda kind: (kind in HARMFUL, kind or ""))
        for prompt in kinds[kind][:of_each_kind]
    ]


def _first(candidates: Sequence[Candidate]) -> dict[str, Candidate]:
    found: dict[str, Candidate] = {}
    for candidate in sorted(candidates, key=lambda candidate: candidate.sample):
        found.setdefault(candidate.prompt_id, candidate)
    return found
