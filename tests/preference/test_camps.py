"""Two minds are told from noise, and neither noise nor one contrary person makes two camps."""

from __future__ import annotations

from random import Random

import pytest

from align.configs import SimulatedPeople
from align.preference import people
from align.preference.camps import camps
from align.preference.votes import tally
from align.records import Judgment
from tests.preference.made_judgments import judged
from tests.preference.test_suspects import LENGTHS, better, said


def of_two_minds(n: int, *, care: float = 0.9, contrary: tuple[str, ...] = ("cyd", "dee")) -> list[Judgment]:
    """Four people, of whom some hold the opposite of what the others hold."""
    made = []
    for i in range(n):
        for name in ("ana", "ben", "cyd", "dee"):
            own = better(i) if name not in contrary else 1 - better(i)
            slips = Random(f"{name} {i}").random() > care
            made.append(said(name, i, 1 - own if slips else own))
    return made


def test_two_camps_are_found_with_how_far_they_agree() -> None:
    found = camps(tally(of_two_minds(60)))
    assert found is not None
    assert {found.one, found.other} == {("ana", "ben"), ("cyd", "dee")}
    assert found.within.share == pytest.approx(0.82, abs=0.1)
    assert found.between.share == pytest.approx(0.18, abs=0.1)
    (warning,) = people.told(of_two_minds(60), words=LENGTHS)["warnings"]
    assert warning.startswith("annotators are of two minds (ana, ben and cyd, dee): two of one camp prefer the same")


def test_noise_of_any_strength_makes_no_camps() -> None:
    for noise in (0.05, 0.3, 0.5):
        for seed in range(4):
            crowd = SimulatedPeople(careful=5, first_biased=1, spammers=1, noise=noise)
            assert camps(tally(judged(seed, n_prompts=60, people=crowd).judgments)) is None


def test_one_contrary_person_is_no_camp_and_few_votes_are_no_proof() -> None:
    assert camps(tally(of_two_minds(100, contrary=("dee",)))) is None
    assert camps(tally(of_two_minds(3))) is None
    assert camps([]) is None
    assert camps(tally([one for one in of_two_minds(60) if one.annotator != "dee"])) is None


def test_who_is_called_what_decides_nothing() -> None:
    turned = {"ana": "zoe", "ben": "bob", "cyd": "abe", "dee": "mia"}
    renamed = [one.model_copy(update={"annotator": turned[one.annotator]}) for one in of_two_minds(60)]
    found = camps(tally(renamed))
    assert found is not None
    assert {frozenset(found.one), frozenset(found.other)} == {frozenset(("zoe", "bob")), frozenset(("abe", "mia"))}
