"""Stage `prepare`: whatever rows the recipe names become our records, each prompt on one side of the split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Generic

from pydantic import BaseModel

from align.configs import DataConfig, DataFile, Testbed
from align.data import benchmarks, formats, ranked, rows
from align.data.auditing import Audit
from align.data.reading import Part, R, Reading, asked
from align.data.selection import Taken
from align.data.splits import Side, Sides, opening_key, prompt_key
from align.errors import RecipeError, RecordError
from align.ports import Inputs, Tools
from align.records import Demonstration, Item, Preference, Prompt, Source, canonical
from align.store import jsonl
from align.testbed import corpus, items, tasks
from align.testbed.world import make_world

VERSION = 3

OPENS_LIKE_TEST = "opens like a row that is for test"
CONTRADICTED = "contradicted by another row"


@dataclass
class Prepared(Generic[R]):
    """One kind of record, both sides."""

    train: list[R] = field(default_factory=list)
    test: list[R] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)

    def add(self, record: R, side: Side) -> None:
        (self.train if side == "train" else self.test).append(record)


def run(config: DataConfig, inputs: Inputs, out: Path, tools: Tools) -> None:
    """Write the files whose data the recipe has, and `summary.json`."""
    sources: list[dict[str, Any]] = []
    with tools.progress("reading data") as progress:

        def read(file: DataFile, part: str) -> Iterator[rows.Row]:
            for row in rows.read(file, tools.rows):
                progress.advance(note=part)
                yield row

        benchmark = _xstest(config.xstest, sources)
        kept_out = frozenset(opening_key(prompt.messages) for prompt in benchmark)
        ask = Reading(read, sources, config.max_equal_share, kept_out)
        texts = [text for file in config.text for text in ask.texts(file)]
        demonstrations = [(f, ask.records(f, "demonstrations", formats.demonstration)) for f in config.demonstrations]
        prompts = [(f, ask.records(f, "prompts", formats.prompt)) for f in config.prompts]
        preferences = [(f, ask.records(f, "preferences", formats.preference)) for f in config.preferences]
        rankings = [(f, ask.records(f, "rankings", ranked.ranking)) for f in config.rankings]

    made = _testbed(config.testbed, tools.seed) if config.testbed is not None else None
    sides = Sides(test_share=config.test_share, by=config.split_by)
    for prompt in _held_out(inputs):
        sides.fix(prompt.messages, "test", "test_prompts.jsonl")
    _fix(sides, demonstrations)
    _fix(sides, prompts)
    _fix(sides, preferences)
    _fix(sides, rankings)
    for prompt in made.test_prompts if made else []:
        sides.fix(prompt.messages, "test", "testbed")
    for prompt in made.prompts if made else []:
        sides.fix(prompt.messages, "train", "testbed")

    shown = arrange("demonstrations", demonstrations, sides, config.test_share, made.demonstrations if made else ())
    asked_for = arrange("prompts", prompts, sides, config.test_share)
    compared = consistent(arrange("preferences", preferences, sides, config.test_share))
    ordered = arrange("rankings", rankings, sides, config.test_share)
    audit = Audit(config.personal, config.alike)
    _audited(audit, "demonstrations", shown)
    _audited(audit, "prompts", asked_for)
    _audited(audit, "preferences", compared)
    _audited(audit, "rankings", ordered)
    if made is not None:
        texts += made.text
        asked_for.train += made.prompts
        asked_for.test += made.test_prompts
        sources.append({"part": "testbed", "name": "testbed", "provenance": "simulated"})
    asked_for.test += benchmark

    written: dict[str, Sequence[BaseModel | dict[str, Any]]] = {
        "text.jsonl": [{"text": text} for text in texts],
        "demonstrations.train.jsonl": shown.train,
        "demonstrations.test.jsonl": shown.test,
        "prompts.jsonl": asked_for.train,
        "test_prompts.jsonl": asked_for.test,
        "preferences.train.jsonl": compared.train,
        "preferences.test.jsonl": compared.test,
        "rankings.train.jsonl": ordered.train,
        "rankings.test.jsonl": ordered.test,
        "items.jsonl": made.items if made else [],
    }
    counts = {name: jsonl.write(out / name, records) for name, records in written.items() if records}
    dropped = {
        part: dict(p.dropped)
        for part, p in (
            ("demonstrations", shown),
            ("prompts", asked_for),
            ("preferences", compared),
            ("rankings", ordered),
        )
        if p.dropped
    }
    summary = {"rows": counts, "sources": sources, "dropped_between_files": dropped, **audit.told()}
    if config.testbed is not None:
        summary["testbed"] = config.testbed.model_dump(mode="json")
    (out / "summary.json").write_text(canonical(summary) + "\n", encoding="utf-8")


def _audited(audit: Audit, part: str, found: Prepared[R]) -> None:
    """Both sides as the recipe lets them be used; RecordError where nothing is left to train on."""
    n = len(found.train)
    found.train, found.test, dropped = audit.of(part, found.train, found.test)
    found.dropped.update(dropped)
    if n and not found.train:
        why = ", ".join(f"{n} {reason}" for reason, n in sorted(dropped.items()))
        raise RecordError(f"data.{part}: 0 of {n} rows are left to train on: {why}; use data.personal: redact")


def arrange(
    part: Part,
    files: Sequence[tuple[DataFile, Taken[R]]],
    sides: Sides,
    test_share: float,
    made: Iterable[R] = (),
) -> Prepared[R]:
    """The records of all files on their sides, each once; RecordError where a side that was asked for stays empty."""
    prepared: Prepared[R] = Prepared()
    seen: set[str] = set()
    for file, taken in files:
        for unit in taken.units:
            if unit.value.id in seen:
                prepared.dropped["duplicate of a row in another file"] += 1
                continue
            seen.add(unit.value.id)
            if file.role == "train" and sides.of(asked(unit.value)) == "test":
                prepared.dropped[OPENS_LIKE_TEST] += 1
                continue
            prepared.add(unit.value, sides.of(asked(unit.value)) if file.role == "split" else file.role)
    for record in made:
        prepared.add(record, sides.of(asked(record)))
    if test_share > 0 and any(file.role == "split" for file, _ in files):
        n = len(prepared.train) + len(prepared.test)
        for side, found in (("train", prepared.train), ("test", prepared.test)):
            if not found:
                raise RecordError(
                    f"data.{part}: the split left 0 of {n} rows for {side} (test_share {test_share:g}); "
                    f"set data.test_share: 0 to hold nothing out, or give more prompts{_shared(prepared)}"
                )
    return prepared


def _shared(prepared: Prepared[R]) -> str:
    """What else helps where it is the openings that are few."""
    prompts = [asked(record) for record in (*prepared.train, *prepared.test)]
    n, n_openings = len({prompt_key(one) for one in prompts}), len({opening_key(one) for one in prompts})
    if n == n_openings:
        return ""
    return f"; openings are shared ({n_openings} for {n} prompts), and data.split_by: prompt looks at the whole"


def consistent(prepared: Prepared[Preference]) -> Prepared[Preference]:
    """The pairs that no other pair turns round: where two say opposite things of the same answers, both go, counted."""

    def names(pair: Preference) -> tuple[str, str, str]:
        chosen, rejected = (canonical([m.model_dump() for m in side]) for side in (pair.chosen, pair.rejected))
        # hashed, so that a large set is not held in memory twice
        prompt, first, second = (
            sha256(text.encode("utf-8")).hexdigest() for text in (prompt_key(pair.prompt), chosen, rejected)
        )
        return prompt, first, second

    everything = prepared.train + prepared.test
    known = {names(pair) for pair in everything}
    turned = {
        pair.id
        for pair in everything
        for prompt, chosen, rejected in [names(pair)]
        if (prompt, rejected, chosen) in known
    }
    result = Prepared(
        train=[pair for pair in prepared.train if pair.id not in turned],
        test=[pair for pair in prepared.test if pair.id not in turned],
        dropped=Counter(prepared.dropped),
    )
    if turned:
        result.dropped[CONTRADICTED] += len(turned)
    return result


def _held_out(inputs: Inputs) -> list[Prompt]:
    """The test prompts of the recipe's data, where these rows are beside them: what meets one is held out too."""
    path = inputs["data"].path / "test_prompts.jsonl" if "data" in inputs else None
    return list(jsonl.read(path, Prompt)) if path is not None and path.exists() else []


def _fix(sides: Sides, files: Iterable[tuple[DataFile, Taken[R]]]) -> None:
    for file, taken in files:
        if file.role != "split":
            for unit in taken.units:
                sides.fix(asked(unit.value), file.role, unit.place)


def _xstest(path: str | None, sources: list[dict[str, Any]]) -> list[Prompt]:
    if path is None:
        return []
    prompts = benchmarks.xstest(Path(path))
    told = Source(name=Path(path).name, digest=rows.sha256(Path(path)), licence="CC-BY-4.0")
    sources.append(
        {
            "part": "xstest",
            **told.model_dump(mode="json"),
            "n_read": len(prompts),
            "n_kept": len(prompts),
            "dropped": {},
        }
    )
    return prompts


@dataclass(frozen=True)
class _Made:
    text: list[str]
    demonstrations: list[Demonstration]
    prompts: list[Prompt]
    test_prompts: list[Prompt]
    items: list[Item]


def _testbed(config: Testbed, seed: int) -> _Made:
    world = make_world(config.world_seed, pronoun_skew=config.pronoun_skew)
    knobs: Mapping[str, Callable[[], Any]] = {
        "demonstrations": lambda: tasks.demonstrations(world, config.demonstrations, seed),
        "prompts": lambda: tasks.prompts(world, config.prompts, seed),
        "test_prompts": lambda: tasks.held_out(world, config.test_prompts, seed),
        "test_items": lambda: items.fact_items(world, config.test_items, seed) + items.pronoun_pairs(world),
    }
    made: dict[str, Any] = {}
    for knob, make in knobs.items():
        try:
            made[knob] = make()
        except ValueError as error:
            raise RecipeError(f"data.testbed.{knob}: {str(error).removeprefix('n: ')}; ask for fewer") from error
    return _Made(
        text=corpus.corpus(world, seed=seed),
        demonstrations=made["demonstrations"],
        prompts=made["prompts"],
        test_prompts=made["test_prompts"],
        items=made["test_items"],
    )
