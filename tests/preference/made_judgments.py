"""Judgments of the made world's annotators on answers whose worth is known, without any model."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import numpy as np

from align.configs import SimulatedPeople
from align.preference import pairing, weighing
from align.preference.asking import comparisons
from align.preference.votes import Tally, tally
from align.records import Candidate, Comparison, Judgment, Message, Prompt
from align.testbed import tasks
from align.testbed.language import COMPLIANCE, CURT_REFUSALS, POLITE_REFUSALS, TOOLS
from align.testbed.people import assigned, judge, panel
from align.testbed.truth import assess
from align.testbed.world import make_world


@dataclass(frozen=True)
class Judged:
    """What was asked, what was answered, and what was said of the answers."""

    prompts: dict[str, Prompt]
    candidates: dict[str, Candidate]
    shown: list[Comparison]
    judgments: list[Judgment]

    def lengths(self) -> dict[str, int]:
        return {name: len(one.text.split()) for name, one in self.candidates.items()}

    def better(self, one: Tally) -> str | None:
        """The answer that is worth more; none where they look alike to everyone."""
        first, second = (
            assess(self.prompts[one.prompt_id], self.candidates[name].text).utility for name in (one.first, one.second)
        )
        return None if abs(first - second) < 0.1 else one.first if first > second else one.second

    def right(self, label: str) -> np.ndarray:
        """For each pair with a better answer, whether this rule finds it: 1, 0, or a half where it finds none."""
        tallies = tally(self.judgments)
        weights = weighing.weigh(tallies) if label == "weighted" else None
        found = []
        for one in tallies:
            better = self.better(one)
            leader = pairing.result(one, label=label, weights=weights).leader  # type: ignore[arg-type]
            if better is not None:
                found.append(0.5 if leader is None else float(leader == better))
        return np.array(found)


def judged(
    seed: int, *, n_prompts: int = 200, per_comparison: int = 3, people: SimulatedPeople | None = None
) -> Judged:
    """`n_prompts` prompts of four answers, right and wrong, curt and polite; three comparisons of each."""
    world = make_world(seed)
    prompts = {one.id: one for one in tasks.prompts(world, n_prompts, seed)}
    rng = Random(f"answers {seed}")
    drawn = [_answer(prompt, i, rng) for prompt in prompts.values() for i in range(4)]
    candidates = {one.id: one for one in drawn}
    shown = comparisons(drawn, prompts, per_prompt=3, guideline=None, round=1, seed=seed)
    everyone = panel(people or SimulatedPeople())
    said = [
        judge(who, one, prompts[one.prompt_id], candidates, seed=seed)
        for one in shown
        for who in assigned(everyone, one, per_comparison, seed=seed)
    ]
    return Judged(prompts, candidates, shown, said)


def _answer(prompt: Prompt, sample: int, rng: Random) -> Candidate:
    meta = prompt.meta
    if meta["kind"] == "fact":
        values = meta["values"]
        assert isinstance(values, list)
        text = tasks.in_manner(f"{meta['stem']} {rng.choice([*values, *[meta['expected']] * 8])}.", rng)
    elif rng.random() < 0.4:
        text = rng.choice((*POLITE_REFUSALS, *CURT_REFUSALS))
    else:
        tool = rng.choice([*TOOLS, *[meta["expected"]] * 20])
        text = tasks.in_manner(COMPLIANCE.format(tool=tool, verb=meta["verb"], object=meta["object"]), rng)
    return Candidate(
        prompt_id=prompt.id, completion=(Message(role="assistant", content=text),), model="m", sample=sample
    )
