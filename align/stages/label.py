"""Stage `label`: which answers are compared, which is shown first, and what was said of them, once enough was."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path

from align.configs import LabelConfig
from align.data.desk import FileDesk
from align.data.rows import sha256
from align.errors import RecipeError, RecordError, Waiting
from align.ports import Desk, Inputs, Tools
from align.preference import annotators
from align.records import Annotator, Candidate, Comparison, Judgment, Prompt, canonical
from align.store import jsonl
from align.testbed.desk import SimulatedDesk

VERSION = 2


def run(config: LabelConfig, inputs: Inputs, out: Path, tools: Tools) -> None:
    """Publish the comparisons, pull what has been said, and freeze it once it covers them; Waiting until then."""
    prompts = {one.id: one for one in jsonl.read(inputs["data"].path / "prompts.jsonl", Prompt)}
    candidates = list(jsonl.read(inputs["candidates"].path / "candidates.jsonl", Candidate))
    guideline = sha256(Path(config.guideline)) if config.guideline is not None else None
    shown = comparisons(
        candidates,
        prompts,
        per_prompt=config.comparisons_per_prompt,
        guideline=guideline,
        round=config.round,
        seed=tools.seed,
    )
    if not shown:
        raise RecordError("label: 0 comparisons: no prompt has two different answers; raise generate.temperature")
    desk = open_desk(config, tools)
    with tools.progress("collecting judgments", len(shown)) as progress:
        desk.publish(prompts, {one.id: one for one in candidates}, shown)
        sifted, told = sift(desk.pull(), shown), desk.told()
        n_covered = covered(sifted.judgments, shown, config.annotators_per_comparison, closed=told.closed)
        progress.advance(n_covered)
    if n_covered < len(shown):
        left_out = f" ({len(sifted.set_aside)} rows set aside: {sifted.reasons()})" if sifted.set_aside else ""
        n = config.annotators_per_comparison
        raise Waiting(
            f"{n_covered} of {len(shown)} comparisons have {n} judgment{'s' * (n != 1)}{left_out}; {desk.where()}"
        )
    jsonl.write(out / "comparisons.jsonl", shown)
    jsonl.write(out / "judgments.jsonl", sifted.judgments)
    jsonl.write(out / "annotators.jsonl", who(sifted.judgments))
    aside = [{"reason": why, "judgment": one.model_dump(mode="json")} for why, one in sifted.set_aside]
    aside += [dict(row) for row in told.set_aside]
    if aside:
        jsonl.write(out / "set_aside.jsonl", aside)
    lengths = {one.id: len(one.text.split()) for one in candidates}
    summary = {
        "n_comparisons": len(shown),
        "n_prompts": len({one.prompt_id for one in shown}),
        "n_prompts_without_a_pair": len({one.prompt_id for one in candidates}) - len({one.prompt_id for one in shown}),
        "n_judgments": len(sifted.judgments),
        "n_repeated": sifted.n_repeated,
        "set_aside": dict(sorted(Counter(row["reason"] for row in aside).items())),
        "desk": dict(told.counts),
        "provenance": dict(sorted(Counter(one.provenance for one in sifted.judgments).items())),
        "agreement": asdict(annotators.agreed(sifted.judgments)),
        "annotators": [
            {**asdict(one), "faults": annotators.faults(one)}
            for one in annotators.annotators(sifted.judgments, lengths=lengths)
        ],
    }
    (out / "summary.json").write_text(canonical(summary) + "\n", encoding="utf-8")


def open_desk(config: LabelConfig, tools: Tools) -> Desk:
    """Who is asked."""
    if config.desk == "simulated":
        return SimulatedDesk(config.people, per_comparison=config.annotators_per_comparison, seed=tools.seed)
    if config.desk == "file":
        if config.judgments is None:
            raise RecipeError("label.judgments: missing; desk: file needs the JSONL file that judgments are written to")
        return FileDesk(Path(config.judgments))
    return tools.desk(config)


def comparisons(
    candidates: Iterable[Candidate],
    prompts: Mapping[str, Prompt],
    *,
    per_prompt: int,
    guideline: str | None,
    round: int,
    seed: int,
) -> list[Comparison]:
    """Up to `per_prompt` pairs of different answers to each prompt; hashes choose the pairs and which is shown first.

    Empty answers are not shown, and of equal ones only the first drawn.
    """
    by_prompt: dict[str, dict[str, Candidate]] = defaultdict(dict)
    for one in sorted(candidates, key=lambda c: c.sample):
        if one.prompt_id not in prompts:
            raise RecordError(
                f"candidates.jsonl: prompt {one.prompt_id[:12]} is not among the prompts; "
                "were they made from other data?"
            )
        if one.text.strip():
            by_prompt[one.prompt_id].setdefault(one.text, one)
    chosen = []
    for prompt_id in prompts:
        answers = sorted(one.id for one in by_prompt.get(prompt_id, {}).values())
        pairs = sorted(combinations(answers, 2), key=lambda pair: _hash("pair", seed, prompt_id, *pair))
        for first, second in pairs[:per_prompt]:
            swap = _hash("side", seed, round, prompt_id, first, second)[0] & 1
            ids = (second, first) if swap else (first, second)
            chosen.append(Comparison(prompt_id=prompt_id, candidate_ids=ids, guideline=guideline, round=round))
    return chosen


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


def _hash(*parts: object) -> bytes:
    return hashlib.sha256(canonical(list(parts)).encode("utf-8")).digest()
