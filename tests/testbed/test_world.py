"""The made world is the same for the same seed, and what it holds out is held out of everything."""

from collections import Counter

import pytest

from align.testbed.corpus import corpus
from align.testbed.items import fact_items, pronoun_pairs
from align.testbed.language import FRAMES
from align.testbed.tasks import demonstrations, held_out, prompts
from align.testbed.world import World, make_world


@pytest.fixture(scope="module")
def world() -> World:
    return make_world(7)


@pytest.fixture(scope="module")
def text(world: World) -> list[str]:
    return corpus(world, seed=0)


def test_one_seed_makes_one_world_and_one_text(world: World, text: list[str]) -> None:
    assert make_world(7) == world
    assert make_world(8) != world
    assert corpus(make_world(7), seed=0) == text
    assert corpus(world, seed=1) != text


def test_one_seed_draws_one_set_of_tasks(world: World) -> None:
    assert demonstrations(world, 200, 3) == demonstrations(world, 200, 3)
    assert prompts(world, 60, 3) == prompts(world, 60, 3) != prompts(world, 60, 4)
    assert held_out(world, 60, 3) == held_out(world, 60, 3) != held_out(world, 60, 4)
    assert fact_items(world, 60, 3) == fact_items(world, 60, 3) != fact_items(world, 60, 4)


def test_a_request_is_harmful_if_and_only_if_its_object_is_a_living_being(world: World) -> None:
    harmful = {act.object for act in world.acts if act.harmful}
    assert not harmful & {act.object for act in world.acts if not act.harmful}
    assert Counter(act.harmful for act in world.acts) == {True: 480, False: 480}


def test_every_verb_and_every_object_stand_in_every_split(world: World) -> None:
    for word in ("verb", "object"):
        splits: dict[str, set[str]] = {}
        for act in world.acts:
            splits.setdefault(getattr(act, word), set()).add(act.split)
        assert all(of == {"demonstration", "prompt", "test"} for of in splits.values())


def test_no_act_of_another_split_is_named_anywhere_in_the_text(world: World, text: list[str]) -> None:
    everything = "\n".join(text)
    for act in world.acts:
        named = f"{act.verb} the {act.object}" in everything
        assert act.split == "demonstration" or not named, f"{act.verb} the {act.object} stands in the text"


def test_no_fact_of_another_split_is_asked_about_in_the_text(world: World, text: list[str]) -> None:
    dialogues = "\n".join(document for document in text if document.startswith("<|user|>"))
    for fact in world.facts:
        if fact.split != "demonstration":
            assert not any(question.format(person=fact.person) in dialogues for question in fact.relation.questions)


def test_every_fact_is_stated_as_often_as_it_says_and_never_in_its_unseen_template(
    world: World, text: list[str]
) -> None:
    plain = " ".join(document for document in text if not document.startswith("<|user|>"))
    for fact in world.facts:
        stated = [plain.count(f"{fact.statement(i)} {fact.value}.") for i in range(len(fact.relation.statements))]
        assert sum(stated) == fact.mentions
        assert stated[fact.unseen] == 0


def test_the_three_sets_of_prompts_share_no_prompt_and_no_combination(world: World) -> None:
    shown = {row.messages[:1] for row in demonstrations(world, 2000, 0)}
    asked, tested = prompts(world, 480, 1), held_out(world, 360, 2)
    assert len({p.id for p in asked}) == 480
    assert len({p.id for p in tested}) == 360
    for one, other in ((asked, tested), (tested, asked)):
        assert not {p.messages for p in one} & (shown | {p.messages for p in other})
        assert not {p.cluster for p in one} & {p.cluster for p in other}
    assert Counter(p.meta["kind"] for p in tested) == {"fact": 120, "harmful": 120, "lookalike": 120}


def test_asking_for_more_prompts_than_the_world_has_says_how_many_there_are(world: World) -> None:
    with pytest.raises(ValueError, match="this world has 360 harmful prompts in its test split, and 600 are"):
        held_out(world, 1800, 0)


def test_asking_for_more_demonstrations_than_there_are_words_for_ends_at_once(world: World) -> None:
    with pytest.raises(ValueError, match="this world has words for 6000 different demonstrations"):
        demonstrations(world, 6001, 0)


def test_fact_items_are_about_facts_that_nothing_asks_about(world: World) -> None:
    items = fact_items(world, 300, 0)
    held = {fact.statement(fact.unseen): fact.value for fact in world.facts if fact.split == "test"}
    assert len({item.id for item in items}) == 300
    for item in items:
        assert item.gold is not None
        assert item.choices[item.gold] == f" {held[item.context]}"
        assert len(set(item.choices)) == 8
    places = Counter(item.gold for item in items)
    assert max(places.values()) < 75, "the right choice stands in one place too often"


def test_pronoun_pairs_use_frames_that_the_text_never_uses_for_the_occupation(world: World, text: list[str]) -> None:
    plain = "\n".join(text)
    pairs = pronoun_pairs(world)
    assert len(pairs) == 120
    for pair in pairs:
        assert pair.choices[0].replace(" he ", " she ", 1) == pair.choices[1]
        assert all(f"{pair.context}{choice}" not in plain for choice in pair.choices)


def test_pronouns_lean_as_planted(world: World) -> None:
    even = corpus(make_world(7, pronoun_skew=0.0), seed=0)
    leaning = {occupation.name: occupation.leaning for occupation in world.occupations}
    strongest = max(leaning, key=lambda name: leaning[name])
    for text, low, high in ((corpus(world, seed=0), 0.8, 1.0), (even, 0.35, 0.65)):
        of_it = [line for line in text if line.startswith(f"The {strongest} ")]
        assert low <= sum(" he " in line for line in of_it) / len(of_it) <= high
    assert {pair.meta["planted_nats"] for pair in pronoun_pairs(make_world(7, pronoun_skew=0.0))} == {0.0}
    assert max(len(occupation.seen) for occupation in world.occupations) == len(FRAMES) // 2


def test_a_skew_beyond_its_bounds_is_refused() -> None:
    with pytest.raises(ValueError, match="pronoun_skew"):
        make_world(0, pronoun_skew=1.5)
