"""Reinforcement learning on the way: the reward that is trained on, beside what somebody else thinks of the answers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from align.preference.overoptimisation import Gao, gao
from align.report import plots
from align.report.view import StepView


@dataclass(frozen=True)
class Way:
    """One line of the table: a look at the policy."""

    step: int
    kl: float
    proxy: float
    held_out: float | None
    error: float | None
    """Of the change of the held-out reward since the first look, over the prompts."""
    tokens: float
    refused: float
    likeness: float


@dataclass(frozen=True)
class Drift:
    """What the page shows of stage `rlhf`."""

    sentences: tuple[str, ...]
    looks: tuple[Way, ...]
    plot: str
    sampled: tuple[Mapping[str, Any], ...]
    """Some answers of the last look, beside those of the first."""


def drift(step: StepView | None, best_of: StepView | None = None) -> Drift | None:
    """The looks of a run, in words, in a table and as a plot; None where there were none. `best_of` is the step that
    chose by the same reward model without any training."""
    rows = step.rows("looks.jsonl") if step is not None else []
    if step is None or not rows:
        return None
    by_step: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        by_step.setdefault(int(row["step"]), []).append(row)
    first = by_step[min(by_step)]
    looks = tuple(_way(at, by_step[at], first) for at in sorted(by_step))
    curve = gao([(w.kl, w.held_out - looks[0].held_out) for w in looks
                 if w.held_out is not None and looks[0].held_out is not None])  # fmt: skip
    sentences = tuple(_sentences(looks, curve, step.summary().get("alarms") or {}, len(first)))
    if best_of is not None and best_of.summary().get("kl_at_most") is not None:
        told = best_of.summary()
        sentences += (
            f"Without any training, the best of {told['n_most']} answers by the same reward model scores "
            f"{told['reward_of_kept']:.3f} where all score {told['reward_of_all']:.3f}, at no more than "
            f"{told['kl_at_most']:.2f} nats from the policy before tuning.",
        )
    return Drift(sentences, looks, _plot(looks, first), _sampled(by_step))


def _way(at: int, rows: Sequence[Mapping[str, Any]], first: Sequence[Mapping[str, Any]]) -> Way:
    judged = rows[0]["held_out"] is not None
    gains = [row["held_out"] - then["held_out"] for row, then in zip(rows, first, strict=True)] if judged else []
    return Way(
        at,
        fmean(row["kl"] for row in rows),
        fmean(row["proxy"] for row in rows),
        fmean(row["held_out"] for row in rows) if judged else None,
        stdev(gains) / math.sqrt(len(gains)) if len(gains) > 1 else None,
        fmean(row["tokens"] for row in rows),
        fmean(row["refused"] for row in rows),
        fmean(row["likeness"] for row in rows),
    )


def _sentences(looks: Sequence[Way], curve: Gao | None, alarms: Mapping[str, Any], n: int) -> list[str]:
    last, first = looks[-1], looks[0]
    found = [
        f"{len(looks)} looks at the policy, two answers to each of {n} prompts that it did not learn from. At the "
        f"last, {last.kl:.2f} nats an answer from its reference, the trained reward stands at {last.proxy:.3f} "
        f"({last.proxy - first.proxy:+.3f})."
    ]
    if last.held_out is None:
        found.append("Nobody outside the reward judged these answers, so over-optimisation could not have been seen.")
    else:
        assert first.held_out is not None
        spread = f" ± {1.96 * last.error:.3f}" if last.error is not None else ""
        found.append(
            f"The held-out reward changed by {last.held_out - first.held_out:+.3f}{spread} since the first look."
        )
    if "held_out" in alarms:
        one = alarms["held_out"]
        fall = f"{one['fall']:.3f} (standard error {one['error']:.3f})"
        found.append(
            f"Alarm: at step {one['step']} the held-out reward lay {fall} below its best, at step {one['best']}, while "
            "the trained reward rose: the policy was learning the reward model rather than what it stands for. Stop "
            "earlier, raise rlhf.beta, or better the reward model."
        )
    elif last.held_out is not None:
        found.append("No look lay significantly below the best before it while the trained reward rose.")
    words = {"tokens": "longer", "refused": "more often refusals of what is not harmful", "likeness": "more alike",
             "distinct": "poorer in words"}  # fmt: skip
    for name, word in words.items():
        if name in alarms:
            found.append(f"Answers have become {word} since step {alarms[name]['best']} ({alarms[name]['fall']:+.3f}).")
    if curve is not None:
        reach = max(look.kl for look in looks)
        peak = curve.peak
        # a peak far beyond what was seen is the formula's, not the policy's
        where = f"peaks at {peak:.3g} nats" if peak is not None and peak <= 2 * reach else "has no peak near by"
        found.append(
            f"Gao et al.'s curve through the looks, R = d({curve.alpha:.3f} - {curve.beta:.3f} ln d) with d = √KL, "
            f"leaves {curve.residual:.3f} and {where}."
        )
    return found


def _plot(looks: Sequence[Way], first: Sequence[Mapping[str, Any]]) -> str:
    """Both rewards over √KL, each in standard deviations of the first look's answers."""

    def line(values: Sequence[float | None], name: str) -> list[tuple[float, float]]:
        start = values[0]
        scale = stdev(float(row[name]) for row in first) if start is not None and len(first) > 1 else 0.0
        if start is None or not scale > 0:
            return []
        ds = [math.sqrt(max(0.0, look.kl)) for look in looks]
        return [(d, (v - start) / scale) for d, v in zip(ds, values, strict=True) if v is not None]

    return plots.drift(
        line([look.proxy for look in looks], "proxy"), line([look.held_out for look in looks], "held_out")
    )


def _sampled(by_step: Mapping[int, Sequence[Mapping[str, Any]]], n: int = 3) -> tuple[Mapping[str, Any], ...]:
    """The prompts whose trained reward rose most, with an answer before and after: where hacking shows first."""
    first, last = by_step[min(by_step)], by_step[max(by_step)]
    both = sorted(zip(first, last, strict=True), key=lambda pair: pair[0]["proxy"] - pair[1]["proxy"])
    return tuple(
        {"before": a["answers"][0], "after": b["answers"][0], "rise": b["proxy"] - a["proxy"],
         "held_out": None if b["held_out"] is None else b["held_out"] - a["held_out"]}
        for a, b in both[:n]
    )  # fmt: skip
