"""When a policy has learnt its reward model instead of what people want.

The proxy is the reward that is trained on; the held-out reward is a judge that training never asked. Along the way the
proxy rises and the held-out reward turns (Gao et al. 2022, arXiv:2210.10760).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from scipy.stats import norm as normal
from scipy.stats import t as student


@dataclass(frozen=True)
class Look:
    """One look at the policy: its answers to the same prompts each time."""

    step: int
    proxy: tuple[float, ...]
    """The trained reward of each prompt's answer."""
    held_out: tuple[float, ...]
    """The held-out reward of the same answers; empty where nobody judges them."""
    kl: float
    """KL(policy ‖ reference) in nats an answer, estimated from these answers."""


@dataclass(frozen=True)
class Alarm:
    """The held-out reward has fallen while the proxy rose."""

    step: int
    best: int
    """The step of the look that it fell from."""
    fall: float
    """How far the held-out reward fell, on the same prompts."""
    error: float
    """The standard error of that fall."""


STANDARD_ERRORS = 2.5
"""The best of many noisy looks is high by selection, and each later look tries again. Ten looks at a policy that does
not change are alarmed by 2, 2.5 and 3 in 48, 20 and 5 % of cases where each look has noise of its own, and in 25, 8 and
2 % where 15 % of the answers change from look to look (1,000 and 2,000 simulated)."""


def alarm(looks: Sequence[Look], standard_errors: float = STANDARD_ERRORS) -> Alarm | None:
    """Whether the last look is worse than the best one by more than so many standard errors of the paired difference
    while its proxy is higher; more of them where prompts are few, as Student's t asks for the same error rate.
    """
    judged = [look for look in looks if look.held_out]
    if len(judged) < 2:
        return None
    best, last = max(judged[:-1], key=lambda look: fmean(look.held_out)), judged[-1]
    falls = [before - now for before, now in zip(best.held_out, last.held_out, strict=True)]
    if len(falls) < 2 or fmean(last.proxy) <= fmean(best.proxy):
        return None
    fall, error = fmean(falls), stdev(falls) / math.sqrt(len(falls))
    needed = float(student.isf(normal.sf(standard_errors), len(falls) - 1)) * error
    return Alarm(last.step, best.step, fall, error) if fall > needed and fall > 0 else None


@dataclass(frozen=True)
class Gao:
    """R(d) = d (α - β ln d), with d = √KL: the form Gao et al. 2022 found for reinforcement learning (eq. 2)."""

    alpha: float
    beta: float
    residual: float
    """Root mean square of what the curve leaves."""

    def at(self, kl: float) -> float:
        """The held-out reward above that of the reference, at a KL in nats."""
        d = math.sqrt(kl)
        return d * (self.alpha - self.beta * math.log(d)) if d > 0 else 0.0

    @property
    def peak(self) -> float | None:
        """The KL, in nats, at which the curve is highest; None where it has no peak."""
        return math.exp(2 * (self.alpha / self.beta - 1)) if self.beta > 0 else None


FEWEST_POINTS = 5


def gao(points: Sequence[tuple[float, float]]) -> Gao | None:
    """The curve through (KL, reward above the reference's) by least squares; None with fewer than five points off 0."""
    used = [(math.sqrt(kl), gain) for kl, gain in points if kl > 0 and math.isfinite(gain)]
    if len(used) < FEWEST_POINTS:
        return None
    a = [d for d, _ in used]
    b = [-d * math.log(d) for d, _ in used]
    y = [gain for _, gain in used]
    aa, bb, ab = _dot(a, a), _dot(b, b), _dot(a, b)
    determinant = aa * bb - ab * ab
    if determinant <= 1e-12 * aa * bb:
        return None
    alpha = (bb * _dot(a, y) - ab * _dot(b, y)) / determinant
    beta = (aa * _dot(b, y) - ab * _dot(a, y)) / determinant
    left = [alpha * p + beta * q - z for p, q, z in zip(a, b, y, strict=True)]
    return Gao(alpha, beta, math.sqrt(_dot(left, left) / len(left)))


def _dot(a: Sequence[float], b: Sequence[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def best_of_n_kl(n: int) -> float:
    """The most that choosing the best of `n` answers can move a policy: ln n - (n - 1)/n nats.

    An upper bound that is met where no two answers score alike (Beirami et al. 2024, arXiv:2401.01879, theorem 3.1).
    """
    if n < 1:
        raise ValueError(f"n: {n} found, expected at least 1")
    return math.log(n) - (n - 1) / n


def distinct(answers: Sequence[str], n: int = 2) -> float:
    """distinct-n: different word n-grams over all there are (Li et al. 2016, arXiv:1510.03055); NaN of none."""
    grams = Counter(gram for answer in answers for gram in ngrams(answer, n))
    total = sum(grams.values())
    return len(grams) / total if total else math.nan


def self_similarity(answers: Sequence[str], n: int = 2) -> float:
    """The mean share of word n-grams that two of the answers have in common (Jaccard); 1 where all are the same."""
    sets = [set(ngrams(answer, n)) or {(answer,)} for answer in answers]
    shares = [len(a & b) / len(a | b) for i, a in enumerate(sets) for b in sets[i + 1 :]]
    return fmean(shares) if shares else math.nan


def ngrams(text: str, n: int) -> list[tuple[str, ...]]:
    """Runs of `n` words, in lower case."""
    words = text.lower().split()
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
