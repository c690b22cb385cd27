"""How many items a question needs, and what so many items can tell: before measuring, not after.

For a mean of differences with the standard deviation `sd`, tested at one-sided `alpha` with the power `power`:
n = (z_alpha + z_power)² · sd² / difference² (Miller 2024, arXiv:2411.00640, section 5). Normal quantiles, so that a few
dozen items are told a little too small.
"""

from __future__ import annotations

import math
from statistics import NormalDist


def items_needed(difference: float, *, sd: float, alpha: float = 0.05, power: float = 0.8) -> int:
    """The fewest items that find a true `difference` (above 0) with this power."""
    if not difference > 0:
        raise ValueError(f"a difference of {difference} can be found by no number of items")
    return math.ceil((_deviates(alpha, power) * sd / difference) ** 2)


def detectable(n: int, *, sd: float, alpha: float = 0.05, power: float = 0.8) -> float:
    """The smallest true difference that `n` items find with this power."""
    if n < 1:
        raise ValueError(f"{n} items detect nothing")
    return _deviates(alpha, power) * sd / math.sqrt(n)


def power_of(n: int, difference: float, *, sd: float, alpha: float = 0.05) -> float:
    """The chance that `n` items find this true difference."""
    normal = NormalDist()
    return normal.cdf(difference * math.sqrt(n) / sd - normal.inv_cdf(1 - alpha))


def _deviates(alpha: float, power: float) -> float:
    normal = NormalDist()
    return normal.inv_cdf(1 - alpha) + normal.inv_cdf(power)
