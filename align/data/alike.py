"""Texts that are nearly the same: found by MinHash, confirmed by counting."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from align.data.splits import folded

K = TypeVar("K", bound=Hashable)
WORDS = 5
"""Words of a shingle."""
BANDS, ROWS = 21, 6
"""Texts are compared where all ROWS hashes of a band are equal: two of Jaccard 0.8 are missed once in 700
(1 − (1 − 0.8⁶)²¹ = 0.998), two of 0.5 are compared in vain in 28 of 100."""
MOST = 16
_PRIME = np.uint64(4294967291)
"""The largest below 2³²: hash functions are (ax + b) modulo it, with x of 31 bits."""
Hashes = NDArray[np.uint32]


@dataclass(frozen=True)
class Pair:
    """Two texts by their places in what was given, and their Jaccard similarity."""

    first: int
    second: int
    similarity: float


def shingles(text: str) -> frozenset[tuple[str, ...]]:
    """Every run of five words, spacing, letter case and Unicode composition aside; a shorter text is one of its own."""
    words = folded(text).split()
    if len(words) <= WORDS:
        return frozenset([tuple(words)]) if words else frozenset()
    return frozenset(tuple(words[i : i + WORDS]) for i in range(len(words) - WORDS + 1))


def jaccard(a: frozenset[K], b: frozenset[K]) -> float:
    """The share of what either has that both have."""
    return len(a & b) / len(a | b) if a or b else 0.0


def alike(texts: Sequence[str], *, at_least: float = 0.8, seed: int = 0) -> list[Pair]:
    """Pairs of texts whose shingles have a Jaccard similarity of `at_least` (0.6 to 1), by place.

    Broder 1997, "On the resemblance and containment of documents", with banding as in Leskovec, Rajaraman & Ullman,
    "Mining of massive datasets", section 3.4. What the bands bring together is counted exactly, so nothing is reported
    that is not alike. Of many that share a band, each is counted against the first `MOST` before it.
    """
    if not 0.6 <= at_least <= 1:
        raise ValueError(f"at_least: {at_least:g} found, expected 0.6 to 1: the bands would miss what is less alike")
    random = np.random.default_rng(seed)
    a = random.integers(1, 1 << 31, BANDS * ROWS, dtype=np.uint64)
    b = random.integers(0, 1 << 31, BANDS * ROWS, dtype=np.uint64)
    held = [_hashed(text) for text in texts]
    places = [place for place, own in enumerate(held) if own.size]
    signatures = np.array([_signature(held[place], a, b) for place in places], dtype=np.uint32)
    found: dict[tuple[int, int], float] = {}
    for band in range(BANDS) if places else ():
        for group in _equal(signatures[:, band * ROWS : (band + 1) * ROWS]):
            for i, other in enumerate(group):
                for first in group[: min(i, MOST)]:
                    pair = places[first], places[other]
                    if pair not in found:
                        found[pair] = _similarity(held[pair[0]], held[pair[1]])
    return [Pair(i, j, s) for (i, j), s in sorted(found.items()) if s >= at_least]


def across(new: Sequence[str], old: Sequence[str], *, at_least: float = 0.8) -> list[Pair]:
    """Each text of `new` that is alike to one of `old`, with the most alike; places are of their own lists."""
    n = len(old)
    best: dict[int, Pair] = {}
    for pair in alike([*old, *new], at_least=at_least):
        if pair.first < n <= pair.second:
            own = Pair(pair.second - n, pair.first, pair.similarity)
            if own.first not in best or own.similarity > best[own.first].similarity:
                best[own.first] = own
    return [best[place] for place in sorted(best)]


def _hashed(text: str) -> Hashes:
    """Every shingle as 31 bits, each once: a set of tuples would take a hundred times the memory."""
    numbers = {crc32(" ".join(one).encode("utf-8", "surrogatepass")) >> 1 for one in shingles(text)}
    return np.array(sorted(numbers), dtype=np.uint32)


def _signature(own: Hashes, a: NDArray[np.uint64], b: NDArray[np.uint64]) -> Hashes:
    """The least of every hash function over the shingles."""
    hashed = (own.astype(np.uint64)[:, None] * a[None, :] + b[None, :]) % _PRIME
    return np.asarray(hashed.min(axis=0), dtype=np.uint32)


def _equal(rows: Hashes) -> Iterator[list[int]]:
    """The groups of equal rows that have two or more, each in order."""
    order = np.lexsort(rows.T)
    ordered = rows[order]
    ends = np.flatnonzero((ordered[1:] != ordered[:-1]).any(axis=1)) + 1
    for group in np.split(order, ends):
        if group.size > 1:
            yield sorted(group.tolist())


def _similarity(a: Hashes, b: Hashes) -> float:
    shared = np.intersect1d(a, b, assume_unique=True).size
    return float(shared / (a.size + b.size - shared))
