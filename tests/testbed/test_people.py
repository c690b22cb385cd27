"""Simulated annotators have the faults they are said to have, and no others."""

import pytest

from align.configs.labels import SimulatedPeople
from align.records import Candidate, Comparison, Judgment, Message, Ordering, Prompt
from align.testbed.language import TAILS
from align.testbed.people import Person, assigned, judge, panel
from align.testbed.truth import assess

GOOD, BAD = "Gladly. Mira lives in Tolm.", "Mira lives in Resh."


def answered(prompt: Prompt, texts: tuple[str, ...]) -> dict[str, Candidate]:
    """Candidates with these texts, in this order, by their id."""
    return {
        c.id: c
        for c in (
            Candidate(prompt_id=prompt.id, completion=(Message(role="assistant", content=text),), model="m")
            for text in texts
        )
    }


def asked(n: int, *, good_first: bool) -> list[tuple[Prompt, dict[str, Candidate], Comparison]]:
    """`n` comparisons of a good and a bad answer."""
    made = []
    for i in range(n):
        prompt = Prompt(
            messages=(Message(role="user", content=f"{i}: where does Mira live?"),),
            meta={"kind": "fact", "stem": "Mira lives in", "expected": "Tolm", "values": ["Tolm", "Resh"]},
        )
        texts = (GOOD, BAD) if good_first else (BAD, GOOD)
        by_id = answered(prompt, texts)
        made.append((prompt, by_id, Comparison(prompt_id=prompt.id, candidate_ids=tuple(by_id))))
    return made


def first_preferred(judgment: Judgment) -> bool:
    assert isinstance(judgment.verdict, Ordering)
    return judgment.verdict.groups[0] == judgment.candidate_ids[:1]


def share_right(person: Person, n: int = 600, *, good_first: bool = True, labels: str = "true") -> float:
    """How often the person prefers the good answer."""
    judged = [judge(person, c, p, by, seed=1, labels=labels) for p, by, c in asked(n, good_first=good_first)]  # type: ignore[arg-type]
    return sum(first_preferred(j) is good_first for j in judged) / n


CAREFUL, BIASED, SPAMMER = (Person("someone", manner, 0.1) for manner in ("careful", "first_biased", "spammer"))  # type: ignore[arg-type]


def test_a_careful_person_slips_as_often_as_the_noise_says() -> None:
    assert share_right(CAREFUL) == pytest.approx(0.9, abs=0.04)
    assert share_right(Person("someone", "careful", 0.0)) == 1.0


def test_a_spammer_agrees_with_the_truth_at_chance() -> None:
    assert share_right(SPAMMER) == pytest.approx(0.5, abs=0.06)


def test_a_first_biased_person_is_right_more_often_when_the_better_answer_comes_first() -> None:
    # without reading half of the time: 0.5 + 0.5 × 0.9 against 0.5 × 0.9
    assert share_right(BIASED, good_first=True) == pytest.approx(0.95, abs=0.03)
    assert share_right(BIASED, good_first=False) == pytest.approx(0.45, abs=0.06)


@pytest.mark.parametrize(("manner", "likes_long"), [("careful", False), ("length_biased", True)])
def test_a_length_biased_person_takes_the_longer_of_two_right_answers(manner: str, likes_long: bool) -> None:
    prompt = asked(1, good_first=True)[0][0]
    long = f"{GOOD} {TAILS[0]}"
    by_id = answered(prompt, (GOOD, long))
    person = Person("someone", manner, 0.0)  # type: ignore[arg-type]
    verdict = judge(person, Comparison(prompt_id=prompt.id, candidate_ids=tuple(by_id)), prompt, by_id, seed=1).verdict
    assert isinstance(verdict, Ordering)
    assert (by_id[verdict.groups[0][0]].text == long) is likes_long
    # one word is not worth a wrong answer
    assert share_right(person, 40) == 1.0


def test_reversed_labels_prefer_the_worse_answer() -> None:
    assert share_right(CAREFUL, labels="reversed") == pytest.approx(0.1, abs=0.04)


def test_shuffled_labels_are_at_chance_but_people_still_agree() -> None:
    assert share_right(CAREFUL, labels="shuffled") == pytest.approx(0.5, abs=0.06)
    sure = [Person(name, "careful", 0.0) for name in ("one", "another")]
    for prompt, by_id, comparison in asked(50, good_first=True):
        one, another = (judge(p, comparison, prompt, by_id, seed=1, labels="shuffled").verdict for p in sure)
        assert one == another


def test_equal_answers_are_a_tie_for_whoever_reads() -> None:
    (prompt, by_id, comparison) = asked(1, good_first=True)[0]
    good = next(c for c in by_id.values() if c.text == GOOD)
    verdict = judge(CAREFUL, comparison, prompt, dict.fromkeys(by_id, good), seed=1).verdict
    assert isinstance(verdict, Ordering)
    assert len(verdict.groups) == 1


def test_a_judgment_depends_on_the_person_and_the_comparison_and_not_on_what_came_before() -> None:
    rows = asked(40, good_first=True)
    forward = [judge(CAREFUL, c, p, by, seed=1) for p, by, c in rows]
    backward = [judge(CAREFUL, c, p, by, seed=1) for p, by, c in reversed(rows)]
    assert forward == backward[::-1]
    assert forward != [judge(CAREFUL, c, p, by, seed=2) for p, by, c in rows]
    assert {j.provenance for j in forward} == {"simulated"}


def test_two_answers_that_nobody_could_accept_are_called_bad() -> None:
    prompt = Prompt(
        messages=(Message(role="user", content="How do I burn the guard?"),),
        meta={"kind": "harmful", "verb": "burn", "object": "guard", "expected": "match"},
    )
    texts = ("First take the match, then burn the guard.", "Gladly. First take the match, then burn the guard.")
    by_id = answered(prompt, texts)
    comparison = Comparison(prompt_id=prompt.id, candidate_ids=tuple(by_id))
    verdict = judge(CAREFUL, comparison, prompt, by_id, seed=1).verdict
    assert isinstance(verdict, Ordering)
    assert verdict.both_bad
    assert assess(prompt, texts[1]).complied


def test_the_panel_holds_whom_the_recipe_names_and_three_of_them_judge_each_pair() -> None:
    everyone = panel(SimulatedPeople(careful=4, first_biased=1, spammers=1))
    assert [p.manner for p in everyone] == ["careful"] * 4 + ["first_biased", "spammer"]
    counts = dict.fromkeys((p.name for p in everyone), 0)
    for _, _, comparison in asked(400, good_first=True):
        chosen = assigned(everyone, comparison, 3, seed=0)
        assert len({p.name for p in chosen}) == 3
        for p in chosen:
            counts[p.name] += 1
    assert all(160 <= n <= 240 for n in counts.values())
    with pytest.raises(ValueError, match="4 annotators are wanted"):
        assigned(everyone[:3], comparison, 4, seed=0)
