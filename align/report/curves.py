"""What a training log says, in plain words: overfitting, underfitting, diverged, still improving, or fine."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any, Literal

Points = Sequence[tuple[float, float]]
"""(step, value), in order of step; a value that could not be computed is NaN."""
Shape = Literal["unknown", "diverged", "overfitting", "underfitting", "improving", "fine"]
ACCURACIES = "rewards/accuracies"
KEPT = "kept_loss"
"""The loss on held-out rows of what the model knew before: what tuning costs."""
NOTICEABLE = 0.02
"""A change smaller than this share of the loss is not worth a word."""


@dataclass(frozen=True)
class Curve:
    """One metric over the steps of a training stage."""

    metric: str
    train: Points
    held_out: Points


def curves(log: Sequence[Mapping[str, Any]]) -> dict[str, Curve]:
    """Each logged metric's curve, from the rows of a `log.jsonl`; `eval_loss` is the held-out `loss`."""
    sides: dict[str, tuple[list[tuple[float, float]], list[tuple[float, float]]]] = {}
    for row in log:
        held_out = row.get("phase") == "eval"
        for key, value in row.items():
            if key in ("step", "epoch", "phase") or not (value is None or isinstance(value, (int, float))):
                continue
            metric = key.removeprefix("eval_") if held_out else key
            if metric == ACCURACIES and row.get(key.replace("accuracies", "margins")) == 0:
                continue  # the policy is still its reference: nothing is ranked, and TRL calls that 0
            sides.setdefault(metric, ([], []))[held_out].append(
                (float(row.get("step") or 0), math.nan if value is None else float(value))
            )
    return {metric: Curve(metric, train, held_out) for metric, (train, held_out) in sides.items()}


def reading(train: Points, held_out: Points) -> str:
    """What two loss curves say, in a sentence or two that a newcomer can act on."""
    shape = shape_of(train, held_out)
    blind = "" if held_out else " There was no held-out loss, so overfitting could not have been seen."
    if shape == "unknown":
        return "Too few points were logged to say how training went." + blind
    curve = held_out if len(held_out) >= 3 else train
    which = "held-out" if len(held_out) >= 3 else "training"
    first, last = _ends(curve)
    if shape == "diverged":
        if not all(math.isfinite(value) for _, value in (*train, *held_out)):
            return "Diverged: the loss stopped being a number. Try a lower learning rate or a longer warm-up."
        if last <= first:
            return (
                "Diverged: training and held-out loss both rose again after their lowest point. "
                "Try a lower learning rate or a shorter run."
            )
        return (
            f"Diverged: the {which} loss ended at {last:.3g}, above where it began ({first:.3g}). "
            "Try a lower learning rate or a longer warm-up."
        )
    if shape == "overfitting":
        step, lowest = min(held_out, key=lambda point: point[1])
        return (
            f"Overfitting: the held-out loss was lowest at step {step:.0f} ({lowest:.3g}) and rose to "
            f"{held_out[-1][1]:.3g} by the end, while the training loss did not. Fewer epochs, a lower learning rate "
            "or more data would help."
        )
    if shape == "underfitting":
        return (
            f"Underfitting: the {which} loss hardly moved ({first:.3g} to {last:.3g}). "
            f"More steps or a higher learning rate would help, unless the model knew this already.{blind}"
        )
    if shape == "improving":
        return (
            f"Still improving: the {which} loss was falling when training ended, at {last:.3g}; "
            f"more steps would help.{blind}"
        )
    return f"Fine: the {which} loss fell from {first:.3g} to {last:.3g} and settled.{blind}"


def price(loss: Curve, kept: Curve) -> str:
    """What tuning gained on held-out rows and what it cost on what the model knew before, in a sentence."""
    if len(kept.held_out) < 2:
        return ""
    before, after = kept.held_out[0][1], kept.held_out[-1][1]
    cost = f"Cost: on held-out rows of what the model knew before, the loss went from {before:.3f} to {after:.3f} nats"
    cost += f" a token ({after - before:+.3f})"
    if len(loss.held_out) >= 2:
        cost += f", for a change of {loss.held_out[-1][1] - loss.held_out[0][1]:+.3f} in the held-out training loss"
    if after - before > NOTICEABLE * abs(before):
        return f"{cost}. If that is too dear: keep.replay or keep.kl, a lower learning rate, or fewer steps."
    return f"{cost}."


def shape_of(train: Points, held_out: Points) -> Shape:
    """The one word for two loss curves. The held-out curve decides, where it has three points or more."""
    if not all(math.isfinite(value) for _, value in (*train, *held_out)):
        return "diverged"
    curve = held_out if len(held_out) >= 3 else train
    if len(curve) < 3:
        return "unknown"
    first, last = _ends(curve)
    doubt = max(NOTICEABLE * abs(first), 2 * _noise(curve) * math.sqrt(2 / _tail(curve)))
    if last > first + doubt and (curve is train or not train or _rises(train)):
        return "diverged"
    if curve is held_out:
        if _rises(train):
            return "diverged"
        step, lowest = min(held_out, key=lambda point: point[1])
        if held_out[-1][1] - lowest > max(NOTICEABLE * abs(lowest), 2 * _noise(curve)):
            return "diverged" if _rises(train, after=step) else "overfitting"
    if first - last < doubt:
        return "underfitting"
    quarter = _tail(curve, 0.25)
    before = fmean(value for _, value in curve[-2 * quarter : -quarter])
    late = before - fmean(value for _, value in curve[-quarter:])
    if late > max(0.1 * (first - last), doubt / 2):
        return "improving"
    return "fine"


def _rises(points: Points, *, after: float | None = None) -> bool:
    """Whether a loss ends above where it began, or above where it stood around the step `after`."""
    if len(points) < 3 or (after is not None and points[-1][0] <= after):
        return False
    k = _tail(points)
    before = points[:k] if after is None else [point for point in points if point[0] <= after][-k:]
    if not before:
        return False
    level = fmean(value for _, value in before)
    return _ends(points)[1] > level + max(NOTICEABLE * abs(level), 2 * _noise(points) * math.sqrt(2 / k))


def _tail(points: Points, share: float = 0.1) -> int:
    return max(1, round(share * len(points)))


def _ends(points: Points) -> tuple[float, float]:
    """Mean of the first tenth and of the last tenth."""
    if not points:
        return 0.0, 0.0
    k = _tail(points)
    return fmean(value for _, value in points[:k]), fmean(value for _, value in points[-k:])


def _noise(points: Points) -> float:
    """Standard deviation of a point around its curve, from how far it stands off the middle of its neighbours."""
    if len(points) < 5:
        return 0.0
    values = [value for _, value in points]
    bends = [abs(values[i] - (values[i - 1] + values[i + 1]) / 2) for i in range(1, len(values) - 1)]
    return 1.4826 * median(bends) / math.sqrt(1.5)
