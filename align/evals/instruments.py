"""The table of instruments: what can be measured, what each needs, and whether it has met real data."""

from __future__ import annotations

from difflib import get_close_matches

from align.errors import RecipeError
from align.evals import (
    advbench,
    bbq,
    best_of_n,
    bold,
    crows_pairs,
    discrim_eval,
    do_not_answer,
    dpo_accuracy,
    facts,
    gsm8k,
    harmbench,
    harmbench_cls,
    harness,
    held_out_loss,
    ifeval,
    kl,
    length,
    llama_guard,
    mitre_frr,
    model_written,
    people_win_rate,
    pronouns,
    questions,
    refusal,
    reward_bench,
    stereoset,
    strongreject,
    strongreject_rubric,
    truthfulqa,
    utility,
    wildguard,
    win_rate,
    winobias,
    winogender,
    xstest,
)
from align.evals.evidence import Instrument, Metric

INSTRUMENTS: dict[str, Instrument] = {
    "facts": facts.INSTRUMENT,
    "utility": utility.INSTRUMENT,
    "refusal": refusal.INSTRUMENT,
    "pronouns": pronouns.INSTRUMENT,
    "length": length.INSTRUMENT,
    "dpo_accuracy": dpo_accuracy.INSTRUMENT,
    "people_win_rate": people_win_rate.INSTRUMENT,
    **{
        one.name: one
        for one in (
            bbq.INSTRUMENT,
            crows_pairs.INSTRUMENT,
            winobias.INSTRUMENT,
            winogender.INSTRUMENT,
            stereoset.INSTRUMENT,
            model_written.INSTRUMENT,
            discrim_eval.INSTRUMENT,
            bold.INSTRUMENT,
            truthfulqa.INSTRUMENT,
            xstest.INSTRUMENT,
            advbench.INSTRUMENT,
            harmbench.INSTRUMENT,
            strongreject.INSTRUMENT,
            do_not_answer.INSTRUMENT,
            llama_guard.INSTRUMENT,
            strongreject_rubric.INSTRUMENT,
            harmbench_cls.INSTRUMENT,
            wildguard.INSTRUMENT,
            kl.INSTRUMENT,
            reward_bench.INSTRUMENT,
            best_of_n.INSTRUMENT,
            mitre_frr.INSTRUMENT,
            gsm8k.INSTRUMENT,
            ifeval.INSTRUMENT,
            held_out_loss.INSTRUMENT,
            questions.INSTRUMENT,
        )
    },
}

COMPARISONS: dict[str, tuple[str, tuple[Metric, ...]]] = {"win_rate": ("utility", win_rate.METRICS)}
"""What is measured of two models at once: its name, the instrument whose rows it is made from, its metrics."""


def instrument(name: str) -> Instrument:
    """The instrument called `name`; RecipeError with the nearest name otherwise."""
    if name not in INSTRUMENTS:
        source = COMPARISONS.get(name)
        hint = (
            f"it compares two models and is made by the gate from `{source[0]}`: name that"
            if source
            else nearest(name, INSTRUMENTS)
        )
        raise RecipeError(f"evaluate.instruments: {name}: no such instrument; {hint}")
    return INSTRUMENTS[name]


def metric(name: str) -> Metric:
    """The metric called `instrument.metric`; RecipeError with the nearest name otherwise."""
    if name.startswith(f"{harness.NAME}."):
        return harness.metric(name.split(".", 1)[1])
    known = metrics()
    if name not in known:
        raise RecipeError(f"gate.margins: {name}: no such metric; {nearest(name, known)}")
    return known[name]


def metrics() -> dict[str, Metric]:
    """Every `instrument.metric` there is, those that compare two models included."""
    single = {f"{i.name}.{m.name}": m for i in INSTRUMENTS.values() for m in i.metrics}
    return single | {f"{name}.{m.name}": m for name, (_, of) in COMPARISONS.items() for m in of}


def made_from(name: str) -> str:
    """The instrument that must be measured for the metric `name`."""
    family = name.split(".")[0]
    return COMPARISONS[family][0] if family in COMPARISONS else family


def nearest(name: str, known: dict[str, object] | dict[str, Metric] | dict[str, Instrument]) -> str:
    """`did you mean …?`, or all the names there are."""
    near = get_close_matches(name, list(known), n=1)
    return f"did you mean `{near[0]}`?" if near else f"there are {', '.join(known)}"


NEVER = "never run against the real one: off by default"


def listing() -> list[dict[str, str]]:
    """A row an instrument for `align evaluate --list`: what it measures, reads and gives, and what it has met."""
    rows = [
        {
            "name": i.name,
            "measures": i.measures,
            "needs": ", ".join(i.needs),
            "metrics": ", ".join(f"{i.name}.{m.name}" for m in i.metrics),
            "data": f"{i.published.title} ({i.published.licence})" if i.published else i.data,
            "suites": ", ".join(i.suites),
            "last_run": i.last_run or NEVER,
        }
        for i in INSTRUMENTS.values()
    ]
    for name, (source, of) in COMPARISONS.items():
        rows.append(
            {
                "name": name,
                "measures": "which of two models answers better; made by the gate, not named in evaluate.instruments",
                "needs": f"{source} of both models",
                "metrics": ", ".join(f"{name}.{m.name}" for m in of),
                "data": "",
                "suites": "",
                "last_run": INSTRUMENTS[source].last_run or NEVER,
            }
        )
    return rows
