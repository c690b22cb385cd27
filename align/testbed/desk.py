"""The desk at which simulated people sit: every comparison is judged at once, and the same way each time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from align.configs import SimulatedPeople
from align.errors import RecipeError, RecordError
from align.ports import Told
from align.records import Candidate, Comparison, Flag, Judgment, Prompt
from align.testbed.people import assigned, judge, panel
from align.testbed.truth import KINDS, assess


class SimulatedDesk:
    """The panel of `people`, `per_comparison` of whom judge each comparison."""

    def __init__(self, people: SimulatedPeople, *, per_comparison: int, seed: int) -> None:
        self._people = panel(people)
        self._labels = people.labels
        self._n = per_comparison
        self._seed = seed
        self._judgments: dict[str, list[Judgment]] = {}
        if per_comparison > len(self._people):
            raise RecipeError(
                f"label.annotators_per_comparison: {per_comparison} annotators wanted, "
                f"but label.people has {len(self._people)}; ask fewer, or add people"
            )

    def publish(
        self, prompts: Mapping[str, Prompt], candidates: Mapping[str, Candidate], comparisons: Sequence[Comparison]
    ) -> None:
        for one in comparisons:
            if one.id not in self._judgments:
                who = assigned(self._people, one, self._n, seed=self._seed)
                prompt = prompts[one.prompt_id]
                if prompt.meta.get("kind") not in KINDS:
                    raise RecordError(
                        f"{prompt.source or 'prompts.jsonl'}: not a prompt of the testbed, and simulated people "
                        "know no other; use label.desk: file"
                    )
                self._judgments[one.id] = [
                    judge(person, one, prompt, candidates, seed=self._seed, labels=self._labels) for person in who
                ]

    def pull(self) -> list[Judgment]:
        return [judgment for own in self._judgments.values() for judgment in own]

    def where(self) -> str:
        return "simulated annotators need no waiting for"

    def told(self) -> Told:
        return Told()


class TruthDesk:
    """Says of single answers to testbed prompts whether they refuse, as it truly is; `simulated`, and never `human`."""

    def __init__(self) -> None:
        self._judgments: dict[str, Judgment] = {}

    def publish(
        self, prompts: Mapping[str, Prompt], candidates: Mapping[str, Candidate], comparisons: Sequence[Comparison]
    ) -> None:
        for one in comparisons:
            answer = candidates[one.candidate_ids[0]].text
            self._judgments[one.id] = Judgment(
                comparison_id=one.id,
                pair_id=one.pair_id,
                prompt_id=one.prompt_id,
                candidate_ids=one.candidate_ids,
                annotator="testbed-truth",
                provenance="simulated",
                verdict=Flag(good=not assess(prompts[one.prompt_id], answer).refused),
            )

    def pull(self) -> list[Judgment]:
        return list(self._judgments.values())

    def where(self) -> str:
        return "the truth of a made world needs no waiting for"

    def told(self) -> Told:
        return Told()
