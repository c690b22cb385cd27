"""Each fault is found by its monitor, careful people are left alone, and many monitors of many people cry no wolf."""

from __future__ import annotations

from random import Random

import pytest
from scipy.stats import binom
from statsmodels.stats.multitest import multipletests

from align.configs import SimulatedPeople
from align.preference import people
from align.preference.annotators import annotators, wilson
from align.preference.suspects import RULES, at_least_p, at_most_p, holm, suspects
from align.records import Comparison, Judgment, Ordering
from tests.preference.made_judgments import judged

ANSWERS = ("short", "long")
LENGTHS = {f"{i}{name}": 12 if name == "short" else 40 for i in range(400) for name in ANSWERS}


def said(name: str, i: int, winner: int | None, *, turned: bool = False, **more: object) -> Judgment:
    """Of pair `i`, 0 for the short answer and 1 for the long one."""
    ids = (f"{i}short", f"{i}long")
    shown = ids[::-1] if (Random(i).random() < 0.5) != turned else ids
    one = Comparison(prompt_id=f"p{i}", candidate_ids=shown)
    groups = (shown,) if winner is None else ((ids[winner],), (ids[1 - winner],))
    return Judgment(
        comparison_id=one.id, pair_id=one.pair_id, prompt_id=one.prompt_id, candidate_ids=shown, annotator=name,
        provenance="human", verdict=Ordering(groups=groups), **more,
    )  # fmt: skip


def better(i: int) -> int:
    return int(Random(f"better {i}").random() < 0.5)


def careful(name: str, i: int, **more: object) -> Judgment:
    slip = Random(f"{name} {i}").random() < 0.1
    return said(name, i, better(i) if not slip else 1 - better(i), **more)  # type: ignore[arg-type]


def found_in(judgments: list[Judgment], **more: object) -> dict[str, set[str]]:
    records = annotators(judgments, lengths=LENGTHS, **more)  # type: ignore[arg-type]
    return {name: {fault.monitor for fault in faults} for name, faults in suspects(records).items()}


PANEL = [careful(name, i) for i in range(200) for name in ("ana", "ben", "cyd")]


def test_people_who_read_are_left_alone() -> None:
    assert found_in(PANEL) == {}


def test_who_likes_length_is_told_from_the_others_by_where_they_differ() -> None:
    greedy = [said("dee", i, 1 if Random(f"dee {i}").random() < 0.6 else better(i)) for i in range(200)]
    assert "length" in found_in(PANEL + greedy)["dee"]
    longer_is_better = [said(name, i, 1) for i in range(200) for name in ("ana", "ben", "cyd")]
    assert found_in(longer_is_better) == {}, "where all of them take the longer one, it may be the better one"


def test_a_spammer_says_much_the_same_whatever_is_shown() -> None:
    coin = Random(5)
    assert found_in(PANEL + [said("dee", i, coin.randrange(2)) for i in range(200)])["dee"] >= {"others", "tells"}


def test_a_script_may_be_faster_than_anybody_reads() -> None:
    fast = [careful("dee", i, seconds=0.8).model_copy(update={"provenance": "simulated"}) for i in range(60)]
    assert found_in(PANEL + fast) == {}


def test_who_is_faster_than_anybody_reads_is_named_by_stamps_or_by_seconds() -> None:
    fast = [careful("dee", i, seconds=0.8) for i in range(60)]
    slow = [careful("eve", i, seconds=9.0) for i in range(60)]
    assert found_in(PANEL + fast + slow) == {"dee": {"pace"}}
    stamped = [careful("dee", i, created_at=f"2026-01-01T10:{i // 60:02}:{i % 60:02}+00:00") for i in range(200)]
    assert found_in(PANEL + stamped)["dee"] == {"pace"}
    (record,) = [r for r in annotators(PANEL + stamped, lengths=LENGTHS) if r.name == "dee"]
    assert (record.seconds, record.hasty.n) == (1.0, 199)


def test_who_says_another_thing_when_sides_are_swapped_contradicts_themselves() -> None:
    again = [careful("ana", i, turned=True) for i in range(60)]
    coin = Random(9)
    torn = [said("dee", i, coin.randrange(2), turned=turned) for i in range(80) for turned in (False, True)]
    found = found_in(PANEL + again + torn)
    assert "consistent" in found["dee"]
    assert "ana" not in found
    (record,) = [r for r in annotators(PANEL + again, lengths=LENGTHS) if r.name == "ana"]
    assert (record.consistent.n, record.consistent.share) == (60, 1.0)


def test_known_answers_count_nowhere_but_for_themselves() -> None:
    gold = [said(name, 300 + i, 1 if name == "ana" else i % 2) for i in range(40) for name in ("ana", "dee")]
    known = {one.comparison_id: f"{300 + i // 2}long" for i, one in enumerate(gold)}
    found = found_in([*PANEL, *(careful("dee", i) for i in range(200))], gold=known, of_gold=gold)
    assert found == {"dee": {"gold"}}
    rows = {one.name: one for one in annotators(PANEL, lengths=LENGTHS, gold=known, of_gold=gold)}
    assert (rows["ana"].gold.n, rows["ana"].gold.share) == (40, 1.0)
    assert rows["ana"].n_judgments == 200
    assert (rows["dee"].gold.share, rows["dee"].n_judgments) == (0.5, 0)


def test_the_made_worlds_spammer_and_first_biased_one_are_found_and_nobody_else() -> None:
    for seed in range(4):
        world = judged(seed)
        found = {
            name: {fault.monitor for fault in faults}
            for name, faults in suspects(annotators(world.judgments, lengths=world.lengths())).items()
        }
        assert set(found) == {"spammer-1", "first_biased-1"}, seed
        assert "side" in found["first_biased-1"]
        assert "others" in found["spammer-1"]


def test_in_clean_worlds_hardly_ever_is_anybody_named() -> None:
    clean = SimulatedPeople(careful=6, first_biased=0, spammers=0, noise=0.2)
    worlds = [judged(seed, n_prompts=40, people=clean) for seed in range(20)]
    named = [suspects(annotators(one.judgments, lengths=one.lengths())) for one in worlds]
    assert sum(map(bool, named)) <= 3, "one in twenty is what the rule allows"


@pytest.mark.parametrize(("k", "n", "p"), [(0, 10, 0.65), (7, 10, 0.65), (10, 10, 0.25), (130, 300, 0.5)])
def test_the_tails_are_the_binomials(k: int, n: int, p: float) -> None:
    assert at_most_p(wilson(k, n), p) == pytest.approx(binom.cdf(k, n, p))
    assert at_least_p(wilson(k, n), p) == pytest.approx(binom.sf(k - 1, n, p))
    assert at_most_p(wilson(0, 0), p) is None


def test_holms_adjustment_is_statsmodels_and_the_documents() -> None:
    p = [0.001, 0.01, 0.02, 0.04, 0.3]
    assert holm(p) == pytest.approx([0.005, 0.04, 0.06, 0.08, 0.3])
    assert holm(p[::-1]) == pytest.approx(list(multipletests(p[::-1], method="holm")[1]))
    assert holm([]) == []


def test_every_monitor_says_its_rule_and_what_is_wrong_with_all_of_it_is_said_too() -> None:
    told = people.told(PANEL, words=LENGTHS)
    assert set(told["monitors"]["rules"]) == set(RULES)
    assert told["warnings"] == []
    alone = people.told([one for one in PANEL if one.annotator == "ana"], words=LENGTHS)
    assert alone["warnings"] == [
        "one annotator, ana, gave all 200 judgments: nobody can say whether others would agree"
    ]
    assert alone["agreement"]["krippendorff_alpha"] is None
    apart = [careful(name, i) for k, name in enumerate(("dee", "eve")) for i in range(200 + 50 * k, 250 + 50 * k)]
    assert (
        "2 of 5 annotators share no pair with anybody: dee, eve"
        in people.told(PANEL + apart, words=LENGTHS)["warnings"]
    )
    most = [careful("ana", i) for i in range(400)] + [careful(n, i) for n in ("ben", "cyd", "dee") for i in range(20)]
    assert people.told(most, words=LENGTHS)["warnings"][0].startswith("ana gave 87% of all judgments")


def test_a_record_of_nobody_is_empty() -> None:
    assert annotators([]) == []
    assert suspects([]) == {}
    assert people.told([], words={})["warnings"] == ["nobody has judged anything"]
