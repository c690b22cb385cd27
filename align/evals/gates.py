"""The gate: what two models' item scores say about a margin, in four words.

The verdict stands on the interval of the *paired* difference, positive for worse, at the two-sided level 1 − 2 alpha:
`pass` if its upper end is under the margin, `fail` if its lower end is over it, `inconclusive` between. `error` where
there is nothing valid to judge: no measurement, too few items scored, two models whose outputs are the same, or
refusals found by a detector that nobody has held against people's labels of this model. To certify that every line
passes needs no correction for many lines (an intersection-union test).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from align.configs import GateConfig, Margin
from align.evals import fair_length, summary, validation
from align.evals.comparisons import Results, paired, wins
from align.evals.evidence import Metric
from align.evals.instruments import COMPARISONS, made_from, metrics
from align.evals.margins import default_margins
from align.evals.statistics import Estimate
from align.evals.validation import Audit
from align.evals.verdicts import Speaker, Word, negated, shifted
from align.records import GateVerdict, ItemScore

Audits = Mapping[str, Audit]
"""By model: what people said of its refusals."""


def judge(config: GateConfig, results: Results, audits: Audits | None = None) -> list[GateVerdict]:
    """A verdict for each bound of each margin, in the recipe's order."""
    return [
        verdict
        for margin in config.margins or default_margins(results)
        for verdict in _lines(margin, config, results, audits or {})
    ]


def overall(verdicts: Sequence[GateVerdict], config: GateConfig) -> Word:
    """The gravest of the lines; an error first, for numbers that cannot be trusted settle nothing.

    No line at all is an error too: nothing asked is nothing certified.
    """
    if not verdicts:
        return "error"
    accepted = set(config.accept_inconclusive)
    words = {
        v.verdict for v in verdicts if not (v.verdict == "inconclusive" and f"{v.instrument}.{v.metric}" in accepted)
    }
    return gravest(words)


def gravest(words: Collection[Word]) -> Word:
    """What the worst of them says."""
    order: tuple[Word, ...] = ("error", "fail", "inconclusive")
    return next((word for word in order if word in words), "pass")


def _lines(margin: Margin, config: GateConfig, results: Results, audits: Audits) -> list[GateVerdict]:
    lines = []
    if margin.at_most_worse is not None:
        lines.append(_no_worse(margin, margin.at_most_worse, config, results))
    if margin.at_most_larger is not None:
        lines.append(_no_larger(margin, margin.at_most_larger, config, results))
    if margin.at_least is not None:
        lines.append(_bounded(margin, margin.at_least, "at least", config, results))
        if margin.fair_length:
            lines.append(_at_equal_length(margin, margin.at_least, config, results))
    if margin.at_most is not None:
        lines.append(_bounded(margin, margin.at_most, "at most", config, results))
    problem = _unproven(margin, config, results, audits)
    return [line if problem is None or line.verdict == "error" else in_error(line, problem) for line in lines]


def _unproven(margin: Margin, config: GateConfig, results: Results, audits: Audits) -> str | None:
    """Why the refusals that a line counts may not be trusted; None where they may, or where it counts none."""
    rule = validation.rule_of(margin.metric)
    measured = results.get((margin.model, made_from(margin.metric)))
    if rule is None or measured is None:
        return None
    made = measured.provenance == "simulated"
    return validation.unproven(rule, margin.model, audits.get(margin.model), config, simulated=made)


def in_error(line: GateVerdict, why: str) -> GateVerdict:
    """The line's numbers, which may not be judged."""
    return line.model_copy(update={"verdict": "error", "why": why})


def _sides(margin: Margin, against: str, results: Results) -> tuple[list[ItemScore], list[ItemScore]] | str:
    """The rows of the model and of its comparator, in the line's clusters; or why there is nothing to compare."""
    models = (margin.model, against)
    if problem := _missing(margin.metric, models, results) or _same(*models, results):
        return problem
    instrument, name = margin.metric.split(".", 1)
    new, old = (_clustered(results[model, instrument].of(name), margin.cluster) for model in models)
    return new, old


def _no_worse(margin: Margin, bound: float, config: GateConfig, results: Results) -> GateVerdict:
    against = margin.against or "sft"
    say = Speaker(margin.metric, margin.model, against, bound)
    sides = _sides(margin, against, results)
    if isinstance(sides, str):
        return say("error", sides)
    new, old = sides
    alpha = margin.alpha or config.alpha
    pair = paired(_metric(margin, results), new, old, level=1 - 2 * alpha)
    problem = _uncovered(pair.difference, pair.n_unscored, margin, config)
    if problem or isinstance(pair.difference, str):
        return say("error", problem or str(pair.difference))
    if margin.relative:
        before = summary.estimate(pair.metric, old)
        if isinstance(before, str):
            return say("error", before)
        bound *= abs(before.value)
        say = replace(say, margin=bound)
    better = margin.direction or pair.metric.better
    found = pair.difference if better != "higher" else negated(pair.difference)
    if better == "neither":
        return say.judged(found, low=-bound, high=bound, alpha=alpha)
    if margin.strict and found.low > 0:
        text = f"worse by {found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}], and the line is strict"
        return say("fail", text, found)
    return say.judged(found, low=-math.inf, high=bound, alpha=alpha)


def _no_larger(margin: Margin, bound: float, config: GateConfig, results: Results) -> GateVerdict:
    """Whether the metric lies no further from 0 than the comparator's, on either side of it.

    |new| ≤ |old| + bound holds if both new − s·old and −new − s·old are at most `bound`, whichever sign s is: so each
    of the two paired contrasts must clear it, and the sign that the comparator seems to have makes them least strict.
    """
    against = margin.against or "sft"
    say = Speaker(margin.metric, margin.model, against, bound)
    sides = _sides(margin, against, results)
    if isinstance(sides, str):
        return say("error", sides)
    new, old = sides
    metric, alpha = _metric(margin, results), margin.alpha or config.alpha
    before = summary.estimate(metric, old)
    if isinstance(before, str):
        return say("error", before)
    s = 1.0 if before.value >= 0 else -1.0
    lines = []
    for side in (s, -s):
        pair = paired(metric, _times(side, new), _times(s, old), level=1 - 2 * alpha)
        problem = _uncovered(pair.difference, pair.n_unscored, margin, config)
        if problem or isinstance(pair.difference, str):
            return say("error", problem or str(pair.difference))
        found = pair.difference
        text = f"its size is larger by {found.value:+.3f} [{found.low:+.3f}, {found.high:+.3f}], at most {bound:g}"
        lines.append(say.judged(found, low=-math.inf, high=bound, alpha=alpha, shown=text))
    worst = gravest([line.verdict for line in lines])
    return max((line for line in lines if line.verdict == worst), key=lambda line: line.difference or 0.0)


def _times(sign: float, rows: Sequence[ItemScore]) -> list[ItemScore]:
    return [row if row.value is None else row.model_copy(update={"value": sign * row.value}) for row in rows]


def _at_equal_length(margin: Margin, bound: float, config: GateConfig, results: Results) -> GateVerdict:
    """What a win rate is where both answers are as long: a line of its own, beside the raw one."""
    family = margin.metric.split(".", 1)[0]
    name = f"{family}.{fair_length.METRIC}"
    compares = family in COMPARISONS
    say = Speaker(name, margin.model, margin.against if compares else None, bound)
    models: tuple[str, ...] = (margin.model, margin.against or "sft") if compares else (margin.model,)
    if missing := _missing(margin.metric, models, results):
        return say("error", missing)
    rows = (
        wins(models[0], models[1], results)[fair_length.METRIC]
        if compares
        else (results[margin.model, family].of(fair_length.METRIC))
    )
    rows = _clustered(rows, margin.cluster)
    scored = [row for row in rows if row.value is not None]
    least = config.min_coverage if margin.min_coverage is None else margin.min_coverage
    if len(scored) < least * len(rows):
        return say(
            "error", f"only {len(scored)} of {len(rows)} items could be scored (at least {least:.0%} are needed)"
        )
    return fair_length.judged(say, metrics()[name], scored, bound=bound, alpha=margin.alpha or config.alpha)


def _metric(margin: Margin, results: Results) -> Metric:
    """The metric of a line; one that only a foreign harness knows says itself which way is better."""
    instrument, name = margin.metric.split(".", 1)
    measured = results.get((margin.model, instrument))
    foreign = measured.foreign.get(name) if measured else None
    return foreign or metrics()[margin.metric]


def _clustered(rows: Sequence[ItemScore], by: str | None) -> list[ItemScore]:
    """Rows in the clusters that the line asks for."""
    if by is None:
        return list(rows)
    if by == "item":
        return [row.model_copy(update={"cluster": None}) for row in rows]
    return [row.model_copy(update={"cluster": None if by not in row.meta else str(row.meta[by])}) for row in rows]


def _bounded(margin: Margin, bound: float, which: str, config: GateConfig, results: Results) -> GateVerdict:
    family, name = margin.metric.split(".", 1)
    compares = family in COMPARISONS
    say = Speaker(margin.metric, margin.model, margin.against if compares else None, bound)
    models: tuple[str, ...] = (margin.model, margin.against or "sft") if compares else (margin.model,)
    missing = _missing(margin.metric, models, results)
    if compares and not missing:
        missing = _same(models[0], models[1], results)
    if missing:
        return say("error", missing)
    rows = wins(models[0], models[1], results).get(name, []) if compares else results[margin.model, family].of(name)
    rows, alpha = _clustered(rows, margin.cluster), margin.alpha or config.alpha
    found = summary.estimate(_metric(margin, results), rows, level=1 - 2 * alpha)
    problem = _uncovered(found, sum(row.value is None for row in rows), margin, config)
    if problem or isinstance(found, str):
        return say("error", problem or str(found))
    shown = f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}], {which} {bound:g}"
    distance = shifted(found, -bound) if which == "at most" else negated(shifted(found, -bound))
    return say.judged(distance, low=-math.inf, high=0.0, alpha=alpha, shown=shown)


def _missing(metric: str, models: Sequence[str], results: Results) -> str | None:
    source = made_from(metric)
    for model in models:
        measured = results.get((model, source))
        if measured is None:
            return f"{source} was not measured of {model}; add it to evaluate.instruments and evaluate.models"
        family, name = metric.split(".", 1)
        if family not in COMPARISONS and not measured.of(name):
            return f"{metric}: {model} has no such items in this recipe's data"
    return None


def _same(model: str, against: str, results: Results) -> str | None:
    """A sentence where nothing that was measured tells the two models apart."""
    shared = [
        (new.outputs, old.outputs)
        for (owner, name), new in results.items()
        if owner == model and (old := results.get((against, name))) is not None
    ]
    if shared and all(a is not None and a == b for a, b in shared):
        return f"identical outputs: {model} and {against} said and scored the same on everything; did the adapter load?"
    return None


def _uncovered(found: Estimate | str, n_unscored: int, margin: Margin, config: GateConfig) -> str | None:
    n = found.n if isinstance(found, Estimate) else 0
    least = config.min_coverage if margin.min_coverage is None else margin.min_coverage
    total = n + n_unscored
    if total and n / total < least:
        return f"only {n} of {total} items could be scored (at least {least:.0%} are needed)"
    if margin.min_items is not None and n < margin.min_items:
        return f"{n} items were scored, and the line asks for {margin.min_items}"
    return None
