"""What is asked in the made world: demonstrations to imitate, prompts for candidates, and prompts that are held out."""

from __future__ import annotations

from random import Random
from typing import Final

from align.records import Demonstration, Message, Meta, Prompt
from align.testbed.language import (
    COMPLIANCE,
    CURT,
    CURT_REFUSALS,
    POLITE,
    POLITE_REFUSALS,
    REQUESTS,
    TAILS,
    styled,
)
from align.testbed.truth import KINDS
from align.testbed.world import Act, Fact, Split, World

POLITE_SHARE: Final = 0.35
CURT_SHARE: Final = 0.3
LONG_SHARE: Final = 0.3
COMPLY_SHARE: Final = 0.5
"""Of the demonstrations of harmful requests: those that answer them. Preferences are to teach better."""
NEEDLESS_SHARE: Final = 0.06
"""Of the demonstrations of harmless requests: those that refuse them."""
FORMS: Final = len(REQUESTS)
"""How many ways there are to ask about anything."""


def answer_to_fact(fact: Fact, rng: Random) -> str:
    """A true answer in one of the manners that demonstrations mix."""
    return in_manner(f"{fact.statement()} {fact.value}.", rng)


def answer_to_act(act: Act, rng: Random, *, comply: float, needless: float) -> str:
    """A well-formed answer or refusal: a share `comply` helps with harm, a share `needless` refuses without need."""
    if rng.random() < (1 - comply if act.harmful else needless):
        return styled(rng.choice(POLITE_REFUSALS if rng.random() < 0.5 else CURT_REFUSALS), tail=_tail(rng))
    return in_manner(COMPLIANCE.format(tool=act.tool, verb=act.verb, object=act.object), rng)


def in_manner(body: str, rng: Random) -> str:
    """`body` said politely, curtly or plainly, at more or less length."""
    return styled(body, opener=_opener(rng), tail=_tail(rng))


def demonstrations(
    world: World, n: int, seed: int, *, comply: float = COMPLY_SHARE, needless: float = NEEDLESS_SHARE
) -> list[Demonstration]:
    """`n` conversations about the demonstration split, all well formed, mixed in manners and in what they refuse.

    A share `comply` of the harmful requests is answered in them, a share `needless` of the harmless ones refused.
    One conversation may stand in it with different answers, but no row twice.
    """
    rng = Random(f"demonstrations {world.seed} {seed}")
    made: dict[str, Demonstration] = {}
    pools = _pools(world, "demonstration")
    most = 10 * len(KINDS) * min(map(len, pools.values()))
    if n > most:
        raise ValueError(f"n: this world has words for {most} different demonstrations, and {n} are asked for")
    while len(made) < n:
        source = rng.choice(pools[KINDS[len(made) % len(KINDS)]])
        answer = (
            answer_to_fact(source, rng)
            if isinstance(source, Fact)
            else answer_to_act(source, rng, comply=comply, needless=needless)
        )
        turns = (
            Message(role="user", content=_question(source, rng.randrange(FORMS))),
            Message(role="assistant", content=answer),
        )
        row = Demonstration(messages=turns, source="testbed", meta=_truth(world, source))
        made.setdefault(row.id, row)
    return list(made.values())


def prompts(world: World, n: int, seed: int) -> list[Prompt]:
    """`n` different prompts, the kinds in equal parts, about facts and acts that no demonstration names."""
    return _prompts(world, "prompt", n, seed)


def held_out(world: World, n: int, seed: int) -> list[Prompt]:
    """`n` different prompts, the kinds in equal parts, about facts and acts that nothing else asks about."""
    return _prompts(world, "test", n, seed)


def _prompts(world: World, split: Split, n: int, seed: int) -> list[Prompt]:
    rng = Random(f"prompts {split} {world.seed} {seed}")
    asked: list[Prompt] = []
    for place, (kind, pool) in enumerate(_pools(world, split).items()):
        wanted = n // len(KINDS) + (place < n % len(KINDS))
        if wanted > FORMS * len(pool):
            has = f"this world has {FORMS * len(pool)} {kind} prompts in its {split} split"
            raise ValueError(f"n: {has}, and {wanted} are asked for")
        # everything once before anything is asked in a second form
        rounds = [[(source, (turn + i) % FORMS) for i, source in enumerate(pool)] for turn in range(FORMS)]
        ranked = [pair for one in rounds for pair in rng.sample(one, len(one))]
        asked.extend(_prompt(world, source, form) for source, form in ranked[:wanted])
    rng.shuffle(asked)
    return asked


def _prompt(world: World, source: Fact | Act, form: int) -> Prompt:
    return Prompt(
        messages=(Message(role="user", content=_question(source, form)),),
        source="testbed",
        cluster=_cluster(source),
        meta=_truth(world, source),
    )


def _pools(world: World, split: Split) -> dict[str, list[Fact | Act]]:
    return {
        "fact": [fact for fact in world.facts if fact.split == split],
        "harmful": [act for act in world.acts if act.split == split and act.harmful],
        "lookalike": [act for act in world.acts if act.split == split and not act.harmful],
    }


def _question(source: Fact | Act, form: int) -> str:
    if isinstance(source, Fact):
        return source.relation.questions[form].format(person=source.person)
    return REQUESTS[form].format(verb=source.verb, object=source.object)


def _cluster(source: Fact | Act) -> str:
    return f"{source.person} {source.relation.name}" if isinstance(source, Fact) else f"{source.verb} {source.object}"


def _truth(world: World, source: Fact | Act) -> Meta:
    """All that is needed to score an answer without the world."""
    if isinstance(source, Fact):
        return {
            "kind": "fact",
            "stem": source.statement(),
            "expected": source.value,
            "values": list(world.values(source.relation)),
            "mentions": source.mentions,
        }
    return {
        "kind": "harmful" if source.harmful else "lookalike",
        "verb": source.verb,
        "object": source.object,
        "expected": source.tool,
    }


def _opener(rng: Random) -> str:
    draw = rng.random()
    if draw < POLITE_SHARE:
        return rng.choice(POLITE)
    return rng.choice(CURT) if draw < POLITE_SHARE + CURT_SHARE else ""


def _tail(rng: Random) -> str:
    return rng.choice(TAILS) if rng.random() < LONG_SHARE else ""
