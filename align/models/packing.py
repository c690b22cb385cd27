"""Prompt trees laid out flat: one row of tokens without padding, each prompt once, its answers branching from it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

SHARE = 8
"""Tokens that sharing a prompt must save before it is shared: below, the extra attention call costs more."""
BUDGET = 4096
"""Tokens of a packed row, unless a caller has other wishes."""


@dataclass(frozen=True)
class Group:
    """A prompt and its K answers, as token ids; each answer's tokens are predicted, its end of text included."""

    prompt: tuple[int, ...]
    answers: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Bundle:
    """Rows that begin with the same `shared` tokens; of each row, the places of the tokens that are predicted."""

    rows: tuple[tuple[int, ...], ...]
    predicted: tuple[Sequence[int], ...]
    shared: int
    names: tuple[tuple[int, int], ...]
    """What each row is: (group, answer) for groups, (row, 0) for the rows of a batch."""

    def n_tokens(self, *, keep_last: bool) -> int:
        """Tokens it takes in a flat row."""
        return self.shared + sum(len(row) - self.shared - (not keep_last) for row in self.rows)


@dataclass(frozen=True)
class Segment:
    """Tokens `first … stop` of the flat row see each other causally, and before themselves `before … before_stop`."""

    first: int
    stop: int
    before: int = 0
    before_stop: int = 0

    @property
    def n_before(self) -> int:
        return self.before_stop - self.before


class Pack:
    """One flat row of T tokens that holds A answers (or rows) and predicts R tokens of them.

    `sources[r]` is the place in the flat row whose hidden state predicts token `targets[r]`, which belongs to answer
    `owners[r]` of `names` and is its `columns[r]`-th token, prompt included. `ends[a]` is the place of an answer's last
    token, where the pack keeps last tokens (they predict nothing, so only a reward model needs them).
    """

    def __init__(self, bundles: Sequence[Bundle], *, keep_last: bool = False) -> None:
        self.keep_last = keep_last
        self.tokens: list[int] = []
        self.positions: list[int] = []
        self.segments: list[Segment] = []
        self.sources: list[int] = []
        self.targets: list[int] = []
        self.owners: list[int] = []
        self.columns: list[int] = []
        self.ends: list[int] = []
        self.names: list[tuple[int, int]] = []
        self.cells: list[int] = []
        """Where each predicted token stands in the padded batch that the rows came from, if they came from one."""
        self.longest = 0
        self._tensors: dict[tuple[str, str], Any] = {}
        for bundle in bundles:
            self._lay(bundle)

    @property
    def n_tokens(self) -> int:
        """T."""
        return len(self.tokens)

    @cached_property
    def counts(self) -> list[int]:
        """Predicted tokens of each answer."""
        found = [0] * len(self.names)
        for owner in self.owners:
            found[owner] += 1
        return found

    def tensor(self, what: str, device: Any = "cpu") -> Any:
        """One of the lists above as a tensor of int64, made once."""
        import torch

        key = (what, str(device))
        if key not in self._tensors:
            self._tensors[key] = torch.tensor(getattr(self, what), dtype=torch.long, device=device)
        return self._tensors[key]

    def _lay(self, bundle: Bundle) -> None:
        start, shared = len(self.tokens), bundle.shared
        drop = 0 if self.keep_last else 1
        # the longest branch goes next to the trunk: the two are one causal stretch and need no mask
        order = sorted(range(len(bundle.rows)), key=lambda i: -len(bundle.rows[i]))
        places: dict[int, int] = {}
        for n, i in enumerate(order):
            row = bundle.rows[i]
            own = row[0 if n == 0 else shared : len(row) - drop]
            first = len(self.tokens)
            places[i] = first if n else first + shared
            self.tokens += own
            self.positions += range(0 if n == 0 else shared, len(row) - drop)
            if own:
                self.segments.append(
                    Segment(first, first + len(own), start, start + shared)
                    if n and shared
                    else Segment(first, first + len(own))
                )
            self.longest = max(self.longest, len(row) - drop)
        for i, row in enumerate(bundle.rows):
            owner = len(self.names)
            self.names.append(bundle.names[i])
            for column in bundle.predicted[i]:
                before = column - 1
                self.sources.append(start + before if before < shared else places[i] + before - shared)
                self.targets.append(row[column])
                self.owners.append(owner)
                self.columns.append(column)
            last = len(row) - 1
            if self.keep_last:
                self.ends.append(start + last if last < shared else places[i] + last - shared)


def pack(groups: Sequence[Group], budget: int = BUDGET, *, share: int = SHARE, keep_last: bool = False) -> list[Pack]:
    """Flat rows of at most `budget` tokens, by first-fit decreasing; a group is never cut, so one alone may exceed it.

    A prompt is written once where that saves at least `share` tokens, else once an answer. ValueError where a group has
    no prompt: its first token would have nothing to be predicted from.
    """
    bundles: list[Bundle] = []
    for g, group in enumerate(groups):
        bundles += bundled(group, g, share=share)
    return [Pack(bin_, keep_last=keep_last) for bin_ in first_fit(bundles, budget, keep_last=keep_last)]


def bundled(group: Group, number: int, *, share: int) -> Iterator[Bundle]:
    """A group as one bundle, or as one a row where sharing does not pay."""
    if not group.prompt or not group.answers:
        raise ValueError(f"group {number} has {len(group.prompt)} prompt tokens and {len(group.answers)} answers")
    rows = tuple(tuple(group.prompt) + tuple(answer) for answer in group.answers)
    predicted = tuple(range(len(group.prompt), len(row)) for row in rows)
    shared = common_prefix(rows)
    if (len(rows) - 1) * shared >= max(share, 1):
        yield Bundle(rows, predicted, shared, tuple((number, k) for k in range(len(rows))))
    else:
        for k, row in enumerate(rows):
            yield Bundle((row,), (predicted[k],), 0, ((number, k),))


def first_fit(bundles: Sequence[Bundle], budget: int, *, keep_last: bool) -> list[list[Bundle]]:
    """Bins in which the bundles' tokens sum to at most `budget`, filled from the largest bundle down."""
    bins: list[list[Bundle]] = []
    room: list[int] = []
    sizes = [bundle.n_tokens(keep_last=keep_last) for bundle in bundles]
    for i in sorted(range(len(bundles)), key=lambda i: -sizes[i]):
        size = sizes[i]
        place = next((b for b, left in enumerate(room) if left >= size), None)
        if place is None:
            bins.append([])
            room.append(budget)
            place = len(bins) - 1
        bins[place].append(bundles[i])
        room[place] -= size
    return bins


def bundle_rows(
    rows: Sequence[tuple[int, ...]], predicted: Sequence[Sequence[int]], *, share: int = SHARE
) -> list[Bundle]:
    """The rows of a batch as trees of two levels, so chosen that the tokens saved are as many as can be.

    Rows are sorted, so that those which begin alike stand together; which neighbours form a tree is found by dynamic
    programming over the sorted rows. A row that predicts nothing is left out.
    """
    order = sorted((i for i in range(len(rows)) if len(predicted[i])), key=lambda i: rows[i])
    if not order:
        return []
    # what two neighbours share, leaving each a token of its own
    shared = [min(common_prefix((rows[a], rows[b])), len(rows[a]) - 1, len(rows[b]) - 1) for a, b in pairwise(order)]
    best: list[tuple[int, int]] = [(0, 0)]
    for stop in range(1, len(order) + 1):
        found = (best[stop - 1][0], stop - 1)
        least = None
        for start in range(stop - 2, -1, -1):
            least = shared[start] if least is None else min(least, shared[start])
            if least < 1:
                break
            saved = (stop - start - 1) * least
            if saved >= share and best[start][0] + saved > found[0]:
                found = (best[start][0] + saved, start)
        best.append(found)
    bundles = []
    stop = len(order)
    while stop:
        start = best[stop][1]
        members = order[start:stop]
        bundles.append(
            Bundle(
                tuple(rows[i] for i in members),
                tuple(predicted[i] for i in members),
                min(shared[start : stop - 1], default=0),
                tuple((i, 0) for i in members),
            )
        )
        stop = start
    return bundles[::-1]


def common_prefix(rows: Sequence[tuple[int, ...]]) -> int:
    """Tokens that all rows begin with, leaving each at least its last token."""
    if len(rows) < 2:
        return 0
    low, high = min(rows), max(rows)
    most = min(map(len, rows)) - 1
    n = 0
    while n < most and low[n] == high[n]:
        n += 1
    return n
