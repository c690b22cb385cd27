"""Which rows of a file are kept: no more than asked, none twice, each refusal counted; memory holds what is kept."""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from align.data.formats import EQUAL, Left
from align.data.rows import Row
from align.errors import RecordError

T = TypeVar("T")

DUPLICATE = "duplicate of another row"
TOO_LONG = "more words than max_words"
BEYOND = "beyond limit"


@dataclass(frozen=True)
class Unit(Generic[T]):
    """One kept row."""

    value: T
    place: str
    """File and line, for messages."""
    number: int
    """Its place in the file, from 0."""


@dataclass
class Taken(Generic[T]):
    """What a file gave."""

    units: list[Unit[T]] = field(default_factory=list)
    n_read: int = 0
    dropped: Counter[str] = field(default_factory=Counter)


@dataclass(order=True)
class _Held(Generic[T]):
    """Ordered so that the heap's first is the one to give up next."""

    rank: tuple[int, int]
    unit: Unit[T] = field(compare=False)
    name: str = field(compare=False)


def take(
    rows: Iterable[tuple[Row, T | Left]],
    *,
    prompt: Callable[[T], str],
    name: Callable[[T], str],
    words: Callable[[T], int],
    limit: int | None = None,
    max_words: int | None = None,
) -> Taken[T]:
    """The rows to keep, in the file's order.

    `limit` keeps the rows whose prompts come first by hash, so that neither the order of the file nor rows added to
    it decide which of two rows is kept. A row equal to a kept one (`name`) is counted and left out.
    """
    taken: Taken[T] = Taken()
    heap: list[_Held[T]] = []
    again: dict[str, int] = {}
    for number, (row, value) in enumerate(rows):
        taken.n_read += 1
        if isinstance(value, Left):
            taken.dropped[value.reason] += 1
            continue
        if max_words is not None and words(value) > max_words:
            taken.dropped[TOO_LONG] += 1
            continue
        own = name(value)
        if own in again:
            again[own] += 1
            continue
        rank = (-_rank(prompt(value)), -_rank(own))
        if limit is None:
            heap.append(_Held(rank, Unit(value, row.place, number), own))
        elif len(heap) < limit:
            heapq.heappush(heap, _Held(rank, Unit(value, row.place, number), own))
        elif rank > heap[0].rank:
            gone = heapq.heapreplace(heap, _Held(rank, Unit(value, row.place, number), own))
            # with the row its repeats are beyond the limit too
            taken.dropped[BEYOND] += 1 + again.pop(gone.name)
        else:
            taken.dropped[BEYOND] += 1
            continue
        again[own] = 0
    taken.units = sorted((held.unit for held in heap), key=lambda unit: unit.number)
    if sum(again.values()):
        taken.dropped[DUPLICATE] += sum(again.values())
    return taken


def usable(taken: Taken[T], where: str) -> None:
    """Raise where nothing was kept."""
    if not taken.units:
        reasons = ", ".join(f"{n} {reason}" for reason, n in sorted(taken.dropped.items())) or "the file is empty"
        raise RecordError(f"{where}: 0 usable rows of {taken.n_read}: {reasons}")


def few_equal(taken: Taken[T], where: str, *, max_equal_share: float) -> None:
    """Raise where more than this share of the pairs prefer an answer to itself."""
    n = taken.dropped[EQUAL]
    if taken.n_read and n / taken.n_read > max_equal_share:
        raise RecordError(
            f"{where}: chosen equals rejected in {n} of {taken.n_read} rows, more than "
            f"data.max_equal_share ({max_equal_share:g}) allows; look at how the file was made, or raise it"
        )


def one_content_a_name(
    units: Iterable[Unit[T]], *, called: Callable[[T], str | None], name: Callable[[T], str]
) -> None:
    """Raise where two kept rows bear the same id but differ."""
    seen: dict[str, tuple[str, str]] = {}
    for unit in units:
        own = called(unit.value)
        if own is None:
            continue
        content, first = seen.setdefault(own, (name(unit.value), unit.place))
        if content != name(unit.value):
            raise RecordError(f"{unit.place}: id {own!r} names another row already ({first}); ids must be unique")


def _rank(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode("utf-8")).digest()[:8], "big")
