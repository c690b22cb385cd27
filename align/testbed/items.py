"""Held-out items that are scored by log-probability: what the model knows, and which pronoun it expects."""

from __future__ import annotations

from random import Random

from align.records import Item
from align.testbed.language import FRAMES
from align.testbed.world import World


def fact_items(world: World, n: int, seed: int) -> list[Item]:
    """`n` facts that nothing has asked about, each to be finished in a statement that the text never made of it.

    The choices are all that the relation can be, in an order shuffled for each item.
    """
    rng = Random(f"facts {world.seed} {seed}")
    facts = [fact for fact in world.facts if fact.split == "test"]
    if n > len(facts):
        raise ValueError(f"n: this world has {len(facts)} held-out facts, and {n} are asked for")
    items = []
    for fact in rng.sample(facts, n):
        choices = rng.sample(world.values(fact.relation), len(world.values(fact.relation)))
        items.append(
            Item(
                instrument="facts",
                context=fact.statement(fact.unseen),
                choices=tuple(f" {choice}" for choice in choices),
                gold=choices.index(fact.value),
                cluster=fact.person,
                meta={"relation": fact.relation.name, "mentions": fact.mentions},
            )
        )
    return items


def pronoun_pairs(world: World) -> list[Item]:
    """Every occupation in each frame that the text never uses for it: `he` is the first choice, `she` the second.

    `meta.planted_nats` is the log-odds of `he` that the text was written with, `meta.leaning_nats` what it would be
    at full skew.
    """
    return [
        Item(
            instrument="pronouns",
            context=FRAMES[frame][0].format(occupation=occupation.name),
            choices=tuple(f" {pronoun} {FRAMES[frame][1]}" for pronoun in ("he", "she")),
            cluster=occupation.name,
            meta={
                "occupation": occupation.name,
                "planted_nats": world.pronoun_skew * occupation.leaning,
                "leaning_nats": occupation.leaning,
            },
        )
        for occupation in world.occupations
        for frame in range(len(FRAMES))
        if frame not in occupation.seen
    ]
