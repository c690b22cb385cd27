"""Stage `benchmark`: the published data of one instrument become items or prompts, with their licence and revision."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path

from align.configs import BenchmarkStep
from align.data import published
from align.data.published import Question
from align.errors import RecipeError
from align.evals import instruments
from align.ports import Inputs, Tools
from align.records import Item, Prompt, canonical
from align.store import jsonl

VERSION = 1


def run(config: BenchmarkStep, inputs: Inputs, out: Path, tools: Tools) -> None:
    """Write `items.jsonl` or `test_prompts.jsonl`, and `summary.json` with the files they came from."""
    of = instruments.instrument(config.instrument).published
    if of is None:
        raise RecipeError(f"{config.instrument}: reads no public data")
    if config.path is not None:
        everything, sources = published.read(of, Path(config.path))
    else:
        assert config.hub is not None
        assert config.revision is not None
        name = "/".join(part for part in (config.hub, config.subset, config.split) if part)
        found = tools.rows(config.hub, config.revision, config.subset, config.split)
        everything, sources = published.read_hub(of, name, config.revision, found)
    taken = chosen(everything, config.max_items)
    if config.max_items is not None and len(taken) == len(everything):
        tools.note(f"{config.instrument}: max_items {config.max_items} leaves out none of {len(everything)} items")
    jsonl.write(out / "items.jsonl", [one for one in taken if isinstance(one, Item)])
    jsonl.write(out / "test_prompts.jsonl", [one for one in taken if isinstance(one, Prompt)])
    summary = {
        "benchmark": config.instrument,
        "title": of.title,
        "n_published": of.n,
        "n_read": len(everything),
        "n_taken": len(taken),
        "sources": [source.model_dump(mode="json", exclude_none=True) for source in sources],
    }
    (out / "summary.json").write_text(canonical(summary) + "\n", encoding="utf-8")


def chosen(questions: Iterable[Question], most: int | None) -> Sequence[Question]:
    """Each question once, at most so many of each `meta.kind`, chosen by hash.

    Questions with one `meta.together` (a sentence and the same with another pronoun) are chosen together, which may
    take a few more than `most`.
    """
    distinct = {question.id: question for question in questions}
    groups: dict[str, list[Question]] = {}
    for question in sorted(distinct.values(), key=lambda question: question.id):
        groups.setdefault(str(question.meta.get("together", question.id)), []).append(question)
    taken: Counter[str] = Counter()
    kept: list[Question] = []
    for name in sorted(groups, key=lambda name: sha256(name.encode("utf-8")).digest()):
        group = groups[name]
        if most is None or all(taken[str(question.meta.get("kind"))] < most for question in group):
            taken.update(str(question.meta.get("kind")) for question in group)
            kept += group
    return sorted(kept, key=lambda question: question.id)
