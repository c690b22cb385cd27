"""The first lines of the report: what the gate said, and the numbers that matter most."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from align.report.measures import PART_NAMES, Compared, compared, verdicts, words
from align.report.numbers import interval, number
from align.report.view import RunView

SAID = {
    "pass": "Let through",
    "fail": "Stopped by the gate",
    "inconclusive": "Not decided",
    "error": "The gate could not read its measurements",
}


@dataclass(frozen=True)
class Headline:
    """The verdict in a word or two, its tone (a CSS class), and the sentences under it."""

    word: str
    tone: str
    sentences: tuple[str, ...]


def headline(view: RunView) -> Headline:
    """What somebody who reads nothing else should know."""
    pairs = compared(view)
    wins = [pair for pair in pairs if pair.is_win_rate and pair.measurement.value is not None]
    sentences = [*_gate_sentences(view), *(win_rate_said(pair) for pair in wins[:1])]
    if view.verdict is None:
        unfinished = [step for step in view.steps if not step.manifest]
        word = "Not finished" if unfinished else "Not judged"
        waiting = [step.name for step in view.steps if step.state == "waiting"]
        if waiting:
            sentences.insert(0, f"Waiting for people at {', '.join(waiting)}.")
        elif unfinished:
            sentences.insert(0, f"{len(unfinished)} of {len(view.steps)} steps have not been made.")
        return Headline(word, "none", tuple(sentences))
    return Headline(SAID[view.verdict], view.verdict, tuple(sentences))


def _gate_sentences(view: RunView) -> list[str]:
    lines = verdicts(view)
    if not lines:
        return ["The recipe gave the gate nothing to ask."] if view.step("gate") else []
    counts = Counter(line.verdict for line in lines)
    sentences = [f"{counts['pass']} of {len(lines)} margins held."]
    for verdict, said in (("fail", "Failed"), ("inconclusive", "Not decided"), ("error", "Not readable")):
        names = [f"{words(line.instrument)}, {words(line.metric)}" for line in lines if line.verdict == verdict]
        if names:
            sentences.append(f"{said}: {'; '.join(names)}.")
    return sentences


def win_rate_said(pair: Compared) -> str:
    """`The tuned model won 0.64 [0.59, 0.69] of 300 comparisons with the SFT model.`"""
    m = pair.measurement
    loser = f" with the {PART_NAMES.get(pair.against, pair.against)} model" if pair.against else ""
    sure = "" if m.low is None or m.high is None else _sureness(m.low, m.high)
    return (
        f"The {PART_NAMES.get(m.model, m.model)} model won {number(m.value, m.unit)} {interval(m.low, m.high, m.unit)} "
        f"of {m.n:,} comparisons{loser}{sure}."
    )


def _sureness(low: float, high: float) -> str:
    if low > 0.5:
        return ": more than half, and more than chance explains"
    if high < 0.5:
        return ": fewer than half, and fewer than chance explains"
    return ": no more than chance may explain"
