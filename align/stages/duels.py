"""What people said of two models' answers, as the measurement of one of them reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from align.evals import people_win_rate
from align.evals.evidence import Duel
from align.preference import people
from align.preference.pairing import weakest
from align.preference.votes import tally
from align.records import Candidate, Comparison, Judgment, Measurement, Prompt, Provenance
from align.store import jsonl

SHARES = ("raw", "decided", "length_matched")
"""The metrics that say who won."""


def gather(asked: Path, answers: Path, against: Path, data: Path) -> list[Duel]:
    """One for each prompt of which people were to be asked; `asked` is what the label step left."""
    prompts = {one.id: one for one in jsonl.read(data / "test_prompts.jsonl", Prompt)}
    ours = {one.id: one for one in jsonl.read(answers / "candidates.jsonl", Candidate)}
    theirs = {one.id: one for one in jsonl.read(against / "candidates.jsonl", Candidate)}
    votes = {(one.prompt_id, one.first, one.second): one.votes for one in tally(judgments(asked))}
    gold = {row["comparison_id"] for row in _rows(asked / "gold.jsonl")}
    found: dict[str, Duel] = {}
    for one in jsonl.read(asked / "comparisons.jsonl", Comparison):
        if one.id in gold or one.prompt_id in found:
            continue
        first, second = sorted(one.candidate_ids)
        mine, other = (first, second) if first in ours and second in theirs else (second, first)
        found[one.prompt_id] = Duel(
            prompt_id=one.prompt_id,
            answer=mine,
            votes=votes.get((one.prompt_id, first, second), ()),
            words=len(ours[mine].text.split()),
            their_words=len(theirs[other].text.split()),
            cluster=prompts[one.prompt_id].cluster,
        )
    for row in _rows(asked / "unshown.jsonl"):
        name = str(row["prompt_id"])
        found[name] = Duel(name, "", cluster=prompts[name].cluster, unshown=str(row["reason"]))
    return [found[name] for name in sorted(found)]


def judgments(asked: Path) -> list[Judgment]:
    """What was said, known answers aside."""
    return list(jsonl.read(asked / "judgments.jsonl", Judgment))


def provenance(asked: Path) -> Provenance | None:
    """The weakest of those who judged."""
    return weakest(one.provenance for one in judgments(asked))


def told(measured: list[Measurement], duels: list[Duel], asked: Path, *, against: str) -> list[Measurement]:
    """The measurements, each with whom it is against and how far those who judged agree."""
    said = judgments(asked)
    agreement = people.agreement(said)
    meta: dict[str, Any] = {
        "against": against,
        "n_annotators": len({one.annotator for one in said}),
        "agreement": {name: agreement[name] for name in ("krippendorff_alpha", "raw", "n_units", "intervals")},
        "without_each_annotator": people_win_rate.without_each(duels),
    }
    return [
        one.model_copy(update={"meta": one.meta | meta | ({"statistic": "win_rate"} if one.metric in SHARES else {})})
        for one in measured
    ]


def _rows(path: Path) -> list[dict[str, Any]]:
    return [row for _, row in jsonl.rows(path)] if path.exists() else []
