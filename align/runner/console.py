"""What a run says while it runs: progress bars on a terminal, plain timed lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from align.ports import Progress

QUIET_S = 15.0
"""Seconds between two lines of progress where there is no terminal."""


class Console:
    """One line a step, and progress below it."""

    def __init__(self, stream: TextIO | None = None, *, quiet: bool = False) -> None:
        self.stream = stream or sys.stdout
        self.quiet = quiet
        self._start = time.monotonic()
        self._live = not quiet and self.stream.isatty()

    def line(self, step: str, word: str, text: str = "") -> None:
        """`   12.3 s  sft           run    epochs 1 → 2`."""
        if self.quiet:
            return
        clock = f"{time.monotonic() - self._start:7.1f} s  "
        body = f"{clock}{step:<26} {word:<7} {text}".rstrip()
        print(self._coloured(body, word), file=self.stream, flush=True)

    def say(self, text: str = "") -> None:
        """A line as it is."""
        if not self.quiet:
            print(text, file=self.stream, flush=True)

    def _coloured(self, body: str, word: str) -> str:
        codes = {"reuse": "2", "done": "32", "wait": "33", "failed": "31"}
        return f"\033[{codes[word]}m{body}\033[0m" if self._live and word in codes else body

    @contextmanager
    def progress(self, step: str, what: str, total: int | None) -> Iterator[Progress]:
        """A bar, or a line now and then."""
        if self._live:
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bars

            columns: list[Any] = [TextColumn("           {task.description}"), BarColumn(), MofNCompleteColumn(),
                                  TimeRemainingColumn(), TextColumn("{task.fields[note]}")]  # fmt: skip
            with Bars(*columns, transient=True) as bars:
                yield _Bar(bars, bars.add_task(f"{step}: {what}", total=total, note=""))
        else:
            yield _Lines(self, step, what, total)


class _Bar:
    def __init__(self, bars: Any, task: Any) -> None:
        self._bars, self._task = bars, task

    def advance(self, n: int = 1, note: str = "") -> None:
        self._bars.update(self._task, advance=n, **({"note": note} if note else {}))


class _Lines:
    def __init__(self, console: Console, step: str, what: str, total: int | None) -> None:
        self._console, self._step, self._what, self._total = console, step, what, total
        self._n, self._last = 0, time.monotonic()

    def advance(self, n: int = 1, note: str = "") -> None:
        self._n += n
        now = time.monotonic()
        if now - self._last >= QUIET_S:
            self._last = now
            of = f" of {self._total:,}" if self._total else ""
            self._console.line(self._step, "…", f"{self._what} {self._n:,}{of}" + (f"  {note}" if note else ""))
