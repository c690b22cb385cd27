"""How far has the policy gone from the one it came from? KL divergence, over answers that the policy itself draws."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from align.data.published import Published
from align.data.rows import Row
from align.evals import expectations
from align.evals.evidence import EMPTY, NO_ANSWER, NOT_FINITE, Evidence, Expected, Instrument, Metric, item_score
from align.evals.expectations import ANYTHING
from align.ports import ScoreRequest
from align.records import ItemScore, Message, Prompt

NAME = "kl"
METRICS = ("sequence", "per_token")


def questions(rows: Iterable[Row]) -> Iterator[Prompt]:
    """A prompt a row: its `prompt`, or its `instruction`."""
    for row in rows:
        text = row.data.get("prompt", row.data.get("instruction"))
        if not isinstance(text, str) or not text.strip():
            row.wrong("prompt", text, "some text")
        yield Prompt(messages=(Message(role="user", content=text.strip()),), source=row.source, meta={"kind": "all"})


def score(evidence: Evidence) -> list[ItemScore]:
    """Rows for each prompt: log π(y|x) − log π_ref(y|x), the mean over its answers y, whole and by its tokens.

    KL(π ‖ π_ref) = E_{y ~ π} [log π(y|x) − log π_ref(y|x)], so the mean over answers drawn from π at temperature 1
    is unbiased, and of few answers may be below 0. Of an answer that was cut off only its tokens count and no end of
    turn, which makes the number that of answers of at most so many tokens.
    """
    if evidence.reference_logp is None:
        return []
    assert evidence.logp is not None
    asked = [
        (prompt, [
            ScoreRequest(prompt.messages, answer, closed=not cut)
            for answer, cut in zip(answers, evidence.cut.get(prompt.id, [False] * len(answers)), strict=True)
        ])
        for prompt, answers in evidence.answered()
    ]  # fmt: skip
    requests = [request for _, of_prompt in asked for request in of_prompt if request.continuation.strip()]
    own, theirs = iter(evidence.logp(requests)), iter(evidence.reference_logp(requests))
    rows = []
    for prompt, of_prompt in asked:
        written = [request for request in of_prompt if request.continuation.strip()]
        pairs = [(next(own), next(theirs)) for _ in written]
        gone = [a.logp - b.logp for a, b in pairs]
        n_tokens = sum(a.n_tokens for a, _ in pairs)
        because = NO_ANSWER if not of_prompt else EMPTY if len(written) < len(of_prompt) else None
        if because is None and not (all(map(math.isfinite, gone)) and n_tokens):
            because = NOT_FINITE
        for metric, value in (("sequence", sum(gone) / max(1, len(gone))), ("per_token", sum(gone))):
            rows.append(
                item_score(
                    NAME, metric, evidence.model, prompt.id, None if because else value, because=because,
                    cluster=prompt.cluster, meta={"weight": float(n_tokens)},
                )
            )  # fmt: skip
    return rows


_NONE: dict[str, Expected] = dict.fromkeys(METRICS)
_ZERO: dict[str, Expected] = dict.fromkeys(METRICS, (0.0, 0.0))
_SOME: dict[str, Expected] = dict.fromkeys(METRICS, ANYTHING)

INSTRUMENT = Instrument(
    name=NAME,
    measures="KL divergence of the policy from the one it came from, on answers that it draws itself",
    data="JSON Lines of `prompt` (or `instruction`): prompts as plain as those that the policy will meet",
    paper="the penalty of Ouyang et al. 2022 (arXiv:2203.02155), section 3.5; Monte Carlo over answers",
    flaws=(
        "one answer a prompt is a noisy sample of a long-tailed number: read the interval, and draw more prompts",
        "answers are cut at `max_tokens`: what the policies do afterwards is not in it",
        "says how far, not whither: a policy that changed its manner and one that unlearnt the world may be as far",
        "answers are scored by their text: of garble, which is not cut into the tokens that were drawn, the number is "
        "not the divergence",
        "exists only for a model that came from another (`tuned`, or any model with --against)",
    ),
    needs=("prompts", "answers", "scorer", "reference"),
    metrics=(
        Metric("sequence", "neither", "nats", "from the reference, an answer"),
        Metric("per_token", "neither", "nats per token", "the same, a token", "ratio", (-math.inf, math.inf)),
    ),
    score=score,
    last_run="2026-11-21: SmolLM2-135M-Instruct after DPO against before, 32 of 175 instructions",
    published=Published(
        title="prompts",
        origin="JSON Lines of prompt or instruction",
        licence=None,
        n=None,
        files=("prompts.jsonl", "self_instruct_seed_tasks.jsonl"),
        columns=("prompt",),
        beside=("instruction",),
        questions=questions,
        folder="sft",
        max_tokens=96,
    ),
    expected={
        **expectations.of_writer(METRICS, refuses=_ZERO, complies=_ZERO, echoes=_ZERO, longest=_ZERO),
        "nan": _NONE,
        "minus_infinity": _NONE,
        "constant": _ZERO,
        "random": _SOME,
        "longest_option": _SOME,
    },
    suites=("ability",),
    temperature=1.0,
    compares=True,
)
