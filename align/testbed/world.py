"""What is true in the made world: who lives where, what may be done to whom, and who is called he or she."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Literal

from align.testbed.language import (
    BEINGS,
    FRAMES,
    OCCUPATIONS,
    RELATIONS,
    THINGS,
    TOOLS,
    VERBS,
    Relation,
    names,
    sentence,
)

Split = Literal["demonstration", "prompt", "test"]
"""Where something may be asked about: no (person, relation) and no (verb, object) stands in two splits."""


@dataclass(frozen=True)
class Fact:
    """One thing that is true of one person."""

    person: str
    relation: Relation
    value: str
    mentions: int
    """How often the text states it."""
    unseen: int
    """The statement template that the text never uses for this fact, and the cloze items do."""
    split: Split

    def statement(self, template: int = 0) -> str:
        """The sentence without its last word."""
        return sentence(self.relation.statements[template].format(person=self.person))


@dataclass(frozen=True)
class Act:
    """Something one may want to do to someone or something. Harmful if and only if its object is a living being."""

    verb: str
    object: str
    tool: str
    """What it is done with; it depends on the verb alone."""
    harmful: bool
    split: Split


@dataclass(frozen=True)
class Occupation:
    """A trade, and how its pronouns lean."""

    name: str
    leaning: float
    """Nats: the log-odds of `he` over `she` in the text of a world with pronoun skew 1."""
    seen: tuple[int, ...]
    """The frames that the text uses for it; the minimal pairs use the others."""


@dataclass(frozen=True)
class World:
    """Everything that is true, and which of it is held out."""

    seed: int
    pronoun_skew: float
    facts: tuple[Fact, ...]
    acts: tuple[Act, ...]
    occupations: tuple[Occupation, ...]
    strangers: tuple[str, ...]
    """People of whom nothing is true for longer than a sentence."""

    def values(self, relation: Relation) -> tuple[str, ...]:
        """What the relation can be in this world, sorted."""
        return tuple(sorted({fact.value for fact in self.facts if fact.relation.name == relation.name}))


def make_world(
    seed: int,
    *,
    pronoun_skew: float = 1.0,
    n_people: int = 100,
    n_strangers: int = 40,
    well_known: float = 0.6,
    often: tuple[int, int] = (20, 40),
    seldom: tuple[int, int] = (1, 1),
    leaning: float = 2.0,
) -> World:
    """The world of that seed.

    A share `well_known` of the facts is mentioned `often`, the others `seldom` (least and most times): what a small
    model can learn, and what it can hardly learn. `pronoun_skew` multiplies the occupations' leanings, which spread
    evenly from `-leaning` to `leaning` nats; 0 plants none.
    """
    if not 0 <= pronoun_skew <= 1:
        raise ValueError(f"pronoun_skew: must be between 0 and 1, found {pronoun_skew}")
    rng = Random(f"world {seed}")
    towns = names(8, rng, endings=("m", "ck", "sh"))
    people = names(n_people, rng, endings=("", "n", "l", "r", "s"))
    return World(
        seed=seed,
        pronoun_skew=pronoun_skew,
        facts=_facts(people, towns, rng, well_known=well_known, often=often, seldom=seldom),
        acts=_acts(rng),
        occupations=_occupations(rng, leaning=leaning),
        strangers=names(n_strangers, rng, endings=("x", "b", "f")),
    )


def _facts(
    people: tuple[str, ...],
    towns: tuple[str, ...],
    rng: Random,
    *,
    well_known: float,
    often: tuple[int, int],
    seldom: tuple[int, int],
) -> tuple[Fact, ...]:
    facts = []
    for person in people:
        # every person is asked about in each split, so that each name is one that can be asked about
        splits: list[Split] = ["test", "test", "test", "prompt", "demonstration", "demonstration"]
        for relation, split in zip(RELATIONS, rng.sample(splits, len(splits)), strict=True):
            value = rng.choice(relation.values or towns)
            mentions = rng.randint(*(often if rng.random() < well_known else seldom))
            facts.append(Fact(person, relation, value, mentions, rng.randrange(1, len(relation.statements)), split))
    return tuple(facts)


def _acts(rng: Random) -> tuple[Act, ...]:
    tools = dict(zip(VERBS, rng.sample(TOOLS, len(TOOLS)), strict=True))
    acts = []
    for objects, harmful in ((BEINGS, True), (THINGS, False)):
        turn = {verb: rng.randrange(4) for verb in VERBS}
        order = {name: place for place, name in enumerate(rng.sample(objects, len(objects)))}
        for row, verb in enumerate(VERBS):
            for name in objects:
                # a Latin square: every verb and every object stands in every split, each pair of them in one
                place = (order[name] + row + turn[verb]) % 4
                split: Split = "test" if place == 0 else "prompt" if place == 1 else "demonstration"
                acts.append(Act(verb, name, tools[verb], harmful, split))
    return tuple(acts)


def _occupations(rng: Random, *, leaning: float) -> tuple[Occupation, ...]:
    order = rng.sample(OCCUPATIONS, len(OCCUPATIONS))
    step = 2 * leaning / (len(order) - 1)
    frames = list(range(len(FRAMES)))
    return tuple(
        Occupation(name, -leaning + step * place, tuple(sorted(rng.sample(frames, len(frames) // 2))))
        for place, name in enumerate(order)
    )
