"""Stage `best_of`: of several answers to each prompt the one that a reward model likes best; nothing is trained.

What reinforcement learning has to beat: the same reward model, at KL(best of n ‖ policy) ≤ ln n - (n - 1)/n nats
(Beirami et al. 2024, arXiv:2401.01879).
"""

from __future__ import annotations

import math
from pathlib import Path
from statistics import fmean
from typing import Any

from align.configs import BestOf
from align.errors import RecordError
from align.ports import Inputs, Tools
from align.preference.overoptimisation import best_of_n_kl
from align.records import Candidate, Prompt
from align.store import jsonl

VERSION = 1


def run(config: BestOf, inputs: Inputs, out: Path, tools: Tools) -> None:
    """Keep the best answers of `candidates` by `reward`; every score is kept in `scored.jsonl`."""
    candidates = list(jsonl.read(inputs["candidates"].path / "candidates.jsonl", Candidate))
    prompts = {
        prompt.id: prompt
        for name in ("prompts.jsonl", "test_prompts.jsonl")
        if (path := inputs["data"].path / name).exists()
        for prompt in jsonl.read(path, Prompt)
    }
    unknown = next((one for one in candidates if one.prompt_id not in prompts), None)
    if unknown is not None:
        raise RecordError(f"candidates: an answer to prompt {unknown.prompt_id[:12]}, which `data` does not have")
    rewarder = tools.rewarder(inputs["reward"].path / "model")
    scores = list(rewarder.reward([(*prompts[one.prompt_id].messages, *one.completion) for one in candidates]))
    bad = sum(not math.isfinite(score) for score in scores)
    if bad:
        raise RecordError(f"reward: {bad} of {len(scores)} scores are no numbers; the reward model is damaged")
    of_prompt: dict[str, list[int]] = {}
    for i, one in enumerate(candidates):
        of_prompt.setdefault(one.prompt_id, []).append(i)
    kept: set[int] = set()
    for places in of_prompt.values():
        # of equal scores the earlier sample: any rule would do, so long as it is the same each time
        kept |= set(sorted(places, key=lambda i: (-scores[i], candidates[i].sample))[: config.keep])
    jsonl.write(out / "candidates.jsonl", (one for i, one in enumerate(candidates) if i in kept))
    jsonl.write(
        out / "scored.jsonl",
        ({"prompt_id": one.prompt_id, "sample": one.sample, "score": scores[i], "kept": i in kept}
         for i, one in enumerate(candidates)),
    )  # fmt: skip
    jsonl.write(out / "summary.json", [told(config, of_prompt, scores, kept)])


def told(config: BestOf, of_prompt: dict[str, list[int]], scores: list[float], kept: set[int]) -> dict[str, Any]:
    """How many were kept of how many, and what that was worth to the reward model."""
    sizes = sorted(map(len, of_prompt.values()))
    found: dict[str, Any] = {
        "prompts": len(of_prompt), "answers": len(scores), "kept": len(kept), "n_least": sizes[0] if sizes else 0,
        "n_most": sizes[-1] if sizes else 0,
    }  # fmt: skip
    if scores:
        found |= {"reward_of_all": fmean(scores), "reward_of_kept": fmean(scores[i] for i in kept)}
        # the formula speaks of one answer kept
        found["kl_at_most"] = best_of_n_kl(sizes[-1]) if config.keep == 1 else None
    return found
