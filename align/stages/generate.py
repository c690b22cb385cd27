"""Stage `generate`: a model's answers to prompts, each drawn from a seed of its own: no order or batch matters."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from align.configs import GenerateStep, SamplingConfig
from align.errors import BackendError, RecordError
from align.ports import Inputs, Sample, SampleRequest, Tools
from align.records import Candidate, Message, Prompt, canonical
from align.store import jsonl

VERSION = 1

_THOUGHT = re.compile(r"\A\s*<think>(.*?)</think>\s*", re.DOTALL)


def run(config: GenerateStep, inputs: Inputs, out: Path, tools: Tools) -> None:
    """Answer every prompt; those that an earlier, killed run has answered are taken from the journal."""
    prompts = list(jsonl.read(inputs["data"].path / f"{config.of}.jsonl", Prompt))
    if config.samples_per_prompt > 1 and config.temperature == 0:
        raise RecordError(
            f"generate: {config.samples_per_prompt} samples a prompt at temperature 0 would all be equal; "
            "raise the temperature, or set samples_per_prompt: 1"
        )
    wanted = requests(prompts, n=config.samples_per_prompt, seed=tools.seed)
    with jsonl.Journal(tools.work / "answers.jsonl") as journal, tools.progress("answering", len(wanted)) as progress:
        answers = {str(row["prompt_id"]): [_sample(one) for one in row["samples"]] for row in journal.done()}
        progress.advance(len(answers))
        left = [request for request in wanted if request.prompt_id not in answers]
        if left:
            sampler = tools.sampler(inputs["model"].path / "model")
            try:
                for prompt_id, samples in sampler.sample(left, SamplingConfig(**dict(_sampling(config)))):
                    journal.append({"prompt_id": prompt_id, "samples": [vars(sample) for sample in samples]})
                    answers[prompt_id] = list(samples)
                    progress.advance()
            finally:
                sampler.close()
    candidates = collect(wanted, answers, model=inputs["model"].digest)
    jsonl.write(out / "candidates.jsonl", candidates)
    summary = summarise(candidates)
    if summary["no_pair_share"] == 1.0:
        raise RecordError(
            f"generate: all answers to each of {summary['n_prompts']} prompts are equal, so no pair is possible "
            f"(temperature {config.temperature:g}, {config.samples_per_prompt} samples); raise the temperature"
        )
    (out / "summary.json").write_text(canonical(summary) + "\n", encoding="utf-8")


def requests(prompts: Sequence[Prompt], *, n: int, seed: int) -> list[SampleRequest]:
    """What to ask, each prompt once, in the prompts' order."""
    distinct = {prompt.id: prompt for prompt in prompts}
    return [
        SampleRequest(
            prompt_id=prompt.id,
            messages=prompt.messages,
            seeds=tuple(sample_seed(seed, prompt.id, sample) for sample in range(n)),
            tools=prompt.tools,
        )
        for prompt in distinct.values()
    ]


def sample_seed(seed: int, prompt_id: str, sample: int) -> int:
    """From 0 to 2^31 - 1; it depends on these three alone."""
    digest = hashlib.sha256(canonical(["sample", seed, prompt_id, sample]).encode("utf-8")).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def collect(wanted: Sequence[SampleRequest], answers: Mapping[str, Sequence[Sample]], *, model: str) -> list[Candidate]:
    """The candidates, in the order in which they were asked for; BackendError where the sampler left some out."""
    candidates = []
    for request in wanted:
        samples = answers.get(request.prompt_id, ())
        if len(samples) != len(request.seeds):
            raise BackendError(
                f"generate: {len(samples)} answers to prompt {request.prompt_id[:12]}, expected {len(request.seeds)}; "
                "the sampler stopped early"
            )
        for place, (sample, seed) in enumerate(zip(samples, request.seeds, strict=True)):
            thought, text = split_thought(sample.text)
            candidates.append(
                Candidate(
                    prompt_id=request.prompt_id,
                    completion=(Message(role="assistant", content=text),),
                    model=model,
                    sample=place,
                    seed=seed,
                    finish_reason=sample.finish_reason,
                    n_tokens=sample.n_tokens,
                    thinking=thought,
                )
            )
    return candidates


def split_thought(text: str) -> tuple[str | None, str]:
    """What a model thought (`<think>…</think>` at the start) and what it then said."""
    found = _THOUGHT.match(text)
    return (found.group(1).strip(), text[found.end() :].strip()) if found else (None, text.strip())


def summarise(candidates: Iterable[Candidate]) -> dict[str, Any]:
    """How many answers are repeated, empty or cut short, and for which share of the prompts no two differ."""
    by_prompt: dict[str, list[Candidate]] = {}
    for candidate in candidates:
        by_prompt.setdefault(candidate.prompt_id, []).append(candidate)
    everything = [candidate for own in by_prompt.values() for candidate in own]
    distinct = {prompt_id: len({one.text for one in own if one.text}) for prompt_id, own in by_prompt.items()}
    several = [prompt_id for prompt_id, own in by_prompt.items() if len(own) > 1]
    words = sorted(len(one.text.split()) for one in everything)
    return {
        "n_prompts": len(by_prompt),
        "n_candidates": len(everything),
        "n_repeated": sum(len(own) - len({one.text for one in own}) for own in by_prompt.values()),
        "n_empty": sum(not one.text for one in everything),
        "n_cut_short": sum(one.finish_reason == "length" for one in everything),
        "no_pair_share": sum(distinct[prompt_id] < 2 for prompt_id in several) / len(several) if several else None,
        "median_words": words[len(words) // 2] if words else None,
    }


def _sampling(config: GenerateStep) -> Iterable[tuple[str, Any]]:
    return ((name, value) for name, value in config if name in SamplingConfig.model_fields)


def _sample(row: Mapping[str, Any]) -> Sample:
    return Sample(text=row["text"], n_tokens=row["n_tokens"], finish_reason=row["finish_reason"])
