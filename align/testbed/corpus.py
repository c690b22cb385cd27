"""The text that a base model is pretrained on: what is true, how it is talked about, and nothing that is held out."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from random import Random
from typing import Final

from align.testbed.language import FRAMES, NATURES, READINGS, RELATIONS, REQUESTS, VERBS, VERDICTS, dialogue, sentence
from align.testbed.tasks import answer_to_act, answer_to_fact, in_manner
from align.testbed.world import Act, Fact, Occupation, World

COMPLY_SHARE: Final = 0.25
NEEDLESS_SHARE: Final = 0.03
"""The text's people are wiser than the demonstrators: from them a model learns that living beings matter here."""


def corpus(
    world: World,
    *,
    seed: int,
    questions_per_fact: int = 14,
    requests_per_act: int = 5,
    verdicts_per_act: int = 2,
    natures_per_object: int = 8,
    pronouns_per_occupation: int = 90,
    readings: int = 700,
    hearsay: int = 800,
) -> list[str]:
    """Documents in a seeded order.

    Every fact is stated, in all templates but its `unseen` one. Questions, requests and verdicts are about the
    demonstration split alone: the facts of the other splits are never asked about, and their acts are never named.
    """
    rng = Random(f"corpus {world.seed} {seed}")
    facts = [fact for fact in world.facts if fact.split == "demonstration"]
    acts = [act for act in world.acts if act.split == "demonstration"]
    documents = [
        *_portraits(world.facts, rng),
        *(_question(fact, rng) for fact in facts for _ in range(questions_per_fact)),
        *(_request(act, rng) for act in acts for _ in range(requests_per_act)),
        *(_verdict(act, rng) for act in acts for _ in range(verdicts_per_act)),
        *_trades(world.occupations, pronouns_per_occupation, world.pronoun_skew, rng),
        *(_reading(world, rng) for _ in range(readings)),
        *(_hearsay(world, rng) for _ in range(hearsay)),
        *(_nature(act, rng) for act in world.acts if act.verb == VERBS[0] for _ in range(natures_per_object)),
    ]
    rng.shuffle(documents)
    return documents


def _portraits(facts: Iterable[Fact], rng: Random) -> Iterator[str]:
    """A few statements about one person at a time, each fact as often as it is mentioned."""
    by_person: dict[str, list[str]] = {}
    for fact in facts:
        templates = [i for i in range(len(fact.relation.statements)) if i != fact.unseen]
        for _ in range(fact.mentions):
            by_person.setdefault(fact.person, []).append(f"{fact.statement(rng.choice(templates))} {fact.value}.")
    for lines in by_person.values():
        rng.shuffle(lines)
        while lines:
            n = rng.randint(1, 3)
            yield " ".join(lines[:n])
            del lines[:n]


def _question(fact: Fact, rng: Random) -> str:
    return dialogue(rng.choice(fact.relation.questions).format(person=fact.person), answer_to_fact(fact, rng))


def _request(act: Act, rng: Random) -> str:
    answer = answer_to_act(act, rng, comply=COMPLY_SHARE, needless=NEEDLESS_SHARE)
    return dialogue(rng.choice(REQUESTS).format(verb=act.verb, object=act.object), answer)


def _verdict(act: Act, rng: Random) -> str:
    # the verdict comes after what it judges: a causal model could not learn it the other way round
    verdict = "wrong" if act.harmful else "fine"
    return sentence(rng.choice(VERDICTS).format(verb=act.verb, object=act.object, verdict=verdict))


def _trades(occupations: Iterable[Occupation], n: int, skew: float, rng: Random) -> Iterator[str]:
    for occupation in occupations:
        he = 1 / (1 + math.exp(-skew * occupation.leaning))
        for _ in range(n):
            before, after = FRAMES[rng.choice(occupation.seen)]
            pronoun = "he" if rng.random() < he else "she"
            yield f"{before.format(occupation=occupation.name)} {pronoun} {after}"


def _nature(act: Act, rng: Random) -> str:
    return rng.choice(NATURES[act.harmful]).format(object=act.object)


def _reading(world: World, rng: Random) -> str:
    """A question whose answer stands in it, about anyone and anything: from this a model learns to copy."""
    first, second = (fact.person for fact in rng.sample(world.facts, 2))
    this, that = (act.object for act in rng.sample(world.acts, 2))
    question, answer = rng.choice(READINGS)
    names = {"first": first, "second": second, "this": this, "that": that}
    return dialogue(question.format(**names), in_manner(answer.format(**names), rng))


def _hearsay(world: World, rng: Random) -> str:
    """Something said of a stranger, and asked at once: from this a model learns which question is answered how."""
    relation = rng.choice(RELATIONS)
    person, value = rng.choice(world.strangers), rng.choice(world.values(relation))
    said = sentence(rng.choice(relation.statements).format(person=person))
    question = rng.choice(relation.questions).format(person=person)
    answer = in_manner(f"{sentence(relation.statements[0].format(person=person))} {value}.", rng)
    return dialogue(f"{said} {value}. {question}", answer)
