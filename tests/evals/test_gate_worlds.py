"""The whole gate, rows in and verdicts out, on made worlds whose true difference is known.

A world at the margin (null) must not pass more often than alpha, one beyond it (shifted) not fail less often than is
said, for every way in which a metric is estimated. The long form has 2,000 worlds of each; the short one 60.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pytest

from align.configs import GateConfig, Margin
from align.evals import gates, statistics, validation
from align.evals.comparisons import Measured
from align.records import ItemScore

ALPHA = 0.05
Rows = Callable[[np.random.Generator, float], tuple["Side", "Side"]]


@dataclass(frozen=True)
class Side:
    """One model's scores in one world."""

    values: Sequence[float]
    clusters: Sequence[int] | None = None
    x: Sequence[float] | None = None
    weights: Sequence[float] | None = None


@dataclass(frozen=True)
class Kind:
    """A way of estimating, a metric that is estimated so, and how a world of it is made with a true loss."""

    metric: str
    margin: float
    beyond: float
    """A loss that should fail, and how often it must."""
    power: float
    make: Rows
    better: Literal["higher", "lower"] = "higher"


def shares(n: int, each_way: float) -> Rows:
    """Right or wrong, of which `each_way` change for no reason and the loss changes besides."""

    def make(random: np.random.Generator, loss: float) -> tuple[Side, Side]:
        draw = random.random(n)
        worse, better = draw < each_way + loss, draw > 1 - each_way
        rest = random.random(n) < 0.7
        new = np.where(worse, 0.0, np.where(better, 1.0, rest))
        old = np.where(worse, 1.0, np.where(better, 0.0, rest))
        return Side(new), Side(old)

    return make


def clustered_shares(clusters: int, each: int) -> Rows:
    """Items of a template are lost together."""

    def make(random: np.random.Generator, loss: float) -> tuple[Side, Side]:
        lost = random.random((clusters, each)) < random.beta(loss * 9, (1 - loss) * 9, size=(clusters, 1))
        rest = random.random((clusters, each)) < 0.7
        names = np.repeat(np.arange(clusters), each)
        return Side(np.where(lost, 0.0, 1.0 * rest).ravel(), names), Side(
            np.where(lost, 1.0, 1.0 * rest).ravel(), names
        )

    return make


def utilities(random: np.random.Generator, loss: float) -> tuple[Side, Side]:
    """Numbers of any size, four samples of a prompt in a cluster."""
    names = np.repeat(np.arange(60), 4)
    old = random.normal(0, 1, 240)
    change = random.normal(-loss, 0.5, 240) + np.repeat(random.normal(0, 0.3, 60), 4)
    return Side(old + change, names), Side(old, names)


def slopes(random: np.random.Generator, loss: float) -> tuple[Side, Side]:
    """Six minimal pairs for each of twenty occupations."""
    x, names = np.repeat(np.linspace(-2, 2, 20), 6), np.repeat(np.arange(20), 6)
    noise = np.repeat(random.normal(0, 0.2, 20), 6) + random.normal(0, 0.4, 120)
    old = 0.5 * x + random.normal(0, 0.3, 120)
    return Side(old + loss * x + noise, names, x), Side(old, names, x)


def wins(random: np.random.Generator, loss: float) -> tuple[Side, Side]:
    """A share between 0 and 1 that is itself a mean of four samples."""
    right = random.beta(6, 2, 300)
    old = random.binomial(4, right) / 4
    new = random.binomial(4, np.clip(right - loss, 0, 1)) / 4
    return Side(new), Side(old)


KINDS = (
    Kind("facts.accuracy", 0.05, 0.12, 0.75, shares(250, 0.03)),
    Kind("facts.accuracy", 0.02, 0.04, 0.80, shares(1319, 0.01)),
    Kind("facts.accuracy", 0.05, 0.18, 0.75, clustered_shares(80, 4)),
    Kind("utility.mean", 0.1, 0.4, 0.9, utilities),
    Kind("pronouns.skew", 0.1, 0.35, 0.9, slopes, "lower"),
    Kind("refusal.lookalike", 0.05, 0.12, 0.75, wins),
)


def measured(model: str, metric: str, side: Side) -> Measured:
    instrument, name = metric.split(".")
    rows = [
        ItemScore.model_construct(
            instrument=instrument,
            metric=name,
            model=model,
            item_id=f"{i:05d}",
            value=float(value),
            unscored_because=None,
            cluster=None if side.clusters is None else str(side.clusters[i]),
            meta={} if side.x is None else {"x": float(side.x[i])},
        )
        for i, value in enumerate(side.values)
    ]
    return Measured(model, instrument, rows, outputs=model)


def verdicts(kind: Kind, loss: float, n: int, seed: int) -> list[str]:
    """The gate's word on each of `n` worlds that truly lost so much."""
    random = np.random.default_rng(seed)
    line = Margin(metric=kind.metric, at_most_worse=kind.margin, direction=kind.better)
    # what people say of refusals is tested elsewhere
    config = GateConfig(margins=(line,), alpha=ALPHA, detector_kappa=-1, detector_labels=1)
    audits = {"tuned": validation.audit(["No."] * 2, [True] * 2, provenance="human")}
    said = []
    for _ in range(n):
        new, old = kind.make(random, loss)
        results = {
            ("tuned", kind.metric.split(".")[0]): measured("tuned", kind.metric, new),
            ("sft", kind.metric.split(".")[0]): measured("sft", kind.metric, old),
        }
        (line_said,) = gates.judge(config, results, audits)
        said.append(line_said.verdict)
    return said


QUICK = [(kind, 60) for kind in KINDS if kind.margin != 0.02]
EVERY = [
    *(pytest.param(kind, n, id=f"{kind.metric} {kind.margin} {n}") for kind, n in QUICK),
    *(pytest.param(kind, 2000, id=f"{kind.metric} {kind.margin} 2000", marks=pytest.mark.slow) for kind in KINDS),
]


@pytest.mark.parametrize(("kind", "n"), EVERY)
def test_a_world_at_the_margin_passes_no_more_often_than_alpha(kind: Kind, n: int) -> None:
    said = verdicts(kind, kind.margin, n, seed=1)
    assert said.count("pass") / n <= ALPHA + 2 * math.sqrt(ALPHA * (1 - ALPHA) / n)
    assert "error" not in said


@pytest.mark.parametrize(("kind", "n"), EVERY)
def test_a_world_beyond_the_margin_fails_as_often_as_is_said_and_hardly_ever_passes(kind: Kind, n: int) -> None:
    said = verdicts(kind, kind.beyond, n, seed=2)
    assert said.count("fail") / n >= kind.power - 2 * math.sqrt(kind.power * (1 - kind.power) / n)
    assert said.count("pass") / n <= 0.01 + 2 * math.sqrt(0.01 * 0.99 / n)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS[:2], ids=lambda kind: f"{kind.metric} {kind.margin}")
def test_identical_twins_pass_as_tabled(kind: Kind) -> None:
    """No true loss, three points (one point) discordant each way."""
    share = verdicts(kind, 0.0, 2000, seed=3).count("pass") / 2000
    assert share >= (0.90 if kind.margin == 0.05 else 0.97)


@pytest.mark.slow
def test_the_bootstrap_says_what_the_formula_says_in_fifty_worlds() -> None:
    random = np.random.default_rng(4)
    agreed = 0
    for i in range(50):
        new, old = utilities(random, float(random.choice([0.0, 0.1, 0.2, 0.4])))
        d = np.asarray(old.values) - np.asarray(new.values)
        assert new.clusters is not None
        found = statistics.mean(d, list(new.clusters), level=1 - 2 * ALPHA)
        drawn = statistics.bootstrap(d, lambda y: float(y.mean()), list(new.clusters), seed=i, level=1 - 2 * ALPHA)
        words = [("pass" if e.high < 0.1 else "fail" if e.low > 0.1 else "unsure") for e in (found, drawn)]
        agreed += words[0] == words[1]
    assert agreed >= 46
