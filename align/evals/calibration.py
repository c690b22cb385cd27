"""How far a reward model's word may be taken: does it rank held-out pairs as people do, is it as sure as it is right?

A reward model says that the first answer of a pair wins with probability σ(lead), its lead being the difference of the
two rewards. Calibration is read off the side it bets on, so the order in which a pair was written decides nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from align.evals import statistics
from align.evals.statistics import Estimate, Floats

BINS = 10
DRAWS = 500


@dataclass(frozen=True)
class ScoredPair:
    """A held-out pair as a reward model sees it; ties are left out before."""

    pair: str
    cluster: str
    """The prompt: pairs of one prompt do not count as so many."""
    lead: float
    """Reward of the preferred answer over the other."""
    label: float
    """How probable it is that people prefer that answer, from 0.5 to 1."""
    more_words: int
    """Words that the preferred answer has more than the other."""


def held_out(pairs: Sequence[ScoredPair]) -> dict[str, Any]:
    """Accuracy beside what counting words would have given, and calibration, each with a 95 % interval."""
    if not pairs:
        return {"n": 0}
    clusters = [pair.cluster for pair in pairs]
    right = [first(pair.lead) for pair in pairs]
    longer = [first(pair.more_words) for pair in pairs]
    matched = [pair for pair in pairs if abs(pair.more_words) <= 3]
    found: dict[str, Any] = {
        "n": len(pairs),
        "accuracy": said(statistics.mean(right, clusters, share=True)),
        "longer": said(statistics.mean(longer, clusters, share=True)),
        "over_longer": said(statistics.mean(np.subtract(right, longer), clusters)),
        "margin": said(statistics.mean([pair.lead for pair in pairs], clusters)),
    }
    if matched:
        found["accuracy_matched"] = said(
            statistics.mean([first(pair.lead) for pair in matched], [pair.cluster for pair in matched], share=True)
        )
    return found | {"calibration": calibration(pairs)}


def calibration(pairs: Sequence[ScoredPair]) -> dict[str, Any]:
    """Expected calibration error over bins of equal counts, and what it would be if the model were right.

    ECE is the mean distance of sureness and share right over the bins (Guo et al. 2017, eq. 5, arXiv:1706.04599). It is
    never 0 on few pairs: `ece_if_calibrated` is its mean over draws in which each bet is won just as often as it says.
    `temperature` divides the leads for the least loss: above 1, the model was too sure.
    """
    table = np.array([[pair.lead, pair.label] for pair in pairs])
    sure = _sureness(table)
    clusters = [pair.cluster for pair in pairs]
    estimate = statistics.bootstrap(table, ece, clusters, seed=0, n_draws=DRAWS)
    random = np.random.default_rng(0)
    drawn = []
    for _ in range(200):
        outcome = random.random(len(sure)) < sure
        drawn.append(_ece(sure, outcome.astype(np.float64)))
    return {
        "ece": said(estimate),
        "ece_if_calibrated": float(np.mean(drawn)),
        "loss": float(_losses(table, 1.0).mean()),
        "brier": float(((sure - _won(table)) ** 2).mean()),
        "temperature": temperature(table),
        "bins": _bins(sure, _won(table)),
    }


def ece(table: Floats) -> float:
    """Expected calibration error of rows (lead, label)."""
    return _ece(_sureness(table), _won(table))


def temperature(table: Floats) -> float:
    """What to divide the leads by for the least loss, between 1/100 and 100."""
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(
        lambda t: float(_losses(table, math.exp(t)).mean()), bounds=(-math.log(100), math.log(100)), method="bounded"
    )
    return float(math.exp(found.x))


def first(difference: float) -> float:
    """1 for the first, 0 for the second, ½ for neither."""
    return 0.5 if difference == 0 else float(difference > 0)


def said(estimate: Estimate) -> dict[str, float | int]:
    """An estimate as a summary has it."""
    return {name: value for name, value in asdict(estimate).items() if name in ("value", "low", "high", "n")}


def _sureness(table: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.abs(table[:, 0]))))


def _won(table: Floats) -> Floats:
    """How far each bet was won: the label of the side that the model prefers; a lead of 0 bets on neither."""
    lead, label = table[:, 0], table[:, 1]
    return np.where(lead > 0, label, np.where(lead < 0, 1 - label, 0.5))


def _losses(table: Floats, t: float) -> Floats:
    z = table[:, 0] / t
    return np.asarray(table[:, 1] * np.logaddexp(0, -z) + (1 - table[:, 1]) * np.logaddexp(0, z))


def _ece(sure: Floats, won: Floats) -> float:
    order, starts = _cut(sure)
    gaps = np.add.reduceat(sure[order] - won[order], starts)
    return float(np.abs(gaps).sum() / len(sure))


def _bins(sure: Floats, won: Floats) -> list[dict[str, float]]:
    order, starts = _cut(sure)
    return [
        {"sure": float(sure[part].mean()), "right": float(won[part].mean()), "n": len(part)}
        for part in np.split(order, starts[1:])
    ]


def _cut(sure: Floats) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The bets from the least sure to the surest, and where each bin of equal counts begins."""
    n = len(sure)
    n_bins = min(BINS, max(1, n // 5))
    return np.argsort(sure, kind="stable"), np.arange(n_bins) * n // n_bins
