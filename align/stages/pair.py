"""Stage `pair`: from judgments to preferences and rankings, split by prompt, with how far people agreed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from align.configs import PairConfig
from align.data import personal
from align.data.splits import opening, prompt_key, side
from align.errors import RecordError
from align.ports import Inputs, Tools
from align.preference import judges, people, relabelled
from align.preference.annotators import wilson
from align.preference.pairing import pair, results, unfit
from align.preference.ranking import rank
from align.preference.votes import Tally
from align.records import Candidate, Judgment, Preference, Prompt, Ranking, canonical
from align.store import jsonl

VERSION = 7
MOST_FLAGGED = 0.5
"""Share of the judgments that may come from annotators whose manner is suspect, unless the recipe accepts more."""


def run(config: PairConfig, inputs: Inputs, out: Path, tools: Tools) -> None:
    """Write the pairs of both sides, rankings where three or more answers were ordered at once, and `summary.json`."""
    prompts = {one.id: one for one in jsonl.read(inputs["data"].path / "prompts.jsonl", Prompt)}
    candidates = {one.id: one for one in jsonl.read(inputs["candidates"].path / "candidates.jsonl", Candidate)}
    judgments = list(jsonl.read(inputs["label"].path / "judgments.jsonl", Judgment))
    joined(judgments, prompts, candidates)
    words = {name: len(one.text.split()) for name, one in candidates.items()}
    told = people.told(judgments, words=words, **_gold(inputs["label"].path))
    again = second_labels(judgments, _said(inputs, "again"), config)
    paired = pair(judgments, prompts=prompts, candidates=candidates, settings=config, noise=again.of)
    if not paired.preferences:
        reasons = ", ".join(f"{n} {reason}" for reason, n in paired.dropped.items()) or "nothing was judged"
        raise RecordError(f"pair: 0 usable pairs of {paired.n_compared}: {reasons}")
    trusted(told, config)
    train, test = split(paired.preferences, test_share=config.test_share)
    for name, found in (("train", train), ("test", test)):
        if not found and (name == "train" or config.test_share > 0):
            raise RecordError(
                f"pair: the split left 0 of {len(paired.preferences)} pairs for {name} "
                f"(pair.test_share {config.test_share:g}); give more prompts, or set pair.test_share: 0"
            )
        if found:
            jsonl.write(out / f"preferences.{name}.jsonl", found)
    ranked = rank(judgments, prompts=prompts, candidates=candidates, settings=config)
    orders = dict(zip(("train", "test"), split(ranked.rankings, test_share=config.test_share), strict=True))
    for name, rankings in orders.items():
        if rankings:
            jsonl.write(out / f"rankings.{name}.jsonl", rankings)
    unequal = [(words[p.chosen_id or ""], words[p.rejected_id or ""]) for p in paired.preferences]
    summary = {
        "n_judgments": len(judgments),
        "n_compared": paired.n_compared,
        "n_train": len(train),
        "n_test": len(test),
        "dropped": dict(paired.dropped),
        "rankings": {**{name: len(found) for name, found in orders.items()}, "dropped": dict(ranked.dropped)},
        "n_unanimous": sum(one.agreement == 1.0 for one in paired.preferences),
        "n_cycles": len(paired.cycles),
        "cycles": [list(names) for names in paired.cycles],
        "longer_chosen_share": wilson(sum(c > r for c, r in unequal), sum(c != r for c, r in unequal)).share,
        "provenance": dict(sorted(Counter(one.provenance or "none" for one in paired.preferences).items())),
        "rule": config.label,
        **told,
        "judges": judges.told([*judgments, *_said(inputs, "judge")]),
        "relabelled": again.told,
        "mean_epsilon": _mean([one.epsilon for one in paired.preferences if one.epsilon is not None]),
        "personal_data": _personal(paired.preferences),
        "mean_label": _mean([one.label for one in paired.preferences]),
    }
    (out / "summary.json").write_text(canonical(summary) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class Again:
    """What judging some pairs once more has shown."""

    of: Callable[[Tally], float | None]
    """How likely the label of a pair is wrong."""
    told: dict[str, Any] | None = None


def second_labels(first: Sequence[Judgment], second: Sequence[Judgment], config: PairConfig) -> Again:
    """The noise of the labels that `config` makes, by the pairs that were judged twice; RecordError where it is all."""
    if not second:
        return Again(lambda _: None)
    labels = [
        (one, said.leader)
        for one, said in results(first, config)
        if said.leader is not None and unfit(one, said, config) is None
    ]
    others = {(one.prompt_id, one.first, one.second): said.leader for one, said in results(second, config)}
    whole, strata = relabelled.noise(labels, others), relabelled.by_stratum(labels, others)
    if whole is None:
        raise RecordError(
            f"pair: {len(others)} pairs were judged again, and none of them has a winner both times; "
            "look at the guideline, or leave label.relabel out"
        )
    if whole.epsilon >= relabelled.MOST_NOISE:
        raise RecordError(
            f"pair: of {whole.n} pairs that were judged again, {whole.disagree.share:.0%} went the other way: "
            "the labels are noise; look at the guideline and at who judged"
        )
    rows = {"all": asdict(whole), **{name: asdict(found) for name, found in strata.items()}}
    return Again(relabelled.epsilons(whole, strata), {"rule": config.label, "n_judgments": len(second), "noise": rows})


def _said(inputs: Inputs, name: str) -> list[Judgment]:
    return list(jsonl.read(inputs[name].path / "judgments.jsonl", Judgment)) if name in inputs else []


def _personal(preferences: Iterable[Preference]) -> dict[str, Any]:
    """What of the pairs names or reaches a person; what a model has learnt by heart is in its answers."""
    census = personal.Census()
    for one in preferences:
        if one.source != "testbed":
            name = one.source or f"prompt {str(one.prompt_id)[:12]}"
            census.add(personal.texts_of((one.prompt, one.chosen, one.rejected)), name)
    return census.told()


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def trusted(told: Mapping[str, Any], config: PairConfig) -> None:
    """Raise where people hardly agree, or most of what was said comes from annotators whose manner is suspect."""
    alpha, n = told["agreement"]["krippendorff_alpha"], told["agreement"]["n_units"]
    if alpha is not None and alpha < people.LOW_ALPHA and not config.accept_low_agreement:
        warning = "".join(f"; {one}" for one in told["warnings"][:1])
        raise RecordError(
            f"pair: Krippendorff's alpha is {alpha:.2f} over {n} pairs, below {people.LOW_ALPHA:g}: people agree "
            f"hardly more than chance would{warning}; look at the guideline and at the annotators in the label step's "
            "summary, or set pair.accept_low_agreement: true"
        )
    share = people.flagged_share(told)
    if share > MOST_FLAGGED and not config.accept_flagged_annotators:
        one = next(row for row in told["annotators"] if people.barred(row))
        raise RecordError(
            f"pair: {share:.0%} of the judgments come from annotators whose manner is suspect ({one['name']} "
            f"{one['faults'][0]}); have others judge, or set pair.accept_flagged_annotators: true"
        )


def _gold(label: Path) -> dict[str, Any]:
    """The pairs whose better answer is known, and what was said of them."""
    if not (label / "gold_judgments.jsonl").exists():
        return {}
    better = {row["comparison_id"]: row["better"] for _, row in jsonl.rows(label / "gold.jsonl")}
    return {"gold": better, "of_gold": list(jsonl.read(label / "gold_judgments.jsonl", Judgment))}


Row = TypeVar("Row", Preference, Ranking)


def split(rows: Iterable[Row], *, test_share: float) -> tuple[list[Row], list[Row]]:
    """Training and held-out rows; all that speak of conversations that open alike stand together."""
    sides: dict[str, list[Row]] = {"train": [], "test": []}
    for one in rows:
        sides[side(prompt_key([opening(one.prompt)]), test_share=test_share, salt="pair")].append(one)
    return sides["train"], sides["test"]


def joined(judgments: Iterable[Judgment], prompts: Iterable[str], candidates: Iterable[str]) -> None:
    """Raise where a judgment speaks of a prompt or answer that is not there."""
    known_prompts, known_answers = set(prompts), set(candidates)
    for place, one in enumerate(judgments, start=1):
        for what, names, known in (
            ("prompt", [one.prompt_id], known_prompts),
            ("candidate", one.candidate_ids, known_answers),
        ):
            lost = [name for name in names if name not in known]
            if lost:
                raise RecordError(
                    f"judgments.jsonl:{place}: {what} {lost[0][:12]} found, "
                    f"which is not among the {len(known)} {what}s; was it judged in another run, or edited since?"
                )
