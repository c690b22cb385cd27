"""Plots as SVG that belongs to the page: its colours and letters are the page's, and equal numbers give equal bytes."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from align.report.curves import Points

# Stand-ins, turned into the page's CSS variables so that one drawing serves light and dark.
_COLOURS = {
    "ink": "#010203", "faint": "#040506", "grid": "#070809",
    "base": "#0a0b0c", "sft": "#0d0e0f", "tuned": "#101112", "train": "#131415", "held_out": "#161718",
    "model0": "#191a1b", "model1": "#1c1d1e", "model2": "#1f2021", "model3": "#222324", "model4": "#252627",
    "model5": "#28292a",
}  # fmt: skip
MODEL_COLOURS = 6
"""Models of other names than a run's parts take turns with so many."""
MOST_POINTS = 240


@dataclass(frozen=True)
class Whisker:
    """One line of a dot-and-whisker plot; a value that is absent is drawn as a dash."""

    label: str
    colour: str
    """A model's part: `base`, `sft` or `tuned`."""
    value: float | None
    low: float | None
    high: float | None


def whiskers(
    rows: Sequence[Whisker], *, name: str, shares: bool, null: float | None = None, label_inches: float = 0.62
) -> str:
    """Dots with their intervals, one a row, on one axis; `null` is the value that says nothing happened."""
    height = 0.34 + 0.21 * len(rows)
    figure, axes = _figure(5.0, height)
    _place(figure, axes, left=label_inches, right=0.12, top=0.04, bottom=0.27)
    for place, row in enumerate(rows):
        y = -place
        colour = _COLOURS.get(row.colour, _COLOURS["ink"])
        if row.value is None:
            axes.annotate("–", (0.01, y), xycoords=("axes fraction", "data"), va="center", color=_COLOURS["faint"])
            continue
        if row.low is not None and row.high is not None:
            axes.plot([row.low, row.high], [y, y], color=colour, linewidth=2.2, solid_capstyle="round", alpha=0.55)
        axes.plot([row.value], [y], "o", color=colour, markersize=5.5)
    low, high = _limits(rows, shares=shares, null=null)
    axes.set_xlim(low, high)
    axes.set_ylim(-len(rows) + 0.45, 0.55)
    axes.set_yticks([-i for i in range(len(rows))], [row.label for row in rows])
    if null is not None:
        axes.axvline(null, color=_COLOURS["faint"], linewidth=0.9, dashes=(3, 2), zorder=0)
    axes.grid(axis="x", color=_COLOURS["grid"], linewidth=0.7)
    axes.spines[:].set_visible(False)
    return _svg(figure, name, ", ".join(f"{row.label} {_said(row)}" for row in rows))


def grouped(
    labels: Sequence[str],
    rows: Mapping[str, Sequence[Whisker]],
    *,
    name: str,
    shares: bool,
    null: float | None = None,
) -> str:
    """Bars with their intervals, a line a label, a bar a model; `rows` is by model, each as long as `labels`."""
    n = max(1, len(rows))
    step = 0.13 * n + 0.12
    figure, axes = _figure(9.6, 0.4 + step * len(labels))
    _place(figure, axes, left=1.6, right=0.15, top=0.04, bottom=0.3)
    thick = 0.74 / n
    everything = [row for of in rows.values() for row in of]
    low, high = _limits(everything, shares=shares, null=null)
    origin = null if null is not None else max(low, 0.0)
    for place, of in enumerate(rows.values()):
        for line, row in enumerate(of):
            y = -line + (n - 1) * thick / 2 - place * thick
            colour = _COLOURS.get(row.colour, _COLOURS["ink"])
            if row.value is None:
                axes.annotate("–", (0.005, y), xycoords=("axes fraction", "data"), va="center", color=_COLOURS["faint"])
                continue
            axes.barh(y, row.value - origin, left=origin, height=thick * 0.86, color=colour, alpha=0.3, linewidth=0)
            if row.low is not None and row.high is not None:
                axes.plot([row.low, row.high], [y, y], color=colour, linewidth=1.8, solid_capstyle="round")
            axes.plot([row.value], [y], "o", color=colour, markersize=3.6)
    axes.set_xlim(low, high)
    axes.set_ylim(-len(labels) + 0.45, 0.55)
    axes.set_yticks([-i for i in range(len(labels))], list(labels))
    if null is not None:
        axes.axvline(null, color=_COLOURS["faint"], linewidth=0.9, dashes=(3, 2), zorder=0)
    axes.grid(axis="x", color=_COLOURS["grid"], linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)
    said = "; ".join(
        f"{label}: " + ", ".join(f"{row.label} {_said(row)}" for row in (of[i] for of in rows.values()))
        for i, label in enumerate(labels)
    )
    return _svg(figure, name, said)


def learning_curve(train: Points, held_out: Points, *, name: str, metric: str, level: float | None = None) -> str:
    """One metric over steps, training and held-out; `level` draws a line to read it against."""
    figure, axes = _figure(3.8, 2.2)
    _place(figure, axes, left=0.5, right=0.12, top=0.1, bottom=0.42)
    drawn = [point for point in (*train, *held_out) if math.isfinite(point[1])]
    if train:
        xs, ys = zip(*_thinned(train), strict=True)
        axes.plot(xs, ys, color=_COLOURS["train"], linewidth=1.2, label="training")
    if held_out:
        xs, ys = zip(*_thinned(held_out), strict=True)
        mark = "o" if len(held_out) <= 40 else ""
        axes.plot(xs, ys, marker=mark, markersize=3, color=_COLOURS["held_out"], linewidth=1.6, label="held out")
    if level is not None:
        axes.axhline(level, color=_COLOURS["faint"], linewidth=0.9, dashes=(3, 2), zorder=0)
    if drawn:
        _height(axes, [y for _, y in drawn], is_loss=metric == "loss")
    axes.set_xlabel("step")
    axes.grid(axis="y", color=_COLOURS["grid"], linewidth=0.7)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(_COLOURS["grid"])
    ends = [f"{side} from {points[0][1]:.3g} to {points[-1][1]:.3g}"
            for side, points in (("training", train), ("held out", held_out)) if points]  # fmt: skip
    return _svg(figure, name, f"{metric} by step: " + ", ".join(ends))


def drift(proxy: Points, held_out: Points) -> str:
    """The trained reward and the held-out one over √KL, in standard deviations of the first answers."""
    figure, axes = _figure(5.0, 2.6)
    _place(figure, axes, left=0.5, right=0.12, top=0.1, bottom=0.42)
    for points, colour in ((proxy, "train"), (held_out, "held_out")):
        if points:
            xs, ys = zip(*points, strict=True)
            axes.plot(xs, ys, marker="o", markersize=3.5, color=_COLOURS[colour], linewidth=1.5)
    axes.axhline(0.0, color=_COLOURS["faint"], linewidth=0.9, dashes=(3, 2), zorder=0)
    axes.set_xlabel("√KL from the reference, √nats an answer")
    axes.grid(axis="y", color=_COLOURS["grid"], linewidth=0.7)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(_COLOURS["grid"])
    both = (("trained reward", proxy), ("held out", held_out))
    said = [f"{side} ends at {points[-1][1]:+.2f}" for side, points in both if points]
    return _svg(figure, "reward over distance", "rewards by distance from the reference: " + ", ".join(said))


def reliability(points: Points, *, name: str) -> str:
    """Share right over sureness, both from a half to 1; on the dashed line one is as large as the other."""
    figure, axes = _figure(3.8, 2.2)
    _place(figure, axes, left=0.5, right=0.12, top=0.1, bottom=0.42)
    axes.plot([0.5, 1], [0.5, 1], color=_COLOURS["faint"], linewidth=0.9, dashes=(3, 2), zorder=0)
    axes.plot(
        [x for x, _ in points], [y for _, y in points], "o-", color=_COLOURS["held_out"], markersize=3.5, linewidth=1.2
    )
    axes.set_xlim(0.48, 1.02)
    axes.set_ylim(min(0.45, *(y for _, y in points)) - 0.03, 1.03)
    axes.set_xlabel("sure")
    axes.grid(axis="y", color=_COLOURS["grid"], linewidth=0.7)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(_COLOURS["grid"])
    return _svg(figure, name, ", ".join(f"{x:.2f} sure {y:.2f} right" for x, y in points))


def margin_strip(difference: float | None, low: float | None, high: float | None, *, edge: float) -> str:
    """One line of the gate: its interval, and the edge that all of it must stay to the left of."""
    if difference is None or low is None or high is None:
        return ""
    left, right = min(low, edge), max(high, edge)
    room = 0.12 * (right - left) or 1.0
    left, right = left - room, right + room

    def x(value: float) -> str:
        return f"{1 + 118 * (value - left) / (right - left):.1f}"

    said = f"{difference:.3g}, from {low:.3g} to {high:.3g}; the edge is at {edge:.3g}"
    return (
        f'<svg class="strip" viewBox="0 0 120 16" role="img" aria-label="{said}">'
        f'<rect x="{x(edge)}" y="0" width="{120 - float(x(edge)):.1f}" height="16" class="beyond"/>'
        f'<path d="M{x(edge)} 0V16" class="edge"/><path d="M{x(low)} 8H{x(high)}" class="reach"/>'
        f'<circle cx="{x(difference)}" cy="8" r="3.2" class="point"/></svg>'
    )


def _height(axes: Any, values: Sequence[float], *, is_loss: bool) -> None:
    """Room for every value; where the first losses dwarf the last, a logarithmic axis, so that both can be read."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    low, high = min(values), max(values)
    if is_loss and low > 0 and high > 4 * low:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.tick_params(which="minor", length=0)
        axes.set_ylim(low * 0.9, high * 1.1)
    else:
        room = 0.06 * (high - low) or 0.05
        axes.set_ylim(low - room, high + room)


def _said(row: Whisker) -> str:
    if row.value is None:
        return "not measured"
    ends = "" if row.low is None or row.high is None else f" ({row.low:.3g} to {row.high:.3g})"
    return f"{row.value:.3g}{ends}"


def _limits(rows: Sequence[Whisker], *, shares: bool, null: float | None) -> tuple[float, float]:
    values = [v for row in rows for v in (row.value, row.low, row.high) if v is not None and math.isfinite(v)]
    if shares and all(0 <= v <= 1 for v in values):  # all of it, so that one plot can be held against another
        return -0.02, 1.02
    values += [] if null is None else [null]
    if not values:
        return 0.0, 1.0
    low, high = min(values), max(values)
    room = 0.08 * (high - low) or 0.1 * abs(high) or 1.0
    return low - room, high + room


def _thinned(points: Points) -> list[tuple[float, float]]:
    """At most MOST_POINTS points: means over runs of neighbours, which is also how a noisy curve is best read."""
    if len(points) <= MOST_POINTS:
        return list(points)
    size = math.ceil(len(points) / MOST_POINTS)
    groups = [points[i : i + size] for i in range(0, len(points), size)]
    return [(sum(x for x, _ in g) / len(g), sum(y for _, y in g) / len(g)) for g in groups]


def _figure(width: float, height: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(width, height))
    axes = figure.add_subplot()
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]))
    axes.tick_params(length=0, labelsize=9, colors=_COLOURS["ink"])
    axes.xaxis.label.set(color=_COLOURS["faint"], size=9)
    return figure, axes


def _place(figure: Any, axes: Any, *, left: float, right: float, top: float, bottom: float) -> None:
    """Margins in inches, so that plots of one width line up whatever their labels."""
    width, height = figure.get_size_inches()
    axes.set_position((left / width, bottom / height, 1 - (left + right) / width, 1 - (top + bottom) / height))


def _svg(figure: Any, name: str, said: str) -> str:
    """The figure as an `<svg>` element, named `name` and described in words for those who cannot see it."""
    from html import escape

    from matplotlib import rc_context

    stream = io.StringIO()
    with rc_context({"svg.hashsalt": name, "svg.fonttype": "none", "axes.unicode_minus": True}):
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', text))
    text = re.sub(r' id="([^"]+)"', lambda m: m[0] if m[1] in used else "", text)
    text = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px; font-family: var(--sans)", text)
    text = re.sub(r"font-family: [^;\"]*", "font-family: var(--sans)", text)
    text = re.sub(r' transform="rotate\(-?0 [^"]*"', "", text)
    for colour, stand_in in _COLOURS.items():
        text = text.replace(stand_in, f"var(--{colour.replace('_', '-')})")
    text = re.sub(
        r'<svg [^>]*?viewBox="([^"]+)"[^>]*>',
        rf'<svg viewBox="\1" role="img" aria-label="{escape(said)}">',
        text,
        count=1,
    )
    return re.sub(r"\n\s*", "\n", text).strip()
