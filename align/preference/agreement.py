"""How far annotators agree beyond chance. A coefficient without meaning is None: undefined is neither 0 nor 1."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

Unit = Mapping[str, Hashable]
"""One thing judged: each annotator's label of it."""


@dataclass(frozen=True)
class Agreement:
    """All coefficients beside each other, for any of them alone misleads where one label prevails."""

    n_units: int
    """Things with labels of at least two annotators."""
    n_labels: int
    n_annotators: int
    raw: float | None
    """Share of equal labels among all pairs of labels of one thing."""
    krippendorff_alpha: float | None
    fleiss_kappa: float | None
    """None too where things have unequal numbers of labels."""
    cohen_kappa: float | None
    """Mean over the pairs of annotators for which it is defined, weighted by what they share."""


def agreement(units: Sequence[Unit]) -> Agreement:
    """All coefficients over the units that two or more have labelled."""
    shared = [unit for unit in units if len(unit) >= 2]
    labels = [list(unit.values()) for unit in shared]
    return Agreement(
        n_units=len(shared),
        n_labels=sum(map(len, labels)),
        n_annotators=len({name for unit in shared for name in unit}),
        raw=raw_agreement(labels),
        krippendorff_alpha=krippendorff_alpha(labels),
        fleiss_kappa=fleiss_kappa(labels),
        cohen_kappa=mean_cohen_kappa(shared),
    )


def raw_agreement(labels: Sequence[Sequence[Hashable]]) -> float | None:
    """Share of equal labels among all pairs of labels of one unit; None where no unit has two."""
    equal = pairs = 0
    for unit in labels:
        equal += sum(n * (n - 1) for n in Counter(unit).values())
        pairs += len(unit) * (len(unit) - 1)
    return equal / pairs if pairs else None


def cohen_kappa(labels: Sequence[tuple[Hashable, Hashable]]) -> float | None:
    """κ of two annotators over what both labelled (Cohen 1960); None without overlap, or if both use one label only."""
    n = len(labels)
    if not n:
        return None
    observed = sum(a == b for a, b in labels) / n
    first, second = Counter(a for a, _ in labels), Counter(b for _, b in labels)
    expected = sum(first[label] * second[label] for label in first) / n**2
    return None if expected == 1 else (observed - expected) / (1 - expected)


def mean_cohen_kappa(units: Sequence[Unit]) -> float | None:
    """The mean κ over pairs of annotators, weighted by the units they share."""
    names = sorted({name for unit in units for name in unit})
    total = weight = 0.0
    for a, b in combinations(names, 2):
        both = [(unit[a], unit[b]) for unit in units if a in unit and b in unit]
        kappa = cohen_kappa(both)
        if kappa is not None:
            total, weight = total + kappa * len(both), weight + len(both)
    return total / weight if weight else None


def fleiss_kappa(labels: Sequence[Sequence[Hashable]]) -> float | None:
    """κ for equally many labels a unit, by whomsoever (Fleiss 1971); None if numbers differ or one label is all."""
    sizes = {len(unit) for unit in labels}
    if len(sizes) != 1 or (n := sizes.pop()) < 2:
        return None
    observed = sum(sum(c * (c - 1) for c in Counter(unit).values()) / (n * (n - 1)) for unit in labels) / len(labels)
    total = Counter(label for unit in labels for label in unit)
    if len(total) == 1:
        return None
    expected = sum((count / (n * len(labels))) ** 2 for count in total.values())
    return (observed - expected) / (1 - expected)


def krippendorff_alpha(labels: Sequence[Sequence[Hashable]]) -> float | None:
    """α for nominal labels, any number a unit (Krippendorff 2011, section C); None without overlap or contrast."""
    return alpha(labels, lambda a, b, _: float(a != b))


def ordinal_alpha(ranks: Sequence[Sequence[float]]) -> float | None:
    """α for labels that have an order and no distances, such as strengths (Krippendorff 2011, section D).

    Two labels are as far apart as the labels that lie between them, each end counting half, squared.
    """
    return alpha(ranks, _between)


Distance = Callable[[Any, Any, Mapping[Any, int]], float]
"""From two labels and how often each label was given."""


def alpha(labels: Sequence[Sequence[Any]], distance: Distance) -> float | None:
    """1 − observed / expected distance between two labels of one unit; None without overlap or contrast."""
    pairable = [Counter(unit) for unit in labels if len(unit) >= 2]
    total = Counter(label for unit in pairable for label in unit.elements())
    n = sum(total.values())
    far = {(a, b): distance(a, b, total) for a, b in combinations(total, 2)}
    expected = sum(2 * total[a] * total[b] * d for (a, b), d in far.items()) / (n * (n - 1)) if n > 1 else 0.0
    if expected == 0:
        return None
    observed = sum(
        2 * unit[a] * unit[b] * d / (unit.total() - 1) for unit in pairable for (a, b), d in far.items() if unit[a]
    )
    return 1 - observed / n / expected


def _between(a: float, b: float, total: Mapping[float, int]) -> float:
    low, high = min(a, b), max(a, b)
    between = sum(n for label, n in total.items() if low <= label <= high)
    return (between - (total[a] + total[b]) / 2) ** 2
