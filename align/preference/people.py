"""What a stage says of those who judged: how far they agree, how each of them judges, what should make one look."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from align.preference import annotators as of_annotators
from align.preference.agreement import ordinal_alpha
from align.preference.annotators import annotators, sides
from align.preference.camps import camps
from align.preference.dawid_skene import spammer_score
from align.preference.resampled import intervals, ordinal_interval
from align.preference.suspects import FALSE_ALARMS, RULES, suspects
from align.preference.votes import tally
from align.preference.weighing import weigh
from align.records import Judgment

LOW_ALPHA = 0.2
CAP = 0.3
"""Nobody should have given a larger share of all judgments, where there are people enough."""


def told(
    judgments: Sequence[Judgment],
    *,
    words: Mapping[str, int],
    gold: Mapping[str, str] | None = None,
    of_gold: Sequence[Judgment] = (),
) -> dict[str, Any]:
    """`agreement`, `annotators` and `warnings`, as JSON; `words` are the answers' lengths by candidate id."""
    records = annotators(judgments, lengths=words, gold=gold, of_gold=of_gold)
    found = suspects(records)
    weights = weigh(tally(judgments))
    return {
        "agreement": agreement(judgments),
        "annotators": [
            {
                **asdict(one),
                "faults": [fault.says for fault in found.get(one.name, ())],
                "monitors": [fault.monitor for fault in found.get(one.name, ())],
                "spammer_score": spammer_score(weights.confusion[one.name])
                if weights and one.name in weights.confusion
                else None,
            }
            for one in records
        ],
        "monitors": {"rules": RULES, "false_alarms": FALSE_ALARMS},
        "warnings": warnings(judgments),
    }


def agreement(judgments: Sequence[Judgment]) -> dict[str, Any]:
    """Every coefficient with its n and interval; what is undefined is null, and has no interval."""
    units = sides(judgments)
    ranks = [list(unit.values()) for unit in of_annotators.strengths(judgments) if len(unit) >= 2]
    strong = [unit for unit in ranks if any(unit)]
    found = {name: list(limits) for name, limits in intervals(units).items()}
    if strong and (limits := ordinal_interval(ranks)) is not None:  # type: ignore[arg-type]
        found["ordinal_alpha"] = list(limits)
    return {
        **asdict(of_annotators.agreed(judgments)),
        "intervals": found,
        "ordinal_alpha": ordinal_alpha(ranks) if strong else None,  # type: ignore[arg-type]
        "n_ordinal": len(ranks) if strong else 0,
    }


def warnings(judgments: Sequence[Judgment]) -> list[str]:
    """What is wrong with all of it rather than with one of them."""
    given = Counter(one.annotator for one in judgments)
    n = given.total()
    if not n:
        return ["nobody has judged anything"]
    people = list(given)
    if len(people) == 1:
        return [f"one annotator, {people[0]}, gave all {n} judgments: nobody can say whether others would agree"]
    found = []
    top, most = given.most_common(1)[0]
    if len(people) > 1 / CAP and most > CAP * n and most > 2 * n / len(people):
        found.append(f"{top} gave {most / n:.0%} of all judgments: the pairs are largely one person's taste")
    shared = {vote.annotator for one in tally(judgments) if len(one.votes) > 1 for vote in one.votes}
    alone = sorted(set(people) - shared)
    if alone:
        found.append(f"{len(alone)} of {len(people)} annotators share no pair with anybody: {', '.join(alone[:3])}")
    split = camps(tally(judgments))
    if split is not None:
        found.append(
            f"annotators are of two minds ({', '.join(split.one)} and {', '.join(split.other)}): two of one camp "
            f"prefer the same answer in {split.within.share:.0%} of {split.within.n} pairs of votes, two of different "
            f"camps in {split.between.share:.0%} of {split.between.n}; that is taste, or a guideline read in two ways"
        )
    return found


def flagged_share(told: Mapping[str, Any]) -> float:
    """Share of the judgments that come from annotators whose manner is suspect enough to make no pairs of them.

    A judge that is asked in both seats loses by its liking for one of them what it says in one alone, so that liking is
    told and weighs nothing here.
    """
    rows = told["annotators"]
    n = sum(row["n_judgments"] for row in rows)
    return sum(row["n_judgments"] for row in rows if barred(row)) / n if n else 0.0


def barred(row: Mapping[str, Any]) -> bool:
    """Whether a fault of this annotator's harms the pairs."""
    both_seats = row["provenance"] == "judge" and 3 * row["consistent"]["n"] > row["n_judgments"]
    return bool(set(row["monitors"]) - ({"side", "consistent"} if both_seats else set()))
