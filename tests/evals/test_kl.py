"""KL to the reference: of two policies whose divergence is known, of an answer that was cut off, and of nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from align.evals import kl, summary
from align.evals.evidence import Evidence
from align.ports import Score, ScoreRequest
from align.records import Message, Prompt

POLICY, REFERENCE = {"yes": 0.8, "no": 0.15, "well": 0.05}, {"yes": 0.4, "no": 0.4, "well": 0.2}
TRUE = sum(p * math.log(p / REFERENCE[word]) for word, p in POLICY.items())
PROMPTS = [Prompt(messages=(Message(role="user", content=f"Question {i}?"),)) for i in range(60)]


def scorer(of: dict[str, float], seen: list[ScoreRequest] | None = None):  # type: ignore[no-untyped-def]
    def score(requests: Sequence[ScoreRequest]) -> list[Score]:
        if seen is not None:
            seen.extend(requests)
        return [Score(math.log(of[request.continuation]), 1) for request in requests]

    return score


def evidence(answers: dict[str, list[str]], **more: object) -> Evidence:
    return Evidence(
        "tuned", prompts=PROMPTS, answers=answers, logp=scorer(POLICY), reference_logp=scorer(REFERENCE), **more
    )  # type: ignore[arg-type]


def test_answers_of_the_policy_itself_give_its_divergence_within_the_interval() -> None:
    random, held, values = np.random.default_rng(0), 0, []
    for _ in range(200):
        drawn = random.choice(list(POLICY), size=(len(PROMPTS), 2), p=list(POLICY.values()))
        answers = {prompt.id: [str(word) for word in two] for prompt, two in zip(PROMPTS, drawn, strict=True)}
        found = {m.metric: m for m in summary.measurements(kl.INSTRUMENT, kl.score(evidence(answers)), model="tuned")}
        one = found["sequence"]
        assert one.value is not None
        assert one.low is not None
        assert one.high is not None
        held += one.low <= TRUE <= one.high
        values.append(one.value)
        assert found["per_token"].value == pytest.approx(one.value), "each answer is one token"
    assert abs(np.mean(values) - TRUE) < 3 * np.std(values) / math.sqrt(len(values))
    assert held / 200 >= 0.90, f"{held} of 200 intervals hold {TRUE:.3f}"


def test_greedy_answers_would_overstate_it_so_the_temperature_is_fixed() -> None:
    greedy = kl.score(evidence({prompt.id: ["yes"] for prompt in PROMPTS}))
    assert greedy[0].value == math.log(2)
    assert greedy[0].value > TRUE
    assert kl.INSTRUMENT.temperature == 1.0


def test_an_answer_that_was_cut_off_is_asked_for_without_an_end() -> None:
    seen: list[ScoreRequest] = []
    asked = Evidence(
        "tuned", prompts=PROMPTS[:1], answers={PROMPTS[0].id: ["yes", "no"]}, cut={PROMPTS[0].id: [True, False]},
        logp=scorer(POLICY, seen), reference_logp=scorer(REFERENCE),
    )  # fmt: skip
    kl.score(asked)
    assert [(one.continuation, one.closed) for one in seen] == [("yes", False), ("no", True)]


def test_a_model_that_came_from_none_has_none() -> None:
    assert kl.score(Evidence("base", prompts=PROMPTS, answers={}, logp=scorer(POLICY))) == []
    assert kl.INSTRUMENT.compares
