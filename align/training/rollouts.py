"""Answers that a policy draws while it learns, what they were worth, and the looks taken on the way.

Every answer's seed is that of its step and place, and answers come from the library's own sampler: a run that was
killed draws the same ones again.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from align.configs import RLHFConfig
from align.evals.detector import refuses
from align.evals.rules import HARMFUL
from align.models.chat import Chat
from align.models.sampling import Draw, answers
from align.models.trees import Group, answer_logps, supported
from align.ports import Mark
from align.preference.overoptimisation import Alarm, Look, alarm, distinct, self_similarity
from align.records import Prompt
from align.store import jsonl

Drawn = list[list[list[int]]]
"""[prompt][sample], token ids, the end of text included where it came."""


@dataclass(frozen=True)
class Told:
    """A prompt as text and as tokens."""

    prompt: Prompt
    ids: tuple[int, ...]


def draw(
    model: Any, told: Sequence[Told], seeds: Sequence[Sequence[int]], chosen: Draw, *, rows_at_once: int = 32
) -> Drawn:
    """Answers of the model as it stands, one a seed."""
    was = model.training
    model.eval()
    found: Drawn = [[] for _ in told]
    rows = max(rows_at_once, max(map(len, seeds)))
    for i, written in answers(model, [list(t.ids) for t in told], seeds, chosen, rows_at_once=rows):
        found[i] = written
    model.train(was)
    return found


def seed_of(*parts: object) -> int:
    """A seed for numpy, from whatever names a draw."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8], "big") % 2**32


def marked(marks: Iterable[Mark], prompts: Sequence[Prompt], texts: Sequence[str]) -> dict[str, list[float]]:
    """Each mark's score of each answer, cut to its bounds."""
    found = {}
    for mark in marks:
        low, high = mark.clip or (-float("inf"), float("inf"))
        scores = [float(x) for x in mark.score(prompts, texts)]
        # what is no number stays none, whatever the bounds
        found[mark.name] = [min(max(x, low), high) if math.isfinite(x) else x for x in scores]
    return found


class Watching:
    """Looks at the policy on prompts that it does not learn from, and says when it has learnt the reward instead."""

    def __init__(
        self,
        config: RLHFConfig,
        told: Sequence[Told],
        marks: Sequence[Mark],
        held_out: Mark | None,
        decode: Callable[[Sequence[int]], str],
        chosen: Draw,
        work: Path,
        seed: int,
    ) -> None:
        self.config, self.told, self.marks, self.held_out = config, told, marks, held_out
        self.decode, self.chosen, self.seed = decode, chosen, seed
        self._journal = jsonl.Journal(work / "looks.jsonl")
        self.rows: list[dict[str, Any]] = list(self._journal.done())
        self.alarms: dict[str, Alarm] = {}

    def forget_after(self, step: int) -> None:
        """Drop looks of steps that a killed run had taken and this one takes again."""
        self.rows = [row for row in self.rows if row["step"] <= step]
        path = self._journal.path
        self._journal.close()
        jsonl.write(path, self.rows)
        self._journal = jsonl.Journal(path)
        for row in self.rows:
            self._judge(row["step"])

    def look(self, model: Any, reference: AbstractContextManager[Any], step: int, ends: frozenset[int]) -> None:
        """Two answers to each prompt, by the same seeds at each look."""
        seeds = [[seed_of(self.seed, "watch", t.prompt.id, k) for k in (0, 1)] for t in self.told]
        drawn = draw(model, self.told, seeds, self.chosen, rows_at_once=self.config.engine.rows_at_once)
        prompts = [t.prompt for t in self.told for _ in (0, 1)]
        texts = [self.decode(ids) for of_prompt in drawn for ids in of_prompt]
        scores = marked(self.marks, prompts, texts)
        held_out = marked([self.held_out], prompts, texts)[self.held_out.name] if self.held_out else None
        kl = self._kl(model, reference, drawn)
        for i, of_prompt in enumerate(drawn):
            at = slice(2 * i, 2 * i + 2)
            row = {
                "step": step,
                "prompt_id": self.told[i].prompt.id,
                "answers": texts[at],
                "proxy": fmean(sum(m.weight * scores[m.name][j] for m in self.marks) for j in range(2 * i, 2 * i + 2)),
                "held_out": None if held_out is None else fmean(held_out[at]),
                "kl": fmean(kl[at]),
                "tokens": fmean(map(len, of_prompt)),
                "refused": fmean(refuses(text) for text in texts[at]),
                "harmful": self.told[i].prompt.meta.get("kind") in HARMFUL,
                "likeness": self_similarity(texts[at]),
                # none where neither answer has two words
                "distinct": number_or_none(distinct(texts[at])),
                "unfinished": fmean(not ids or ids[-1] not in ends for ids in of_prompt),
            }
            self.rows.append(row)
            self._journal.append(row)
        self._judge(step)

    def of(self, step: int) -> list[dict[str, Any]]:
        """The rows of one look, in the order of the prompts."""
        return [row for row in self.rows if row["step"] == step]

    @property
    def steps(self) -> list[int]:
        """When looks were taken."""
        return sorted({row["step"] for row in self.rows})

    def summary(self, step: int) -> dict[str, Any]:
        """The means of one look."""
        rows = self.of(step)
        names = ("proxy", "held_out", "kl", "tokens", "refused", "likeness", "distinct", "unfinished")
        known = {name: [row[name] for row in rows if row[name] is not None] for name in names}
        return {name: fmean(values) for name, values in known.items() if values}

    def looks(self, field: str = "held_out", sign: float = 1.0) -> list[Look]:
        """Every look, with `field` in the place of the held-out reward."""
        found = []
        # the same prompts at each look: a field that none has at one of them says nothing of it at the others
        missing = {row["prompt_id"] for row in self.rows if field != "held_out" and row[field] is None}
        for step in self.steps:
            # to decline what is harmful is what people want: only other refusals are watched
            rows = [row for row in self.of(step)
                    if row["prompt_id"] not in missing and not (field == "refused" and row["harmful"])]  # fmt: skip
            if not rows:
                continue
            values = tuple(sign * row[field] for row in rows) if rows[0][field] is not None else ()
            found.append(Look(step, tuple(row["proxy"] for row in rows), values, fmean(row["kl"] for row in rows)))
        return found

    def best(self) -> int:
        """The step of the look with the highest held-out reward (the trained one where nobody judges)."""
        field = "held_out" if self.held_out else "proxy"
        return max(self.steps, key=lambda step: fmean(row[field] for row in self.of(step)))

    def _judge(self, step: int) -> None:
        """The same rule for the held-out reward; for length, refusals and likeness growing; for variety falling."""
        upto = [look for look in self.looks() if look.step <= step]
        if (found := alarm(upto, self.config.watch.standard_errors)) is not None:
            self.alarms.setdefault("held_out", found)
        for name, sign in (("tokens", -1.0), ("refused", -1.0), ("likeness", -1.0), ("distinct", 1.0)):
            first_and_last = [look for look in self.looks(name, sign) if look.step in (self.steps[0], step)]
            if (found := alarm(first_and_last, self.config.watch.standard_errors)) is not None:
                self.alarms.setdefault(name, found)

    def _kl(self, model: Any, reference: AbstractContextManager[Any], drawn: Drawn) -> list[float]:
        """log π - log π_ref of each answer, in nats, at the temperature it was drawn at: the k1 estimate of
        KL(policy ‖ reference)."""
        groups = [Group(t.ids, tuple(map(tuple, of))) for t, of in zip(self.told, drawn, strict=True)]
        now = sums(model, groups, self.chosen.temperature)
        with reference as ref:
            before = sums(ref, groups, self.chosen.temperature)
        return [a - b for a, b in zip(now, before, strict=True)]

    def close(self) -> None:
        self._journal.close()


def number_or_none(value: float) -> float | None:
    """NaN has no place in a file of JSON."""
    return value if value == value else None


def sums(model: Any, groups: Sequence[Group], temperature: float = 1.0) -> list[float]:
    """Nats of each answer, group by group; an empty answer has 0."""
    was = model.training
    model.eval()
    filled = [Group(g.prompt, tuple(a for a in g.answers if a)) for g in groups]
    used = [g for g in filled if g.answers]
    if supported(model):
        found = iter(answer_logps(model, used, temperature=temperature).sums)
        values = {id(g): next(found) for g in used}
    else:
        from align.models.logp import token_logps

        rows = {id(g): [([*g.prompt, *a], len(g.prompt)) for a in g.answers] for g in used}
        values = {key: token_logps(model, some, temperature=temperature) for key, some in rows.items()}
    model.train(was)
    out = []
    for group, kept in zip(groups, filled, strict=True):
        own = iter(values.get(id(kept), ()))
        out += [next(own) if answer else 0.0 for answer in group.answers]
    return out


class Rollouts:
    """Every answer drawn for training: prompt, text, each reward, and its KL once the policy has read it."""

    def __init__(self, work: Path) -> None:
        self._journal = jsonl.Journal(work / "rollouts.jsonl")
        self._waiting: dict[int, dict[str, Any]] = {}
        self._missing = 0

    def drawn(self, rows: Sequence[dict[str, Any]]) -> None:
        """The answers of one step."""
        self._waiting = dict(enumerate(rows))
        self._missing = len(rows)

    def read(self, places: Sequence[int], kl: Sequence[float] | None) -> None:
        """The KL of some of them (none without a reference); written down once all have been read."""
        for n, place in enumerate(places):
            row = self._waiting.get(place)
            if row is not None and "kl" not in row:
                row["kl"] = None if kl is None else kl[n]
                self._missing -= 1
        if self._waiting and self._missing == 0:
            self._journal.append({"rows": list(self._waiting.values())})
            self._waiting = {}

    def close(self) -> None:
        self._journal.close()

    def rows(self, *, upto: int) -> Iterator[dict[str, Any]]:
        """What was written down, each step once, the later writing of it."""
        by_step: dict[int, list[dict[str, Any]]] = {}
        for _, entry in jsonl.rows(self._journal.path):
            by_step[entry["rows"][0]["step"]] = entry["rows"]
        for step in sorted(by_step):
            if step <= upto:
                yield from by_step[step]


def write_parquet(rows: Sequence[Mapping[str, Any]], path: Path, *, most: int) -> int:
    """At most so many rows, sampled by the hash of what they are; how many there were."""
    import pyarrow
    import pyarrow.parquet

    kept = list(rows)
    if len(kept) > most:
        order = sorted(
            range(len(kept)), key=lambda i: hashlib.sha256(json.dumps(kept[i], sort_keys=True).encode()).digest()
        )
        kept = [kept[i] for i in sorted(order[:most])]
    table = pyarrow.Table.from_pylist([dict(row) for row in kept])
    pyarrow.parquet.write_table(table, path, compression="zstd", write_statistics=False)
    return len(rows)


def tell(prompts: Sequence[Prompt], chat: Chat, *, most: int) -> tuple[list[Told], int]:
    """Prompts as tokens, and how many were longer than `most` of them and are left out."""
    told = []
    for prompt in prompts:
        ids = tuple(chat.prompt(prompt.messages, None if prompt.tools is None else [dict(t) for t in prompt.tools]))
        if len(ids) <= most:
            told.append(Told(prompt, ids))
    return told, len(prompts) - len(told)


def set_aside(prompts: Sequence[Prompt], n: int) -> tuple[list[Prompt], list[Prompt]]:
    """Prompts to learn from, and at most `n` (and a fifth) to look at, chosen by their names alone."""
    n = min(n, len(prompts) // 5)
    chosen = {p.id for p in sorted(prompts, key=lambda p: seed_of("watch", p.id))[:n]}
    return [p for p in prompts if p.id not in chosen], [p for p in prompts if p.id in chosen]
