"""Stage `label`: which answers are compared, which is shown first, and what was said of them, once enough was."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from align.configs import LabelConfig, LabelStep
from align.data.desk import FileDesk
from align.data.gold import Gold
from align.data.gold import read as gold_pairs
from align.data.rows import sha256
from align.errors import RecipeError, RecordError, Waiting
from align.ports import Desk, Inputs, Tools
from align.preference import asking, people, relabelled
from align.preference.votes import tally
from align.records import Annotator, Candidate, Comparison, Judgment, Prompt, canonical
from align.store import jsonl
from align.testbed.desk import SimulatedDesk

VERSION = 3


def run(config: LabelConfig, inputs: Inputs, out: Path, tools: Tools) -> None:
    """Publish the comparisons, pull what has been said, and freeze it once it covers them; Waiting until then."""
    asked = asked_of(config if isinstance(config, LabelStep) else LabelStep.of(config), inputs, tools)
    desk = open_desk(config, tools)
    n = 1 if config.desk == "judge" else config.annotators_per_comparison
    with tools.progress("collecting judgments", len(asked.shown)) as progress:
        desk.publish(asked.prompts, asked.candidates, asked.shown)
        sifted, told = sift(desk.pull(), asked.shown), desk.told()
        n_covered = covered(sifted.judgments, asked.shown, n, closed=told.closed)
        progress.advance(n_covered)
    if n_covered < len(asked.shown):
        left_out = f" ({len(sifted.set_aside)} rows set aside: {sifted.reasons()})" if sifted.set_aside else ""
        raise Waiting(
            f"{n_covered} of {len(asked.shown)} comparisons have {n} judgment{'s' * (n != 1)}{left_out}; {desk.where()}"
        )
    gold = asked.gold
    judgments = [one for one in sifted.judgments if one.comparison_id not in gold.better]
    of_gold = [one for one in sifted.judgments if one.comparison_id in gold.better]
    aside = [{"reason": why, "judgment": one.model_dump(mode="json")} for why, one in sifted.set_aside]
    aside += [dict(row) for row in told.set_aside]
    written: dict[str, Sequence[BaseModel | dict[str, Any]]] = {
        "comparisons.jsonl": asked.shown,
        "judgments.jsonl": judgments,
        "annotators.jsonl": who(sifted.judgments),
        "gold.jsonl": [{"comparison_id": name, "better": better} for name, better in gold.better.items()],
        "gold_judgments.jsonl": of_gold,
        "unshown.jsonl": [{"prompt_id": name, "reason": why} for name, why in asked.unshown],
        "set_aside.jsonl": aside,
    }
    for name, found in written.items():
        if found or name in ("comparisons.jsonl", "judgments.jsonl", "annotators.jsonl"):
            jsonl.write(out / name, found)
    answered = {one.prompt_id for one in asked.candidates.values()}
    summary = {
        "n_comparisons": len(asked.shown),
        "n_shown_again": asked.n_again,
        "n_gold": len(gold.comparisons),
        "n_prompts": len({one.prompt_id for one in asked.shown}),
        "n_prompts_without_a_pair": len(answered) - len({one.prompt_id for one in asked.shown}),
        "n_judgments": len(judgments),
        "n_repeated": sifted.n_repeated,
        "set_aside": dict(sorted(Counter(row["reason"] for row in aside).items())),
        "unshown": dict(sorted(Counter(why for _, why in asked.unshown).items())),
        "desk": dict(told.counts),
        "provenance": dict(sorted(Counter(one.provenance for one in judgments).items())),
        **people.told(
            judgments, words={k: words(v) for k, v in asked.candidates.items()}, gold=gold.better, of_gold=of_gold
        ),
    }
    (out / "summary.json").write_text(canonical(summary) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class Asked:
    """What is put up, and all that is needed to show it."""

    shown: list[Comparison]
    prompts: dict[str, Prompt]
    candidates: dict[str, Candidate]
    gold: Gold = field(default_factory=Gold)
    n_again: int = 0
    unshown: tuple[tuple[str, str], ...] = ()


def asked_of(config: LabelStep, inputs: Inputs, tools: Tools) -> Asked:
    """The comparisons of this step, repeats and known ones among them; RecordError where there is nothing to ask."""
    file = "test_prompts.jsonl" if config.asks == "models" else "prompts.jsonl"
    every = {one.id: one for one in jsonl.read(inputs["data"].path / file, Prompt)}
    prompts = asking.fewest(every, config.max_prompts)
    candidates = list(jsonl.read(inputs["candidates"].path / "candidates.jsonl", Candidate))
    guideline = sha256(Path(config.guideline)) if config.guideline is not None else None
    unshown: tuple[tuple[str, str], ...] = ()
    if config.asks == "again":
        shown = _again(config, inputs, prompts, guideline, tools)
    elif config.asks == "models":
        if "against" not in inputs:
            raise RecipeError("label: input `against` is missing: the other model's answers; give --in against=PATH")
        others = list(jsonl.read(inputs["against"].path / "candidates.jsonl", Candidate))
        found = asking.of_models(candidates, others, prompts, guideline=guideline, round=config.round, seed=tools.seed)
        shown, unshown = found.shown, found.unshown
        candidates += others
        if not shown:
            raise RecordError(
                "label: 0 comparisons: the two models never gave different answers to one prompt; did the adapter load?"
            )
    else:
        candidates = [one for one in candidates if one.prompt_id in prompts or one.prompt_id not in every]
        shown = asking.comparisons(
            candidates,
            prompts,
            per_prompt=config.comparisons_per_prompt,
            guideline=guideline,
            round=config.round,
            seed=tools.seed,
        )
    if not shown:
        raise RecordError("label: 0 comparisons: no prompt has two different answers; raise generate.temperature")
    # a judge is always asked in both seats: what it says in one alone may be the seat's doing
    repeats = asking.again(shown, share=1.0 if config.desk == "judge" else config.repeat_share, seed=tools.seed)
    gold = Gold()
    if config.gold is not None:
        gold = gold_pairs(config.gold, guideline=guideline, round=config.round, seed=tools.seed)
    return Asked(
        asking.woven(shown, gold.comparisons, seed=tools.seed) + repeats,
        prompts | gold.prompts,
        {one.id: one for one in candidates} | gold.candidates,
        gold,
        len(repeats),
        unshown,
    )


def _again(
    config: LabelStep, inputs: Inputs, prompts: Mapping[str, Prompt], guideline: str | None, tools: Tools
) -> list[Comparison]:
    """Some of the pairs that were judged, as comparisons of the next round."""
    if "label" not in inputs:
        raise RecipeError("label: input `label` is missing: what was judged before; give it with --in label=PATH")
    tallies = tally(jsonl.read(inputs["label"].path / "judgments.jsonl", Judgment))
    source = {name: (one.source or "").partition(":")[0] for name, one in prompts.items()}
    taken = relabelled.chosen(tallies, share=config.share, at_least=config.at_least, source=source, seed=tools.seed)
    pairs = sorted((one.prompt_id, one.first, one.second) for one in taken)
    return asking.once_more(pairs, guideline=guideline, round=config.round, seed=tools.seed)


def words(one: Candidate) -> int:
    return len(one.text.split())


def open_desk(config: LabelConfig, tools: Tools) -> Desk:
    """Who is asked."""
    if config.desk == "simulated":
        return SimulatedDesk(config.people, per_comparison=config.annotators_per_comparison, seed=tools.seed)
    if config.desk == "file":
        if config.judgments is None:
            raise RecipeError("label.judgments: missing; desk: file needs the JSONL file that judgments are written to")
        return FileDesk(Path(config.judgments))
    return tools.desk(config)


@dataclass(frozen=True)
class Sifted:
    """What counts of what was said, and what does not."""

    judgments: tuple[Judgment, ...]
    set_aside: tuple[tuple[str, Judgment], ...]
    """Why, and what."""
    n_repeated: int

    def reasons(self) -> str:
        counts = Counter(why for why, _ in self.set_aside)
        return ", ".join(f"{n} {why}" for why, n in sorted(counts.items()))


def sift(said: Sequence[Judgment], shown: Sequence[Comparison]) -> Sifted:
    """One judgment an annotator and comparison: the last said. Nothing else is lost, but set aside with its reason.

    Judgments come in the comparisons' order, then by annotator. RecordError where one name stands for people and for
    something else: what an annotator is does not change.
    """
    known = {comparison.id: comparison for comparison in shown}
    provenance: dict[str, str] = {}
    last: dict[tuple[str, str], Judgment] = {}
    set_aside: list[tuple[str, Judgment]] = []
    n_repeated = 0
    for one in said:
        before = provenance.setdefault(one.annotator, one.provenance)
        if before != one.provenance:
            raise RecordError(
                f"judgments: annotator {one.annotator!r} is `{before}` in one row and `{one.provenance}` in "
                "another; a name is one or the other for ever, so give the second a name of its own"
            )
        comparison = known.get(one.comparison_id)
        if comparison is None:
            set_aside.append(("of an unknown comparison", one))
            continue
        if (one.pair_id, one.prompt_id, one.candidate_ids) != (
            comparison.pair_id,
            comparison.prompt_id,
            comparison.candidate_ids,
        ):
            set_aside.append(("of other answers than the comparison showed", one))
            continue
        earlier = last.get((one.comparison_id, one.annotator))
        if earlier is not None and earlier.id == one.id:
            n_repeated += 1
            continue
        if earlier is not None:
            set_aside.append(("changed later", earlier))
        last[one.comparison_id, one.annotator] = one
    place = {name: i for i, name in enumerate(known)}
    kept = sorted(last.values(), key=lambda one: (place[one.comparison_id], one.annotator))
    return Sifted(tuple(kept), tuple(set_aside), n_repeated)


def covered(
    judgments: Iterable[Judgment], shown: Iterable[Comparison], n: int, *, closed: Container[str] = frozenset()
) -> int:
    """How many comparisons have judgments of `n` annotators or more, or are `closed`: no more will come."""
    counts = Counter(one.comparison_id for one in judgments)
    return sum(counts[comparison.id] >= n or comparison.id in closed for comparison in shown)


def who(judgments: Iterable[Judgment]) -> list[Annotator]:
    """Everyone who judged, by name."""
    return [
        Annotator(name=name, provenance=kind)
        for name, kind in sorted({(one.annotator, one.provenance) for one in judgments})
    ]
