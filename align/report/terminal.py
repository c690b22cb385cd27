"""The end of a run in a terminal: the verdict, the models side by side, and who won."""

from __future__ import annotations

from typing import TYPE_CHECKING

from align.report.headline import headline
from align.report.measures import PART_NAMES, leading, panels, title, verdicts, wins
from align.report.numbers import DASH, number
from align.report.view import RunView

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

STYLES = {"pass": "green", "fail": "red", "inconclusive": "yellow", "error": "magenta", "none": "bold"}
ARROWS = {"higher is better": "↑", "lower is better": "↓", "neither way is better": "·"}


def summary(view: RunView) -> Group:
    """What a run came to: verdict, models, win rates, and the lines of the gate that did not pass."""
    from rich.console import Group
    from rich.text import Text

    parts: list[Text | Table] = [verdict_line(view)]
    if view.simulated:
        parts.append(
            Text("simulated: people, or the truth itself, are made; these numbers say nothing about people", "yellow")
        )
    for table in (models_table(view), wins_table(view), gate_table(view)):
        if table is not None:
            parts += [Text(), table]
    return Group(*parts)


def verdict_line(view: RunView) -> Text:
    """`quickstart: Stopped by the gate`, and the first thing to know about it."""
    from rich.text import Text

    head = headline(view)
    text = Text(f"{view.name}: ", "bold")
    text.append(head.word, f"bold {STYLES[head.tone]}")
    return text.append(f". {head.sentences[0]}" if head.sentences else "")


def models_table(view: RunView) -> Table | None:
    """What the gate asked about, for each model; None where nothing was measured."""
    shown = leading(view, panels(view))
    if not shown:
        return None
    table = _table("", *(PART_NAMES.get(part, part) for part, _ in shown[0].rows))
    for panel in shown:
        cells = [
            f"{_short(m.value)} [{_short(m.low)}, {_short(m.high)}]" if m and m.value is not None else DASH
            for _, m in panel.rows
        ]
        table.add_row(f"{ARROWS[panel.better]} {panel.title}", *cells)
    return table


def wins_table(view: RunView) -> Table | None:
    """Win rates of the tuned model over the policy it came from; None where none was taken."""
    won = wins(view)
    if not won:
        return None
    table = _table("win rate", "share won", "n")
    for models, pairs in list(won.items())[:1]:
        for m in (pair.measurement for pair in pairs):
            name = f"{models}: {m.metric.replace('_', ' ')}"
            table.add_row(name, f"{_short(m.value)} [{_short(m.low)}, {_short(m.high)}]", str(m.n))
    return table


def gate_table(view: RunView) -> Table | None:
    """The gate's lines that did not pass; None where all did."""
    from rich.text import Text

    lines = [line for line in verdicts(view) if line.verdict != "pass"]
    if not lines:
        return None
    table = _table("gate", "", "")
    for line in lines:
        table.add_row(title(line.instrument, line.metric), Text(line.verdict, STYLES[line.verdict]), line.why)
    table.columns[2].justify = "left"
    return table


def _short(value: float | None) -> str:
    """Two decimals: three models fit side by side in eighty columns, and the report has the rest."""
    return number(value, digits=2)


def _table(*head: str) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, collapse_padding=True, header_style="dim")
    for place, name in enumerate(head):
        table.add_column(name, justify="right" if place else "left")
    return table
