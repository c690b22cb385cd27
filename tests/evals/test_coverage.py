"""Models whose true rate is known exactly: how often an instrument's 95 % interval holds it, and how wide it is.

Of 1,000 replications 93 to 97 % must cover; with 1,000 of them the count itself is off by 0.7 points (one standard
error). Clustered worlds draw a rate for each cluster from a beta distribution around the true one.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from align.evals import advbench, ratios, statistics, summary
from align.evals.evidence import Evidence
from align.evals.statistics import Estimate, Floats
from align.records import Message, Prompt

N_WORLDS = 1000


def worlds(rate: float, n: int, n_clusters: int, intraclass: float, seed: int = 0) -> Iterator[Floats]:
    """Yes and no of n items in each of `N_WORLDS` worlds; item i belongs to cluster i mod `n_clusters`."""
    random = np.random.default_rng(seed)
    for _ in range(N_WORLDS):
        rates = np.full(n, rate)
        if intraclass:
            spread = (1 - intraclass) / intraclass
            rates = random.beta(rate * spread, (1 - rate) * spread, size=n_clusters)[np.arange(n) % n_clusters]
        yield (random.random(n) < rates).astype(float)


def covered(rate: float, found: list[Estimate]) -> tuple[float, float]:
    """Share of the intervals that hold the rate, and their mean width."""
    held = [estimate.low <= rate <= estimate.high for estimate in found]
    return float(np.mean(held)), float(np.mean([estimate.high - estimate.low for estimate in found]))


@pytest.mark.parametrize(
    ("rate", "n", "n_clusters", "intraclass", "width"),
    [
        (0.04, 200, 0, 0.0, 0.056),
        (0.5, 200, 0, 0.0, 0.137),
        (0.96, 200, 0, 0.0, 0.056),
        (0.03, 400, 50, 0.1, 0.048),
        (0.5, 400, 50, 0.1, 0.134),
        (0.5, 200, 25, 0.2, 0.235),
        (0.97, 400, 50, 0.1, 0.048),
    ],
)
def test_an_interval_of_a_share_holds_the_truth_as_often_as_it_says(
    rate: float, n: int, n_clusters: int, intraclass: float, width: float
) -> None:
    clusters = [i % n_clusters for i in range(n)] if n_clusters else None
    found = [statistics.mean(y, clusters, share=True) for y in worlds(rate, n, n_clusters, intraclass)]
    share, mean_width = covered(rate, found)
    assert 0.93 <= share <= 0.97, f"{share:.3f} of {N_WORLDS} intervals hold {rate}"
    assert mean_width == pytest.approx(width, rel=0.05)


@pytest.mark.parametrize(("rate", "width"), [(0.1, 0.092), (0.5, 0.151), (0.9, 0.092)])
def test_an_interval_of_a_ratio_holds_the_truth_as_often_as_it_says(rate: float, width: float) -> None:
    """A third of 270 items, in 90 clusters, count for nothing, as `unknown` answers do in BBQ's s_DIS."""
    random = np.random.default_rng(1)
    clusters = [i % 90 for i in range(270)]
    found = []
    for y in worlds(rate, 270, 90, 0.05, seed=2):
        weight = (random.random(270) < 2 / 3).astype(float)
        found.append(ratios.ratio(y * weight, weight, clusters))
    share, mean_width = covered(rate, found)
    assert 0.93 <= share <= 0.97, f"{share:.3f} of {N_WORLDS} intervals hold {rate}"
    assert mean_width == pytest.approx(width, rel=0.05)


@pytest.mark.slow
@pytest.mark.parametrize(("rate", "n_clusters"), [(0.04, 0), (0.5, 0), (0.96, 0), (0.5, 40)])
def test_an_instrument_that_reads_a_scripted_models_answers_holds_its_true_rate(rate: float, n_clusters: int) -> None:
    """The whole way: answers that decline or comply, the detector, item scores, the measurement."""
    prompts = [
        Prompt(
            messages=(Message(role="user", content=f"request {i}"),),
            cluster=f"{i % n_clusters}" if n_clusters else None,
            meta={"kind": "harmful"},
        )
        for i in range(160)
    ]
    found = []
    for complies in worlds(rate, len(prompts), n_clusters, 0.1 if n_clusters else 0.0, seed=3):
        said = {
            prompt.id: ["Sure, here it is." if yes else "I'm sorry, but I can't help with that."]
            for prompt, yes in zip(prompts, complies, strict=True)
        }
        rows = [row for row in advbench.score(Evidence("m", prompts=prompts, answers=said)) if row.metric == "complied"]
        estimate = summary.estimate(advbench.INSTRUMENT.metrics[0], rows)
        assert isinstance(estimate, Estimate)
        found.append(estimate)
    share, width = covered(rate, found)
    assert 0.93 <= share <= 0.97, f"{share:.3f} of {N_WORLDS} intervals of mean width {width:.3f} hold {rate}"
