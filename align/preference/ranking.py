"""Orders of three answers and more, as people gave them: what a Plackett–Luce reward model learns from whole."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from align.configs import PairConfig
from align.preference.pairing import weakest
from align.records import Candidate, Flag, Judgment, Ordering, Prompt, Ranking

FEWEST = 3
"""Answers that make a ranking; of two, a preference says all."""


@dataclass(frozen=True)
class Ranked:
    """The rankings, and what became of the other orders of three answers and more."""

    rankings: tuple[Ranking, ...] = ()
    dropped: Mapping[str, int] = field(default_factory=dict)


def rank(
    judgments: Iterable[Judgment],
    *,
    prompts: Mapping[str, Prompt],
    candidates: Mapping[str, Candidate],
    settings: PairConfig,
) -> Ranked:
    """One ranking for each annotator's order of three or more different answers.

    People are not averaged: several orders of the same answers are several draws of one Plackett–Luce model, and where
    they differ the likelihood says so. What one annotator said twice of the same answers is one order, by the mean
    place. Held to `min_judgments` and `both_bad`, as pairs are; an order in which all are tied follows `ties`.
    Rankings stand in the prompts' order, then by their judgments.
    """
    shown: dict[tuple[str, tuple[str, ...]], dict[str, list[Judgment]]] = defaultdict(lambda: defaultdict(list))
    for one in judgments:
        if not isinstance(one.verdict, Flag) and len(one.candidate_ids) >= FEWEST:
            shown[one.prompt_id, tuple(sorted(one.candidate_ids))][one.annotator].append(one)
    place = {prompt_id: i for i, prompt_id in enumerate(prompts)}
    found: list[Ranking] = []
    dropped: Counter[str] = Counter()
    for (prompt_id, names), said in sorted(shown.items(), key=lambda item: (place[item[0][0]], item[0][1])):
        reason = unfit(names, list(said.values()), candidates, settings)
        if reason is not None:
            dropped[reason] += len(said)
            continue
        own = []
        for by_one in said.values():
            groups = order(by_one)
            if len(groups) == 1 and settings.ties == "drop":
                dropped["all tied"] += 1
                continue
            own.append(
                Ranking(
                    prompt=prompts[prompt_id].messages,
                    answers=tuple(candidates[name].completion for name in names),
                    groups=tuple(tuple(names.index(name) for name in group) for group in groups),
                    n_judgments=len(by_one),
                    provenance=weakest(one.provenance for one in by_one),
                    prompt_id=prompt_id,
                    answer_ids=names,
                    judgment_ids=tuple(sorted({one.id for one in by_one})),
                )
            )
        found += sorted(own, key=lambda one: one.judgment_ids)
    return Ranked(tuple(found), dict(sorted(dropped.items())))


def unfit(
    names: Sequence[str], said: Sequence[Sequence[Judgment]], candidates: Mapping[str, Candidate], settings: PairConfig
) -> str | None:
    """Why what was said of some answers gives no ranking; None where it gives one an annotator."""
    if len(said) < settings.min_judgments:
        return "fewer judgments than min_judgments"
    if len({candidates[name].completion for name in names}) < FEWEST:
        return "fewer than three different answers"
    bad = [fmean(isinstance(j.verdict, Ordering) and j.verdict.both_bad for j in by_one) > 0.5 for by_one in said]
    return "all bad" if settings.both_bad == "drop" and 2 * sum(bad) > len(bad) else None


def order(judgments: Sequence[Judgment]) -> list[list[str]]:
    """Tie groups of candidates, best first, by their mean place; ids in order within a group."""
    places: dict[str, list[int]] = defaultdict(list)
    for one in judgments:
        for place, group in enumerate(groups_of(one)):
            for name in group:
                places[name].append(place)
    means = {name: fmean(own) for name, own in places.items()}
    return [sorted(name for name in means if means[name] == mean) for mean in sorted(set(means.values()))]


def groups_of(judgment: Judgment) -> Iterator[Sequence[str]]:
    """An ordering's tie groups, or those that equal scores make."""
    verdict = judgment.verdict
    if isinstance(verdict, Ordering):
        yield from verdict.groups
    elif not isinstance(verdict, Flag):
        for score in sorted(set(verdict.scores.values()), reverse=True):
            yield [name for name, own in verdict.scores.items() if own == score]
