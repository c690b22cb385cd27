"""The first lines of the report: what the gate said, and the numbers that matter most."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from align.report.measures import PART_NAMES, Compared, title, verdicts, wins
from align.report.numbers import interval, number
from align.report.view import RunView

STOPPED = {"pass": "Let through", "fail": "Stopped by the gate", "inconclusive": "Stopped: the gate could not tell",
           "error": "Stopped: the gate had nothing valid to read"}  # fmt: skip
TOLD = {"pass": "Passed", "fail": "Failed the gate", "inconclusive": "The gate could not tell",
        "error": "The gate had nothing valid to read"}  # fmt: skip


NAMED = 6
"""So many lines of one verdict are named at the top."""


@dataclass(frozen=True)
class Headline:
    """The verdict in a few words, its tone (a CSS class), and the sentences under it."""

    word: str
    tone: str
    sentences: tuple[str, ...]


def headline(view: RunView) -> Headline:
    """What somebody who reads nothing else should know."""
    best = [pair for pairs in wins(view).values() for pair in pairs if pair.measurement.value is not None]
    sentences = [*_gate_sentences(view), *(win_rate_said(pair) for pair in best[:1])]
    if view.verdict is not None:
        return Headline(verdict_said(view), view.verdict, tuple(sentences))
    waiting = [step.name for step in view.steps if step.state == "waiting"]
    unmade = [step for step in view.steps if not step.manifest]
    if waiting:
        return Headline("Waiting for people", "none", (f"At {', '.join(waiting)}.", *sentences))
    if unmade:
        said = f"{len(unmade)} of {len(view.steps)} steps have not been made."
        return Headline("Not finished", "none", (said, *sentences))
    return Headline("Not judged", "none", ("No gate has run.", *sentences))


def verdict_said(view: RunView) -> str:
    """The verdict in words; a gate that only reports stops nothing, and is not said to."""
    if view.verdict is None:
        return "Not judged"
    return (TOLD if only_reports(view) else STOPPED)[view.verdict]


def only_reports(view: RunView) -> bool:
    """Whether the recipe's gate tells without stopping."""
    return any(step.config.get("on_fail") == "report" for step in view.of_stage("gate"))


def _gate_sentences(view: RunView) -> list[str]:
    lines = verdicts(view)
    if not lines:
        return ["The recipe gave the gate nothing to ask."] if view.step("gate") else []
    counts = Counter(line.verdict for line in lines)
    sentences = [f"{counts['pass']} of {len(lines)} margins held."]
    for verdict, said in (("fail", "Failed"), ("error", "Not readable"), ("inconclusive", "Not decided")):
        names = list(dict.fromkeys(title(line.instrument, line.metric) for line in lines if line.verdict == verdict))
        if names:
            more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
            sentences.append(f"{said}: {'; '.join(names[:NAMED])}{more}.")
    if only_reports(view) and view.verdict != "pass":
        sentences.append("The recipe's gate only reports: nothing was stopped.")
    return sentences


def win_rate_said(pair: Compared) -> str:
    """`The tuned model won 0.642 [0.592, 0.692] of 300 comparisons with the SFT model: more than …`."""
    m = pair.measurement
    loser = f" with the {PART_NAMES.get(pair.against, pair.against)} model" if pair.against else ""
    judges = f", judged by {pair.judged_by}" if pair.judged_by else ""
    sure = "" if m.low is None or m.high is None else _sureness(m.low, m.high)
    return (
        f"The {PART_NAMES.get(m.model, m.model)} model won {number(m.value, m.unit)} {interval(m.low, m.high, m.unit)} "
        f"of {m.n:,} comparisons{loser}{judges}{sure}."
    )


def _sureness(low: float, high: float) -> str:
    if low > 0.5:
        return ", more than chance explains"
    if high < 0.5:
        return ", less than chance explains"
    return ", which may be chance"
