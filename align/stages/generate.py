"""Stage `generate`: a model's answers to prompts, each drawn from a seed of its own: no order or batch matters."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from align.configs import GenerateStep, SamplingConfig, Writer
from align.data.drawn import Tally, split_thought
from align.errors import BackendError, RecordError
from align.ports import Inputs, Sample, Sampler, SampleRequest, Tools, Unanswered
from align.records import Message, Prompt, canonical
from align.stages.pace import Pace
from align.store import jsonl
from align.store.fingerprint import Digests, fingerprint
from align.store.shards import Shards

VERSION = 3


@dataclass(frozen=True)
class Asked:
    """The prompts of a file by id, in its order, each with the place and size of its row: they are read when needed."""

    path: Path
    places: Mapping[str, tuple[int, int]]

    def conversations(self, ids: Iterable[str]) -> Iterator[tuple[str, tuple[Message, ...], Any]]:
        """Id, messages and tools of these prompts, in their order; each was validated when its place was found."""
        handle = os.open(self.path, os.O_RDONLY)
        try:
            for prompt_id in ids:
                offset, size = self.places[prompt_id]
                row = from_json(os.pread(handle, size, offset))
                yield prompt_id, tuple(map(_message, row["messages"])), row.get("tools")
        finally:
            os.close(handle)

    def longest_first(self, ids: Iterable[str]) -> list[str]:
        """So that no long prompt is begun when the others are done; the longest row is taken for the longest prompt."""
        return sorted(ids, key=lambda prompt_id: (-self.places[prompt_id][1], self.places[prompt_id][0]))


@dataclass(frozen=True)
class Part:
    """What one writer is asked: how it draws, how often, and the name its candidates bear."""

    writer: Writer | None
    model: str
    settings: SamplingConfig
    n: int

    @property
    def source(self) -> str:
        """The input that holds the writer's model."""
        return (self.writer and self.writer.model) or "model"


def run(config: GenerateStep, inputs: Inputs, out: Path, tools: Tools) -> None:
    """Answer every prompt; what this run's predecessors have drawn with the same settings is taken from its shelf."""
    prompts = asked(inputs["data"].path / f"{config.of}.jsonl", sealed="key" in inputs["data"].manifest)
    wanted = parts(config, model=inputs["model"].digest)
    for part in wanted:
        if part.n > 1 and part.settings.temperature == 0:
            raise RecordError(
                f"generate: {part.n} samples a prompt at temperature 0 would all be equal; "
                "raise the temperature, or set samples_per_prompt: 1"
            )
    sources = list(dict.fromkeys(part.source for part in wanted))
    samplers = {
        name: tools.sampler(inputs[name].path / "model", config.for_model(None if name == "model" else name))
        for name in sources
    }
    shelves: list[Shards] = []
    try:
        for part in wanted:
            digest, sampler = inputs[part.source].digest, samplers[part.source]
            name = shelf_name(part, digest, sampler, seed=tools.seed, dtype=tools.runtime.dtype)
            shelves.append(Shards(tools.shelf(name), key=lambda row: str(row["prompt_id"])))
        tools.figure("generate.shelves", [shelf.folder.name for shelf in shelves])
        draw(prompts, wanted, shelves, samplers, tools)
        tally = Tally()
        missing: list[dict[str, Any]] = []
        consecutive = [samplers[part.source].consecutive for part in wanted]
        made = collect(prompts, wanted, shelves, tally, missing, seed=tools.seed, consecutive=consecutive)
        write(out / "candidates.jsonl", made)
    finally:
        for sampler in samplers.values():
            sampler.close()
        for shelf in shelves:
            shelf.close()
    if missing:
        jsonl.write(out / "unanswered.jsonl", missing)
        tools.note(f"{len(missing)} of {tally.n_prompts} prompts are not answered in full: {missing[0]['detail']}, …")
    summary = tally.summary()
    if tally.n_prompts and not tally.n_candidates:
        raise RecordError(
            f"generate: none of {tally.n_prompts} prompts got an answer: {missing[0]['reason']}: {missing[0]['detail']}"
        )
    if summary["no_pair_share"] == 1.0:
        raise RecordError(
            f"generate: all answers to each of {summary['n_prompts']} prompts are equal, so no pair is possible "
            f"(temperature {config.temperature:g}, {config.samples_per_prompt} samples); raise the temperature"
        )
    (out / "summary.json").write_text(canonical(summary) + "\n", encoding="utf-8")


def asked(path: Path, *, sealed: bool = False) -> Asked:
    """The prompts of a file, each once. What stands in a sealed artifact was validated when it was written there."""
    places: dict[str, tuple[int, int]] = {}
    if sealed:
        offset = 0
        with open(path, "rb") as stream:
            for raw in stream:
                places.setdefault(str(from_json(raw)["id"]), (offset, len(raw)))
                offset += len(raw)
        return Asked(path, places)
    for offset, size, prompt in jsonl.places(path, Prompt):
        places.setdefault(prompt.id, (offset, size))
    return Asked(path, places)


def parts(config: GenerateStep, *, model: str) -> list[Part]:
    """Each writer with its settings; the stage's model alone where the recipe names none."""
    settings = {name: value for name, value in config if name in SamplingConfig.model_fields}
    if not config.writers:
        return [Part(None, model, SamplingConfig(**settings), config.samples_per_prompt)]
    found = []
    for writer in config.writers:
        own = {name: value for name, value in writer if name in ("temperature", "top_p") and value is not None}
        found.append(
            Part(
                writer, writer.name, SamplingConfig(**settings | own),
                writer.samples_per_prompt or config.samples_per_prompt,
            )
        )  # fmt: skip
    return found


def shelf_name(part: Part, model: str, sampler: Sampler, *, seed: int, dtype: str) -> str:
    """Everything that decides an answer beside the prompt and the sample's place."""
    settings = part.settings.keyed()
    writer = None
    if part.writer is not None:
        adapter = part.writer.adapter and Digests(None).anything(Path(part.writer.adapter))
        writer = [adapter, part.writer.served]
    return fingerprint(["answers", VERSION, model, writer, settings, dict(sampler.made_with), seed, dtype])


def draw(
    prompts: Asked, wanted: Sequence[Part], shelves: Sequence[Shards], samplers: Mapping[str, Sampler], tools: Tools
) -> None:
    """Ask for what is not on the shelves yet, longest prompts first; each finished prompt is put there at once.

    One model is in memory at a time: its writers are all asked before the next one's.
    """
    had = [{prompt_id: finished(shelf, prompt_id) for prompt_id in prompts.places} for shelf in shelves]
    total = len(prompts.places) * len(wanted)
    left = [[p for p, n in own.items() if n < part.n] for part, own in zip(wanted, had, strict=True)]
    n_left = sum(map(len, left))
    with tools.progress("answering", total) as progress:
        progress.advance(total - n_left)
        pace = Pace(progress, n_left)
        for source, sampler in samplers.items():
            for part, shelf, own, missing in zip(wanted, shelves, had, left, strict=True):
                if part.source != source or not missing:
                    continue
                questions = (
                    SampleRequest(
                        prompt_id,
                        messages,
                        seeds_of(
                            prompt_id, range(own[prompt_id], part.n), seed=tools.seed, consecutive=sampler.consecutive
                        ),
                        tools_known,
                    )
                    for prompt_id, messages, tools_known in prompts.conversations(prompts.longest_first(missing))
                )
                for prompt_id, said in sampler.sample(questions, part.settings, part.writer):
                    shelf.append(row_of(prompt_id, own[prompt_id], said))
                    pace.finished(said)
            pace.ended(sampler)
            sampler.close()
    if n_left:
        pace.tell(tools)


def finished(shelf: Shards, prompt_id: str) -> int:
    """How many samples of a prompt the shelf holds, from the first on without a gap; those refused count as drawn."""
    n = 0
    for row in sorted(shelf.rows(prompt_id), key=lambda row: int(row["first"])):
        if row["first"] <= n:
            n = max(n, int(row["first"]) + (2**31 if row.get("reason") == "too_long" else len(row["samples"])))
    return n


def seeds_of(prompt_id: str, samples: range, *, seed: int, consecutive: bool) -> tuple[int, ...]:
    """The seeds of some samples of a prompt."""
    if consecutive:
        first = sample_seed(seed, prompt_id, 0)
        return tuple(first + i for i in samples)
    return tuple(sample_seed(seed, prompt_id, i) for i in samples)


def sample_seed(seed: int, prompt_id: str, sample: int) -> int:
    """From 0 to 2^31 - 1; it depends on these three alone."""
    # the canonical JSON of these four, written out: a name is hexadecimal, so nothing in it is escaped
    plain = f'["sample",{seed},"{prompt_id}",{sample}]' if prompt_id.isalnum() and prompt_id.isascii() else None
    named = plain or canonical(["sample", seed, prompt_id, sample])
    digest = hashlib.sha256(named.encode("utf-8")).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def row_of(prompt_id: str, first: int, said: Sequence[Sample] | Unanswered) -> dict[str, Any]:
    """What the shelf keeps of a finished prompt."""
    samples = said.samples if isinstance(said, Unanswered) else said
    row = {"prompt_id": prompt_id, "first": first, "samples": [vars(sample) for sample in samples]}
    return row | {"reason": said.reason, "detail": said.detail} if isinstance(said, Unanswered) else row


def collect(
    prompts: Asked, wanted: Sequence[Part], shelves: Sequence[Shards], tally: Tally, missing: list[dict[str, Any]],
    *, seed: int, consecutive: Sequence[bool],
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """The candidates, in the prompts' order, one prompt in memory; BackendError where the sampler left some out.

    `missing` gets a row for each prompt that got fewer answers than it should, and why.
    """
    for prompt_id in prompts.places:
        own: list[dict[str, Any]] = []
        for part, shelf, follow in zip(wanted, shelves, consecutive, strict=True):
            drawn, reason = samples_of(shelf, prompt_id, part.n)
            if len(drawn) < part.n:
                if reason is None:
                    raise BackendError(
                        f"generate: {len(drawn)} answers to prompt {prompt_id[:12]}, expected {part.n}; "
                        "the sampler stopped early"
                    )
                missing.append({"prompt_id": prompt_id, "model": part.model, "n_samples": len(drawn),
                                "reason": reason["reason"], "detail": reason["detail"]})  # fmt: skip
            seeds = seeds_of(prompt_id, range(len(drawn)), seed=seed, consecutive=follow)
            for place, (sample, its) in enumerate(zip(drawn, seeds, strict=True)):
                own.append(candidate(prompt_id, sample, model=part.model, place=place, seed=its))
        tally.add(own)
        yield from own


def samples_of(shelf: Shards, prompt_id: str, n: int) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
    """The first n samples of a prompt, and where there are fewer, the row that says why."""
    drawn: list[dict[str, Any]] = []
    reason = None
    for row in sorted(shelf.rows(prompt_id), key=lambda row: int(row["first"])):
        if row["first"] <= len(drawn):
            drawn += row["samples"][len(drawn) - row["first"] :]
        reason = row if "reason" in row else reason
    return drawn[:n], reason if len(drawn) < n else None


def candidate(prompt_id: str, sample: Mapping[str, Any], *, model: str, place: int, seed: int) -> dict[str, Any]:
    """The row of a `Candidate`; what was thought stands beside what was said.

    It is written out here, and not by the record, which takes ten times as long: a test holds the two equal.
    """
    thought, text = split_thought(sample["text"])
    completion = [{"content": text, "role": "assistant"}]
    named = {"record": "Candidate", "schema": 1, "prompt_id": prompt_id, "completion": completion, "model": model,
             "sample": place}  # fmt: skip
    row = {
        "id": hashlib.sha256(canonical(named).encode("utf-8")).hexdigest(),
        "schema": 1,
        "prompt_id": prompt_id,
        "completion": completion,
        "model": model,
        "sample": place,
        "seed": seed,
        "finish_reason": sample["finish_reason"],
        "n_tokens": sample["n_tokens"],
        "logp": sample.get("logp"),
        "thinking": sample["thinking"] if sample.get("thinking") is not None else thought,
    }
    return {name: value for name, value in row.items() if value is not None}


def write(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Rows as JSON Lines, on disk when this returns."""
    with open(path, "w", encoding="utf-8", newline="\n", buffering=1 << 20) as stream:
        for row in rows:
            stream.write(canonical(row) + "\n")
        stream.flush()
        os.fsync(stream.fileno())


def _message(row: dict[str, Any]) -> Message:
    return Message.model_construct(**row) if row.keys() == {"role", "content"} else Message.model_validate(row)
