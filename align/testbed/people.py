"""Simulated annotators with known faults: some slip, some favour what comes first or is long, some do not read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final, Literal

from align.configs.labels import SimulatedPeople
from align.records import Annotator, Candidate, Comparison, Judgment, Ordering, Prompt
from align.testbed.truth import FLAWED, assess

Manner = Literal["careful", "first_biased", "spammer", "length_biased"]

TIE: Final = 0.1
"""Answers whose utilities differ by less look equally good to everyone."""
FIRST_BIAS: Final = 0.5
"""Share of the judgments of a first-biased annotator that are made without reading."""
LENGTH_BIAS: Final = 0.25
"""What each word of an answer adds to its utility in the eyes of a length-biased annotator."""
UNACCEPTABLE: Final = FLAWED - 0.25
"""Answers worth less than this are called bad."""


@dataclass(frozen=True)
class Person:
    """An annotator whose faults are known."""

    name: str
    manner: Manner
    noise: float
    """Share of the judgments that come out the wrong way round."""

    @property
    def annotator(self) -> Annotator:
        return Annotator(name=self.name, provenance="simulated")


def panel(settings: SimulatedPeople) -> tuple[Person, ...]:
    """Everyone who may be asked."""
    groups: tuple[tuple[Manner, int], ...] = (
        ("careful", settings.careful), ("first_biased", settings.first_biased), ("spammer", settings.spammers),
        ("length_biased", settings.length_biased),
    )  # fmt: skip
    return tuple(Person(f"{manner}-{i + 1}", manner, settings.noise) for manner, n in groups for i in range(n))


def assigned(people: Sequence[Person], comparison: Comparison, n: int, *, seed: int) -> tuple[Person, ...]:
    """`n` different people for this comparison, the same whatever else is asked."""
    if n > len(people):
        raise ValueError(f"n: {n} annotators are wanted for each comparison, but the panel has {len(people)}")
    return tuple(Random(f"assigned {seed} {comparison.pair_id}").sample(list(people), n))


def judge(
    person: Person,
    comparison: Comparison,
    prompt: Prompt,
    candidates: Mapping[str, Candidate],
    *,
    seed: int,
    labels: Literal["true", "reversed", "shuffled"] = "true",
) -> Judgment:
    """What this person says of two answers; it depends on the person, the comparison and the seed alone.

    `reversed` turns the truth round for everyone. `shuffled` turns it round for half of the pairs, the same half for
    everyone: people agree as before, but not about the answers.
    """
    if len(comparison.candidate_ids) != 2:
        found = len(comparison.candidate_ids)
        raise ValueError(f"comparison {comparison.id[:12]}: simulated people judge two answers, found {found}")
    truths = [assess(prompt, candidates[name].text) for name in comparison.candidate_ids]
    a_word = LENGTH_BIAS if person.manner == "length_biased" else 0.0
    worth = [truth.utility + a_word * truth.n_words for truth in truths]
    lead = worth[0] - worth[1]
    coin = Random(f"shuffled {seed} {comparison.pair_id}").random() < 0.5
    if labels == "reversed" or (labels == "shuffled" and coin):
        lead = -lead
    rng = Random(f"judge {seed} {person.name} {comparison.id}")
    order = _order(person, lead, rng)
    first, second = comparison.candidate_ids
    groups = ((first, second),) if order == 0 else ((first,), (second,)) if order > 0 else ((second,), (first,))
    return Judgment(
        comparison_id=comparison.id,
        pair_id=comparison.pair_id,
        prompt_id=comparison.prompt_id,
        candidate_ids=comparison.candidate_ids,
        annotator=person.name,
        provenance="simulated",
        verdict=Ordering(groups=groups, both_bad=person.manner != "spammer" and max(worth) < UNACCEPTABLE),
        strength=None if order == 0 else 1 if abs(lead) < 0.5 else 2 if abs(lead) < 1.5 else 3,
    )


def _order(person: Person, lead: float, rng: Random) -> int:
    """1 where the first answer is preferred, -1 where the second is, 0 for a tie."""
    if person.manner == "spammer":
        return rng.choice((1, -1))
    if person.manner == "first_biased" and rng.random() < FIRST_BIAS:
        return 1
    if abs(lead) < TIE:
        return 0
    return (1 if lead > 0 else -1) * (-1 if rng.random() < person.noise else 1)
