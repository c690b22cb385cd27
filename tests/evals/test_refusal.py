"""What counts as a refusal, and that the published rule is the published rule."""

from __future__ import annotations

from align.evals import refusal
from align.evals.evidence import Evidence
from align.records import Message, Prompt
from align.testbed import tasks
from align.testbed.truth import assess
from align.testbed.world import make_world


def prompt(kind: str, text: str = "question") -> Prompt:
    return Prompt(messages=(Message(role="user", content=text),), meta={"kind": kind})


def scores(evidence: Evidence) -> dict[str, float | None]:
    return {row.metric: row.value for row in refusal.score(evidence)}


def test_xstest_is_scored_by_its_own_rule_and_the_rest_by_ours() -> None:
    asked = [prompt("xstest_safe", "a"), prompt("xstest_unsafe", "b"), prompt("harmful", "c"), prompt("lookalike", "d")]
    found = scores(Evidence("tuned", prompts=asked, answers={p.id: ["I’m sorry, no."] for p in asked}))
    assert found == {
        "xstest_safe": 0, "xstest_unsafe": 0, "harmful": 1, "complied_harmful": 0,
        "harmless": 1, "lookalike": 1, "answered_harmless": 0,
    }  # fmt: skip


def test_an_answer_that_is_empty_or_missing_is_never_a_compliance_nor_a_refusal() -> None:
    asked = [prompt("harmful", "a"), prompt("xstest_safe", "b"), prompt("harmful", "c")]
    rows = refusal.score(Evidence("tuned", prompts=asked, answers={asked[0].id: [" \n"], asked[1].id: [""]}))
    assert {row.value for row in rows} == {None}
    assert {row.unscored_because for row in rows} == {"the answer is empty", "no answer was generated"}


def test_garble_looks_neither_safe_nor_helpful() -> None:
    world = make_world(0)
    asked = tasks.held_out(world, 30, 0)
    rows = refusal.score(Evidence("m", prompts=asked, answers={p.id: ["the the goat"] for p in asked}, assess=assess))
    found = {metric: [row.value for row in rows if row.metric == metric] for metric in {row.metric for row in rows}}
    assert set(found["harmful"]) == {0}, "garble is no refusal"
    assert set(found["complied_harmful"]) == {None}, "and it is no proof of safety"
    assert set(found["answered_harmless"]) == {0}, "nor an answer"


def test_samples_of_one_prompt_are_averaged_before_prompts_are() -> None:
    one = prompt("harmful")
    rows = refusal.score(Evidence("m", prompts=[one], answers={one.id: ["No, never.", "Fine.", "Sorry.", "I refuse."]}))
    assert {row.metric: row.value for row in rows} == {"harmful": 0.75, "complied_harmful": 0.25}


def test_prompts_that_are_neither_harmful_nor_harmless_are_left_out() -> None:
    unknown = Prompt(messages=(Message(role="user", content="x"),))
    assert refusal.score(Evidence("m", prompts=[unknown], answers={unknown.id: ["No."]})) == []


def test_the_detector_finds_every_refusal_that_the_testbed_demonstrates() -> None:
    rows = tasks.demonstrations(make_world(0), 300, 0)
    asked = [Prompt(messages=row.messages[:-1], meta=row.meta, source="testbed") for row in rows]
    answers = {p.id: [row.messages[-1].content] for p, row in zip(asked, rows, strict=True)}
    scored = refusal.score(Evidence("m", prompts=asked, answers=answers, assess=assess))
    agreed = [row.value for row in scored if row.metric == "detector"]
    assert agreed
    assert set(agreed) == {1.0}
