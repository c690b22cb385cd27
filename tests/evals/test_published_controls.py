"""Every instrument of public data against every control model, on rows of our own and on the published ones."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import pytest

from align.data.published import Question
from align.evals import controls, summary, xstest
from align.evals.controls import CONTROLS, EVERY, Control, expected, leaning, unmet
from align.evals.detector import refuses
from align.evals.evidence import Evidence, Instrument, Reward, item_score
from align.evals.instruments import INSTRUMENTS
from align.ports import ScoreRequest
from align.records import Item, ItemScore, Measurement, Message, Prompt
from tests.evals import test_controls
from tests.evals.made_rows import made
from tests.evals.published import real

PUBLIC = [one for one in INSTRUMENTS.values() if one.published is not None]
TEMPLATES = {"harmbench_cls": "{behavior}\n=== yes or no of ===\n{generation}",
             "wildguard": "{prompt}\n=== three words of ===\n{response}"}  # fmt: skip
"""Our own: what a classifier reads is its authors' text."""


def reads(chats: Sequence[tuple[Message, ...] | str]) -> list[str | None]:
    """A judge that goes by what is said and obeys nobody: an answer that begins with Sure complies."""
    said = []
    for chat in chats:
        if isinstance(chat, str):
            _, asked, answer = re.split(r"\n=== (.*?) of ===\n", chat, maxsplit=1)
            declines, complies = (("no", "yes")[found] for found in (refuses(answer), answer.startswith("Sure")))
            three = f"Harmful request: yes\nResponse refusal: {declines}\nHarmful response: {complies}"
            said.append(complies if asked == "yes or no" else three)
            continue
        if chat[-1].role == "assistant":
            said.append("unsafe\nS2" if chat[-1].content.startswith("Sure") else "safe")
            continue
        found = re.search(r"<answer (\w+)>\n(.*)\n</answer \1>", chat[-1].content, re.S)
        assert found is not None
        grade = 5 if found.group(2).startswith("Sure") else 1
        said.append(f"So.\nREFUSED: {int(refuses(found.group(2)))}\nCONVINCING: {grade}\nSPECIFIC: {grade}")
    return [*said]


def names(instrument: Instrument) -> tuple[str, ...]:
    return tuple(name for name in EVERY if unmet(instrument, name) is None)


def control_of(name: str, instrument: Instrument, items: Sequence[Item], form: str) -> Control:
    if name.endswith("_stereotyped"):
        return leaning(instrument, items, form, stereotyped=name.startswith("most"))  # type: ignore[arg-type]
    return next(control for control in CONTROLS if control.name == name)


def rewarding(control: Control) -> Reward:
    """The control as a reward model: the last answer is worth what it would be as a continuation."""
    logp = control.logp
    assert logp is not None
    return lambda chats: [logp(ScoreRequest(chat[:-1], chat[-1].content)) for chat in chats]


def measured(instrument: Instrument, questions: Sequence[Question], name: str, form: str) -> list[Measurement]:
    items = [one for one in questions if isinstance(one, Item)]
    prompts = [one for one in questions if isinstance(one, Prompt)]
    control = control_of(name, instrument, items, form)
    if instrument.compares:
        # it writes and is scored: the part that the control leaves open is as dull as can be
        plain = next(one for one in CONTROLS if one.name == "constant")
        control = replace(control, answer=control.answer or (lambda _: "Well."), logp=control.logp or plain.logp)
        reference = plain if name in ("random", "longest_option") else control
    evidence = Evidence(
        model="tuned",
        items=items,
        prompts=prompts,
        answers={p.id: [control.answer(p)] for p in prompts} if control.answer else {},
        logp=control.score if control.logp else None,
        form=form,  # type: ignore[arg-type]
        grade=reads if "judge" in instrument.needs else None,
        template=TEMPLATES.get(instrument.name),
        reward=rewarding(control) if "rewarder" in instrument.needs else None,
        reference_logp=reference.score if instrument.compares else None,
    )
    return summary.measurements(instrument, instrument.score(evidence), model="tuned")


def agrees(instrument: Instrument, name: str, found: Sequence[Measurement]) -> None:
    declared = expected(instrument, Control(name))
    assert found
    for metric in found:
        assert metric.metric in declared, f"{instrument.name}.{metric.metric} declares nothing for `{name}`"
        said = declared[metric.metric]
        if said is None:
            assert metric.value is None, f"{metric.metric} of {name} is {metric.value}, and must have no value"
            assert metric.n == 0
        elif isinstance(said, float):
            assert metric.low is not None
            assert metric.high is not None
            centre, width = (metric.low + metric.high) / 2, metric.high - metric.low
            # four standard errors: so many metrics at once would often miss by two
            assert abs(said - centre) <= width + 1e-9, (metric.metric, said, metric.low, metric.high)
        else:
            assert metric.value is not None, (metric.metric, metric.method)
            assert said[0] - 1e-9 <= metric.value <= said[1] + 1e-9, (metric.metric, metric.value, said)


ALL = [(one, name) for one in PUBLIC for name in names(one)]


@pytest.mark.parametrize(("instrument", "name"), ALL, ids=[f"{i.name}-{n}" for i, n in ALL])
@pytest.mark.parametrize("form", ["plain", "chat"])
def test_each_metric_says_of_each_control_what_it_must(instrument: Instrument, name: str, form: str) -> None:
    agrees(instrument, name, measured(instrument, made(instrument), name, form))


REAL = [(one, name) for one, name in ALL if one.published is not None and one.published.n is not None]


@pytest.mark.parametrize(("instrument", "name"), REAL, ids=[f"{i.name}-{n}" for i, n in REAL])
def test_the_published_rows_say_the_same(instrument: Instrument, name: str) -> None:
    agrees(instrument, name, measured(instrument, real(instrument, most=12), name, "plain"))


def test_every_instrument_declares_every_control_that_can_be_run_on_it() -> None:
    for instrument in PUBLIC:
        missing = [name for name in names(instrument) if name not in instrument.expected]
        assert not missing, f"{instrument.name} does not say what it gives for {', '.join(missing)}"


@pytest.mark.parametrize("instrument", PUBLIC, ids=lambda one: one.name)
def test_no_instrument_gives_a_destroyed_model_a_score_on_the_questions_at_hand(instrument: Instrument) -> None:
    asked = made(instrument)
    items = [one for one in asked if isinstance(one, Item)]
    prompts = [one for one in asked if isinstance(one, Prompt)]
    assert controls.unsound(instrument, items, prompts, "chat") is None


def test_an_instrument_that_scores_an_empty_answer_is_found_out_before_it_measures() -> None:
    def generous(evidence: Evidence) -> list[ItemScore]:
        return [item_score("xstest", "refused_unsafe", evidence.model, one.id, 1.0) for one in evidence.prompts]

    broken = replace(xstest.INSTRUMENT, score=generous)
    prompts = [one for one in made(broken) if isinstance(one, Prompt)]
    said = controls.unsound(broken, [], prompts, "chat")
    assert said is not None
    assert "xstest: a control model that is destroyed (`empty`) gets 1 for refused_unsafe" in said


BESIDE = ("reward_bench.longest", "best_of_n.of_any", "best_of_n.of_best")
"""Words are counted and a judge's word is read without a model: no model can break that."""


def test_what_is_destroyed_is_never_scored_above_its_chance() -> None:
    for instrument, name in ALL:
        if name in ("nan", "minus_infinity", "empty"):
            scored = [m for m, value in instrument.expected[name].items() if value is not None]
            assert all(f"{instrument.name}.{metric}" in BESIDE for metric in scored), (instrument.name, name)


def test_every_instrument_meets_every_control_or_says_why_it_cannot() -> None:
    """Twelve controls, `longest` as option and as answer; those of the testbed are run by `test_controls.py`."""
    assert len(EVERY) == 13
    for instrument in INSTRUMENTS.values():
        met = [name for name in EVERY if unmet(instrument, name) is None]
        assert met or "people" in instrument.needs, instrument.name
        if instrument.published is None:
            assert met == run_on_the_testbed(instrument), instrument.name
        else:
            assert set(met) <= set(instrument.expected), instrument.name


def run_on_the_testbed(instrument: Instrument) -> list[str]:
    """In the order of `EVERY`."""
    run = {control.name for one, control in test_controls.ALL if one.name == instrument.name}
    return [name for name in EVERY if name in run]
