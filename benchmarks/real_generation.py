"""The real chat model's candidates: vLLM on CPU beside our transformers engine, on the same 200 prompts.

`python benchmarks/real_generation.py PART [PROMPTS [TOKENS]]`, where PART is `greedy` (equality, 200 prompts, one
answer each) or `warm` (tokens a second, 4 answers each, engines in turns). Prompts: XSTest's and openings of hh-rlhf,
from ../shared/data. The last line is one JSON object; texts are not printed.
"""

from __future__ import annotations

import csv
import gzip
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from align.adapters.transformers import TransformersSampler, TransformersScorer
from align.adapters.turns import Turns
from align.adapters.vllm.offline import VllmSampler
from align.configs import GenerateStep, RuntimeConfig, SamplingConfig
from align.ports import Sample, Sampler, SampleRequest, ScoreRequest
from align.records import Message

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
MODEL = ROOT / "weights" / "smollm2-135m-instruct"
RUNTIME = RuntimeConfig(device="cpu", dtype="float32", threads=1)


def prompts(n: int) -> list[str]:
    """Half XSTest's, half what people first said in hh-rlhf."""
    with open(DATA / "safety/xstest/xstest_prompts.csv", newline="", encoding="utf-8") as stream:
        tested = [row["prompt"] for row in csv.DictReader(stream)][: n // 2]
    said: list[str] = []
    for path in sorted((DATA / "preferences/hh-rlhf").rglob("*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as stream:
            for line in stream:
                first = json.loads(line)["chosen"].split("\n\nAssistant:")[0].removeprefix("\n\nHuman:").strip()
                if 0 < len(first) < 400 and first not in said:
                    said.append(first)
                if len(said) == n - len(tested):
                    return tested + said
    return tested + said


def requests(n: int, samples: int) -> list[SampleRequest]:
    """One request a prompt, with seeds that follow one another."""
    return [
        SampleRequest(f"p{i}", (Message(role="user", content=text),), tuple(range(1000 * i, 1000 * i + samples)))
        for i, text in enumerate(prompts(n))
    ]


def drawn(
    engine: Sampler, asked: list[SampleRequest], settings: SamplingConfig
) -> tuple[dict[str, list[Sample]], float]:
    """Answers and seconds."""
    began = time.perf_counter()
    found = {name: said for name, said in engine.sample(asked, settings) if isinstance(said, list)}
    return found, time.perf_counter() - began


def greedy(n: int, most: int = 48) -> dict[str, Any]:
    """How many greedy answers are equal, and the token (its id) at which each of the others parts, with its
    log-probability by transformers given what both wrote before."""
    asked, settings = requests(n, 1), SamplingConfig(temperature=0, max_tokens=most)
    ours, theirs = TransformersSampler(MODEL, RUNTIME), VllmSampler(MODEL, GenerateStep(engine="vllm"), RUNTIME)
    theirs.child()
    of_vllm, vllm_s = drawn(theirs, asked, settings)
    theirs.close()
    of_transformers, transformers_s = drawn(ours, asked, settings)
    ours.close()
    scorer, turns, parting = TransformersScorer(MODEL, RUNTIME), Turns(MODEL), []
    for request in asked:
        a, b = of_transformers[request.prompt_id][0].text, of_vllm[request.prompt_id][0].text
        if a == b:
            continue
        cut = [turns.tokenizer(text, add_special_tokens=False)["input_ids"] for text in (a, b)]
        at = next((i for i, (x, y) in enumerate(zip(*cut, strict=False)) if x != y), min(map(len, cut)))
        context = turns.chat.render(request.messages, add_generation_prompt=True) + turns.tokenizer.decode(cut[0][:at])
        tokens = [turns.tokenizer.decode(ids[at : at + 1]) for ids in cut]
        logps = [round(score.logp, 5) for score in scorer.score([ScoreRequest(context, token) for token in tokens])]
        pairs = {"transformers": [*cut[0][at : at + 1], logps[0]], "vllm": [*cut[1][at : at + 1], logps[1]]}
        parting.append({"prompt": request.prompt_id, "at_token": at, **pairs})
    return {"n": n, "equal": n - len(parting), "equal_share": 1 - len(parting) / n, "parting": parting,
            "vllm_s": round(vllm_s, 1), "transformers_s": round(transformers_s, 1)}  # fmt: skip


def warm(n: int, most: int = 32) -> dict[str, Any]:
    """Tokens a second of both, in turns of a quarter of the prompts."""
    asked, settings = requests(n, 4), SamplingConfig(temperature=0.8, max_tokens=most)
    engines: dict[str, Sampler] = {
        "vllm": VllmSampler(MODEL, GenerateStep(engine="vllm"), RUNTIME),
        "transformers": TransformersSampler(MODEL, RUNTIME),
    }
    spent, tokens, answers = dict.fromkeys(engines, 0.0), dict.fromkeys(engines, 0), dict.fromkeys(engines, 0)
    for engine in engines.values():
        drawn(engine, asked[:1], settings)
    for turn in range(4):
        for name, engine in engines.items():
            found, seconds = drawn(engine, asked[turn::4], settings)
            spent[name] += seconds
            tokens[name] += sum(one.n_tokens or 0 for said in found.values() for one in said)
            answers[name] += sum(map(len, found.values()))
        per_s = {name: round(tokens[name] / spent[name], 1) for name in engines}
        ratio = round(per_s["vllm"] / per_s["transformers"], 3)
        told = {"n": (turn + 1) * n // 4, "answers": answers, "max_tokens": most, "tokens_per_s": per_s, "ratio": ratio}
        print(json.dumps(told), flush=True)  # a run that is cut off has told what it knows
    for engine in engines.values():
        engine.close()
    return told


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    numbers = [int(text) for text in sys.argv[2:]]
    print(json.dumps({"greedy": greedy, "warm": warm}[sys.argv[1]](*(numbers or [200]))))
