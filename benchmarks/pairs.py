"""Real pairs for the speed benchmarks: hh-rlhf as token ids, at its own lengths or cut to given ones; none is shown."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from random import Random
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
HH = ROOT.parent / "shared" / "data" / "preferences" / "hh-rlhf"
CHAT = ROOT / "weights" / "smollm2-135m-instruct"
Pair = dict[str, list[int]]


def texts(n: int, *, seed: int) -> list[tuple[str, str, str]]:
    """(prompt, chosen, rejected) of `n` pairs drawn from all train files; the prompt ends at the last answer."""
    if not HH.is_dir():
        raise SystemExit(f"{HH}: hh-rlhf is not there; put its *.train.jsonl.gz files in that folder")
    rows = []
    for path in sorted(HH.glob("*.train.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as stream:
            rows += [json.loads(line) for line in stream]
    Random(seed).shuffle(rows)
    found = []
    for row in rows:
        cut = row["chosen"].rfind("\n\nAssistant:") + len("\n\nAssistant:")
        if row["rejected"][:cut] == row["chosen"][:cut] and row["chosen"] != row["rejected"]:
            found.append((row["chosen"][:cut], row["chosen"][cut:], row["rejected"][cut:]))
        if len(found) == n:
            break
    return found


def tokens(n: int, tokenizer: Any, *, vocabulary: int, seed: int = 0, most: int = 1024) -> list[Pair]:
    """`n` pairs at their real lengths (of at most `most` tokens), ids folded into a smaller vocabulary."""
    pairs: list[Pair] = []
    for said in texts(4 * n, seed=seed):
        prompt, chosen, rejected = ([t % vocabulary for t in tokenizer(x)["input_ids"]] for x in said)
        fits = len(prompt) + max(len(chosen), len(rejected)) < most
        if prompt and chosen and rejected and fits and chosen != rejected:
            pairs.append({"prompt_ids": prompt, "chosen_ids": [*chosen, 2], "rejected_ids": [*rejected, 2]})
        if len(pairs) == n:
            break
    return pairs


def cut(pairs: list[Pair], n: int, *, prompt: int, answer: int) -> list[Pair]:
    """`n` pairs whose prompts have `prompt` tokens and whose answers `answer`, made of real text end to end."""
    tape = [t for pair in pairs for side in ("prompt_ids", "chosen_ids", "rejected_ids") for t in pair[side]]
    place, made = 0, []
    for _ in range(n):
        pair: Pair = {}
        for side, length in (("prompt_ids", prompt), ("chosen_ids", answer), ("rejected_ids", answer)):
            pair[side] = [tape[(place + i) % len(tape)] for i in range(length)]
            place += length
        made.append(pair)
    return made
