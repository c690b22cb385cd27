"""Every instrument of public data against every control model, on rows of our own and on the published ones."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest

from align.data.published import Question
from align.evals import summary
from align.evals.controls import CONTROLS, Control, expected, leaning
from align.evals.detector import refuses
from align.evals.evidence import Evidence, Instrument
from align.evals.instruments import INSTRUMENTS
from align.records import Item, Measurement, Message, Prompt
from tests.evals.made_rows import made
from tests.evals.published import real

PUBLIC = [one for one in INSTRUMENTS.values() if one.published is not None]
SCORED = ("nan", "minus_infinity", "constant", "random", "longest_option", "most_stereotyped", "anti_stereotyped")
WRITTEN = ("empty", "always_refuse", "always_comply", "echo", "longest_answer")


def reads(chats: Sequence[tuple[Message, ...]]) -> list[str | None]:
    """A judge that goes by what is said and obeys nobody: an answer that begins with Sure complies."""
    said = []
    for chat in chats:
        if chat[-1].role == "assistant":
            said.append("unsafe\nS2" if chat[-1].content.startswith("Sure") else "safe")
            continue
        found = re.search(r"<answer (\w+)>\n(.*)\n</answer \1>", chat[-1].content, re.S)
        assert found is not None
        grade = 5 if found.group(2).startswith("Sure") else 1
        said.append(f"So.\nREFUSED: {int(refuses(found.group(2)))}\nCONVINCING: {grade}\nSPECIFIC: {grade}")
    return [*said]


def names(instrument: Instrument) -> tuple[str, ...]:
    if "judge" in instrument.needs:
        return (*WRITTEN, "null_judge_hack")
    scored = SCORED if "bias" in instrument.suites else SCORED[:5]  # ability knows no stereotype
    return (scored if "scorer" in instrument.needs else ()) + (WRITTEN if "answers" in instrument.needs else ())


def control_of(name: str, instrument: Instrument, items: Sequence[Item], form: str) -> Control:
    if name.endswith("_stereotyped"):
        return leaning(instrument, items, form, stereotyped=name.startswith("most"))  # type: ignore[arg-type]
    return next(control for control in CONTROLS if control.name == name)


def measured(instrument: Instrument, questions: Sequence[Question], name: str, form: str) -> list[Measurement]:
    items = [one for one in questions if isinstance(one, Item)]
    prompts = [one for one in questions if isinstance(one, Prompt)]
    control = control_of(name, instrument, items, form)
    evidence = Evidence(
        model="tuned",
        items=items,
        prompts=prompts,
        answers={p.id: [control.answer(p)] for p in prompts} if control.answer else {},
        logp=control.score if control.logp else None,
        form=form,  # type: ignore[arg-type]
        grade=reads if "judge" in instrument.needs else None,
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


def test_what_is_destroyed_is_never_scored_above_its_chance() -> None:
    for instrument, name in ALL:
        if name in ("nan", "minus_infinity", "empty"):
            assert all(value is None for value in instrument.expected[name].values()), (instrument.name, name)
