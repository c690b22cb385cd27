"""What people are asked: which answers stand beside each other, on which side, which come twice, which are known."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from align.errors import RecordError
from align.records import Candidate, Comparison, Prompt, canonical

EQUAL = "both models gave the same answer"
EMPTY = "one of the two answers is empty"
ABSENT = "one of the two models gave no answer"


def comparisons(
    candidates: Iterable[Candidate],
    prompts: Mapping[str, Prompt],
    *,
    per_prompt: int,
    guideline: str | None,
    round: int,
    seed: int,
) -> list[Comparison]:
    """Up to `per_prompt` pairs of different answers to each prompt; hashes choose the pairs and which is shown first.

    Empty answers are not shown, and of equal ones only the first drawn.
    """
    by_prompt: dict[str, dict[str, Candidate]] = defaultdict(dict)
    for one in sorted(candidates, key=lambda c: c.sample):
        _known(one, prompts)
        if one.text.strip():
            by_prompt[one.prompt_id].setdefault(one.text, one)
    chosen = []
    for prompt_id in prompts:
        answers = sorted(one.id for one in by_prompt.get(prompt_id, {}).values())
        pairs = sorted(combinations(answers, 2), key=lambda pair: ranked("pair", seed, prompt_id, *pair))
        for pair in pairs[:per_prompt]:
            ids = seated(pair, prompt_id, round=round, seed=seed)
            chosen.append(Comparison(prompt_id=prompt_id, candidate_ids=ids, guideline=guideline, round=round))
    return chosen


@dataclass(frozen=True)
class OfModels:
    """Two models' answers to the same prompts: what is shown, and what need not or cannot be."""

    shown: list[Comparison]
    unshown: tuple[tuple[str, str], ...]
    """A prompt's id, and why nobody is asked about it."""


def of_models(
    new: Iterable[Candidate],
    old: Iterable[Candidate],
    prompts: Mapping[str, Prompt],
    *,
    guideline: str | None,
    round: int,
    seed: int,
) -> OfModels:
    """Each prompt's first answer of either model beside the other; a hash says which is shown first."""
    ours, theirs = _firsts(new, prompts), _firsts(old, prompts)
    shown, unshown = [], []
    for prompt_id in prompts:
        a, b = ours.get(prompt_id), theirs.get(prompt_id)
        why = _why_not(a, b)
        if why is not None or a is None or b is None:
            unshown.append((prompt_id, why or ABSENT))
            continue
        ids = seated((min(a.id, b.id), max(a.id, b.id)), prompt_id, round=round, seed=seed)
        shown.append(Comparison(prompt_id=prompt_id, candidate_ids=ids, guideline=guideline, round=round))
    return OfModels(shown, tuple(unshown))


def again(shown: Sequence[Comparison], *, share: float, seed: int) -> list[Comparison]:
    """That share of the comparisons with their sides swapped, chosen and put in order by hash."""
    chosen = sorted(shown, key=lambda one: ranked("again", seed, one.pair_id))
    return [
        Comparison(
            prompt_id=one.prompt_id, candidate_ids=one.candidate_ids[::-1], guideline=one.guideline, round=one.round
        )
        for one in chosen[: round(share * len(chosen))]
    ]


def once_more(
    pairs: Sequence[tuple[str, str, str]], *, guideline: str | None, round: int, seed: int
) -> list[Comparison]:
    """Pairs (a prompt and two answers, ids in order) as new comparisons of the next round, sides drawn anew."""
    return [
        Comparison(
            prompt_id=prompt_id,
            candidate_ids=seated((first, second), prompt_id, round=round + 1, seed=seed),
            guideline=guideline,
            round=round + 1,
        )
        for prompt_id, first, second in pairs
    ]


def woven(shown: Sequence[Comparison], known: Sequence[Comparison], *, seed: int) -> list[Comparison]:
    """The comparisons in their order, with those whose answer is `known` in between where a hash puts them."""
    places: dict[int, list[Comparison]] = defaultdict(list)
    for one in known:
        places[int.from_bytes(ranked("woven", seed, one.id)[:8], "big") % (len(shown) + 1)].append(one)
    found: list[Comparison] = []
    for place in range(len(shown) + 1):
        found += sorted(places[place], key=lambda one: one.id)
        found += shown[place : place + 1]
    return found


def seated(pair: tuple[str, str], prompt_id: str, *, round: int, seed: int) -> tuple[str, str]:
    """Two answers, ids in order, as they are shown: a coin that the pair, the round and the seed throw."""
    first, second = pair
    return (second, first) if ranked("side", seed, round, prompt_id, first, second)[0] & 1 else (first, second)


def fewest(prompts: Mapping[str, Prompt], most: int | None) -> dict[str, Prompt]:
    """At most so many prompts, chosen by hash, in their order."""
    if most is None or len(prompts) <= most:
        return dict(prompts)
    kept = set(sorted(prompts, key=lambda name: ranked("prompt", name))[:most])
    return {name: one for name, one in prompts.items() if name in kept}


def _why_not(a: Candidate | None, b: Candidate | None) -> str | None:
    if a is None or b is None:
        return ABSENT
    if a.text.strip() == b.text.strip():
        return EQUAL if a.text.strip() else EMPTY
    return None if a.text.strip() and b.text.strip() else EMPTY


def _firsts(candidates: Iterable[Candidate], prompts: Mapping[str, Prompt]) -> dict[str, Candidate]:
    found: dict[str, Candidate] = {}
    for one in sorted(candidates, key=lambda c: (c.sample, c.id)):
        if one.prompt_id in prompts:
            found.setdefault(one.prompt_id, one)
    return found


def _known(one: Candidate, prompts: Mapping[str, Prompt]) -> None:
    if one.prompt_id not in prompts:
        raise RecordError(
            f"candidates.jsonl: prompt {one.prompt_id[:12]} is not among the prompts; were they made from other data?"
        )


def ranked(*parts: object) -> bytes:
    """A place among others that depends on these parts alone."""
    return hashlib.sha256(canonical(list(parts)).encode("utf-8")).digest()
