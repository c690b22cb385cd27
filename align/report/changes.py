"""What surely changed: the paired differences that stand when all of them are tested together."""

from __future__ import annotations

from dataclasses import dataclass

from align.evals.statistics import holm
from align.report.measures import PART_NAMES, Compared, Panel

ALPHA = 0.05


@dataclass(frozen=True)
class Changes:
    """Of all the metrics of one model against another, those that changed."""

    models: str
    """`tuned − SFT`."""
    n_tested: int
    found: tuple[tuple[Compared, float, str], ...]
    """Each with its p-value after Holm's correction over `n_tested`, and whether it is better or worse."""

    @property
    def said(self) -> str:
        """One sentence."""
        n, of = len(self.found), f"{self.n_tested} metric{'s' * (self.n_tested != 1)}"
        if not n:
            return f"Of {of} none changed by more than chance explains."
        return f"Of {of} {n} changed by more than chance explains, all of them tested together."


def changes(panels: list[Panel]) -> list[Changes]:
    """One a pair of models, in the order of the differences."""
    tested: dict[str, list[tuple[Compared, float]]] = {}
    better = {(p.instrument, p.metric): p.better for p in panels}
    for panel in panels:
        for pair in panel.differences:
            p = pair.measurement.meta.get("p")
            if isinstance(p, (int, float)) and not isinstance(p, bool):
                tested.setdefault(pair.models, []).append((pair, float(p)))
    found = []
    for models, pairs in tested.items():
        adjusted = holm([p for _, p in pairs]).tolist()
        surely = [
            (pair, p, _which(pair, better[pair.measurement.instrument, pair.measurement.metric]))
            for (pair, _), p in zip(pairs, adjusted, strict=True)
            if p < ALPHA
        ]
        found.append(Changes(models, len(pairs), tuple(sorted(surely, key=lambda one: one[1]))))
    return found


def _which(pair: Compared, better: str) -> str:
    value = pair.measurement.value or 0.0
    if better.startswith("neither"):
        return "changed"
    return "better" if (value > 0) == better.startswith("higher") else "worse"


def title(models: str) -> str:
    """A heading for one pair."""
    new, _, old = models.partition(" − ")
    return f"{PART_NAMES.get(new, new)} against {PART_NAMES.get(old, old)}"
