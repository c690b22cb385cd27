"""Texts that were edited a little are found, by how much, and what is not alike is never reported."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from align.data.alike import across, alike, jaccard, shingles

WORDS = [f"word{i}" for i in range(400)]


def text(seed: int, n: int = 120) -> str:
    return " ".join(Random(seed).choices(WORDS, k=n))


def edited(original: str, n: int, seed: int) -> str:
    """`n` words changed."""
    words = original.split()
    for place in Random(f"edit {seed}").sample(range(len(words)), n):
        words[place] = f"other{place}"
    return " ".join(words)


@pytest.mark.parametrize(("n_edits", "least"), [(0, 1.0), (1, 0.98), (2, 0.95)])
def test_planted_copies_are_found_and_told_how_alike_they_are(n_edits: int, least: float) -> None:
    originals = [text(seed) for seed in range(60)]
    copies = [edited(one, n_edits, seed) for seed, one in enumerate(originals)]
    truth = [jaccard(shingles(a), shingles(b)) for a, b in zip(originals, copies, strict=True)]
    wanted = {i for i, similarity in enumerate(truth) if similarity >= 0.8}
    found = {pair.first: pair for pair in across(copies, originals)}
    assert len(wanted) > 40
    assert len(set(found) & wanted) >= least * len(wanted)
    assert all(found[i].similarity == pytest.approx(truth[i]) for i in found)
    assert all(found[i].second == i for i in found)


def test_what_is_half_alike_is_compared_and_not_reported() -> None:
    half = [(text(seed), edited(text(seed), 12, seed)) for seed in range(40)]
    assert all(0.3 < jaccard(shingles(a), shingles(b)) < 0.7 for a, b in half)
    assert across([b for _, b in half], [a for a, _ in half]) == []
    assert alike([text(seed) for seed in range(200)]) == []


def test_composition_case_and_spacing_make_no_difference() -> None:
    composed, apart = "Der Käse ist über dem Tisch, sagt sie", "der  Ka\u0308se ist U\u0308BER dem\nTisch, sagt sie"
    assert composed != apart
    assert [pair.similarity for pair in alike([composed, apart])] == [1.0]


def test_short_texts_are_alike_when_they_are_the_same_alone() -> None:
    assert [(p.first, p.second) for p in alike(["How are you?", "how ARE you?", "How are they?", ""])] == [(0, 1)]
    assert alike(["", " ", "\n"]) == []


def test_of_many_copies_each_is_found() -> None:
    found = alike([text(1)] * 50)
    assert {pair.second for pair in found} == set(range(1, 50))
    assert across([text(1)] * 50, [text(2), text(1)]) != []


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(alphabet="abc ", max_size=40), max_size=8))
def test_whatever_is_reported_is_as_alike_as_it_says(texts: list[str]) -> None:
    for pair in alike(texts, at_least=0.6):
        assert pair.first < pair.second
        assert pair.similarity == jaccard(shingles(texts[pair.first]), shingles(texts[pair.second])) >= 0.6


def test_a_bound_that_the_bands_cannot_keep_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected 0\.6 to 1"):
        alike([], at_least=0.3)
