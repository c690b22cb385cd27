"""One instrument's categories in one picture: each with its interval, the models beside each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from align.report.measures import Panel, title, words

FEWEST = 3
"""Fewer categories than these are shown one by one."""


@dataclass(frozen=True)
class Group:
    """The categories of one metric."""

    instrument: str
    metric: str
    panels: tuple[Panel, ...]
    """The whole first, then each category."""

    @property
    def title(self) -> str:
        return f"{title(self.instrument, self.metric)}, by category"

    @property
    def models(self) -> tuple[str, ...]:
        """Every model that was measured on one of them."""
        return tuple(dict.fromkeys(part for panel in self.panels for part, m in panel.rows if m is not None))

    def label(self, panel: Panel) -> str:
        """A category as it is read: `all`, `race color`."""
        if panel.metric == self.metric:
            return "all"
        return words(panel.metric.removeprefix(f"{self.metric}_")).replace("-", " ")


def groups(panels: Sequence[Panel]) -> list[Group]:
    """Metrics that share their instrument and the beginning of their name, or for CrowS-Pairs' kinds their unit."""
    found = []
    by_instrument: dict[str, list[Panel]] = {}
    for panel in panels:
        by_instrument.setdefault(panel.instrument, []).append(panel)
    for instrument, of in by_instrument.items():
        names = {panel.metric for panel in of}
        taken: set[str] = set()
        for panel in of:
            parts = [one for one in of if one.metric.startswith(f"{panel.metric}_") and one.metric not in taken]
            if len(parts) >= FEWEST and not any(panel.metric.startswith(f"{name}_") for name in names):
                taken |= {panel.metric, *(one.metric for one in parts)}
                found.append(Group(instrument, panel.metric, (panel, *parts)))
        if instrument == "crows_pairs":
            kinds = [panel for panel in of if panel.unit == "share" and not panel.metric.startswith("of_")]
            if len(kinds) > FEWEST:
                found.append(Group(instrument, "stereotyped", tuple(kinds)))
    return found


def others(panels: Sequence[Panel], grouped: Sequence[Group]) -> list[Panel]:
    """The panels that stand in no group, or are the whole of one."""
    inside = {(one.instrument, one.metric) for group in grouped for one in group.panels[1:]}
    return [panel for panel in panels if (panel.instrument, panel.metric) not in inside]
