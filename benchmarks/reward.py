"""A reward model's step side by side: prompt trees against TRL's RewardTrainer, and K = 4 answers against their pairs.

One random Llama (8 layers, width 384, vocabulary 8,192; 19M parameters), one process, one thread. Both sides begin with
the same weights and make whole steps on the same pairs: loss with TRL's metrics, gradient, clipping, AdamW. The sides
take turns, and the middle of their CPU seconds is compared, so that neighbours on the machine do not count. Each side
runs in the number format that is fastest on this processor, TRL with the faster of two attentions, its own batch
of 8, no gradient checkpointing. Before that, loss and gradient of both are compared in float32.

Lengths are like hh-rlhf's: a prompt's tokens are lognormal with median 90 and sigma 0.9 (12 to 600), each answer's with
median 35 and sigma 0.9 (4 to 300).

- `speedup_vs_trl`: 8 pairs, TRL's padded block over our trees.
- `speedup_k4_vs_pairs`: 4 prompts with 4 answers each: all six pairs as rows of their own, padding-free, over the tree.
  `speedup_k4_vs_shared_pairs` is the same with each pair a tree of its own, prompt shared by the two.
- `speedup_k4_vs_rows`: the same four answers once each, behind a prompt of their own, padding-free, over the tree.

Prediction, written before the first measurement: TRL computes about three times the tokens in a padded block, and the
block falls out of the cache where it is in bfloat16: 3.5 to 4.5. Six pairs are 12 prompts and 12 answers against 1 and
4: 6 to 8; with prompts shared by the two 3.5 to 5. Four prompts against one: 1.6 to 2.2.

$ make bench NAME=reward            # 3 rounds, about 2 minutes on a quiet machine
$ make bench NAME=reward FULL=1     # 7 rounds, and long prompts (384/64) beside
"""

from __future__ import annotations

import copy
import gc
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path
from random import Random
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from datasets import Dataset
from transformers import LlamaConfig, LlamaForSequenceClassification
from trl import RewardConfig as TrlRewardConfig
from trl import RewardTrainer

from align.configs import RewardConfig, RuntimeConfig
from align.models.machine import ready
from align.models.reward import take_packs
from align.models.scratch import train_tokenizer
from align.runner.machine import packages, resolved
from align.training.loop import Pace
from align.training.reward import Rewarding, arguments
from align.training.reward_rows import Collator

FULL = bool(os.environ.get("FULL"))
ROUNDS = 7 if FULL else 3
PAIRS, PROMPTS, K = 8, 4, 4
NEVER = 10**9
RULES = RewardConfig(centre=0.01, batch_size=PAIRS)
Row = dict[str, Any]


def main() -> None:
    runtime = resolved(RuntimeConfig(device="cpu", threads=1))
    ready(runtime)
    torch.set_num_threads(1)
    bf16 = runtime.dtype == "bfloat16"
    print(f"prediction: 3.5-4.5 against TRL, 6-8 against six pairs, 1.6-2.2 against four rows; {runtime.dtype}, "
          f"{ROUNDS} rounds")  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = train_tokenizer(["so it goes, and on it goes"] * 30, vocabulary=330, context=1024)
        found = {"hh": lengths_hh} | ({"long": lengths_long} if FULL else {})
        told: dict[str, Any] = {}
        for shape, lengths in found.items():
            told |= compared(shape, lengths, tokenizer, Path(folder), bf16=bf16)
    print(json.dumps({**told, "native_bf16": bf16, "rounds": ROUNDS, "pairs": PAIRS, "k": K, "packages": packages()}))


def compared(
    shape: str, lengths: Callable[[Random], tuple[int, int]], tokenizer: Any, place: Path, *, bf16: bool
) -> Row:
    """All ratios at one kind of lengths."""
    rng = Random(7)
    pairs = [group(rng, lengths, 2) for _ in range(PAIRS)]
    fours = [group(rng, lengths, K) for _ in range(PROMPTS)]
    apart = [
        {**four, "answer_ids": [four["answer_ids"][i], four["answer_ids"][j]], "pairs": [[0, 1, 1.0, 0.0, 1.0]]}
        for four in fours
        for i, j in combinations(range(K), 2)
    ]
    model = network("sdpa")
    take_packs(model)
    mine = Side(ours(pairs, model, tokenizer, place), pairs, bf16)
    sides: dict[str, Side] = {
        "trl_sdpa": Side(theirs(pairs, tokenizer, place, "sdpa"), pairs_of(pairs), bf16),
        "trl_eager": Side(theirs(pairs, tokenizer, place, "eager"), pairs_of(pairs), bf16),
        "tree": mine,
        "k4_tree": Side(ours(fours, model, tokenizer, place), fours, bf16, mine.optimizer),
        "k4_rows": Side(ours(fours, model, tokenizer, place, share=NEVER), fours, bf16, mine.optimizer),
        "k4_pairs": Side(ours(apart, model, tokenizer, place, share=NEVER), apart, bf16, mine.optimizer),
        "k4_shared_pairs": Side(ours(apart, model, tokenizer, place), apart, bf16, mine.optimizer),
    }
    exact = difference(sides["tree"], sides["trl_sdpa"])
    print(f"{shape}: in float32 loss {exact[0]:.1e} and gradient {exact[1]:.1e} apart from TRL's; "
          f"six pairs and one group {difference(sides['k4_tree'], sides['k4_pairs'])[0]:.1e}")  # fmt: skip
    if not (exact[0] < 2e-4 and exact[1] < 2e-4):
        raise SystemExit("the two sides do not compute the same; the times mean nothing")
    seen: dict[str, list[float]] = {name: [] for name in sides}
    for n in range(ROUNDS + 1):
        for name in sorted(sides, reverse=bool(n % 2)):
            seconds = sides[name].step()
            if n:  # the first round warms up
                seen[name].append(seconds)
        if n:
            print(
                f"{shape} round {n}: " + "  ".join(f"{name} {times[-1]:.2f}" for name, times in seen.items()),
                flush=True,
            )
    middle = {name: statistics.median(times) for name, times in seen.items()}
    trl = min(middle["trl_sdpa"], middle["trl_eager"])
    ending = "" if shape == "hh" else f"_{shape}"
    return {
        f"speedup_vs_trl{ending}": round(trl / middle["tree"], 2),
        f"speedup_k4_vs_pairs{ending}": round(middle["k4_pairs"] / middle["k4_tree"], 2),
        f"speedup_k4_vs_shared_pairs{ending}": round(middle["k4_shared_pairs"] / middle["k4_tree"], 2),
        f"speedup_k4_vs_rows{ending}": round(middle["k4_rows"] / middle["k4_tree"], 2),
        f"loss_difference{ending}": exact[0],
        f"gradient_difference{ending}": exact[1],
        f"cpu_s{ending}": {name: [round(s, 3) for s in times] for name, times in seen.items()},
        f"tokens{ending}": {"pairs": n_tokens(pairs), "fours": n_tokens(fours), "padded": padded(pairs)},
    }


def lengths_hh(rng: Random) -> tuple[int, int]:
    return int(min(600, max(12, rng.lognormvariate(0, 0.9) * 90))), int(
        min(300, max(4, rng.lognormvariate(0, 0.9) * 35))
    )


def lengths_long(rng: Random) -> tuple[int, int]:
    return rng.randint(320, 448), rng.randint(48, 80)


def group(rng: Random, lengths: Callable[[Random], tuple[int, int]], k: int) -> Row:
    """A prompt and k answers of random tokens, the earlier answer of each two the better one."""
    prompt = [rng.randrange(400, 8192) for _ in range(lengths(rng)[0])]
    answers = [[400 + i, *(rng.randrange(400, 8192) for _ in range(lengths(rng)[1]))] for i in range(k)]
    order = [[i, j, 1.0, 0.0, 1.0] for i, j in combinations(range(k), 2)]
    return {"prompt_ids": prompt, "answer_ids": answers, "pairs": order, "orders": []}


def pairs_of(groups: Sequence[Row]) -> list[Row]:
    """As TRL's collator takes them."""
    return [
        {"chosen_ids": g["prompt_ids"] + g["answer_ids"][0], "rejected_ids": g["prompt_ids"] + g["answer_ids"][1]}
        for g in groups
    ]


def n_tokens(groups: Sequence[Row]) -> int:
    return sum(len(g["prompt_ids"]) + sum(map(len, g["answer_ids"])) for g in groups)


def padded(groups: Sequence[Row]) -> int:
    return 2 * len(groups) * max(len(g["prompt_ids"]) + len(a) for g in groups for a in g["answer_ids"])


def network(attention: str) -> Any:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=8192, hidden_size=384, intermediate_size=1024, num_hidden_layers=8, num_attention_heads=6,
        num_key_value_heads=6, max_position_embeddings=1024, num_labels=1, pad_token_id=0,
    )  # fmt: skip
    return LlamaForSequenceClassification._from_config(config, attn_implementation=attention)


class Quiet:
    """As much of a workshop as the settings read."""

    def __init__(self, place: Path) -> None:
        self.seed, self.work = 0, place
        self.runtime = RuntimeConfig(device="cpu", dtype="float32", threads=1)


def ours(groups: Sequence[Row], model: Any, tokenizer: Any, place: Path, **collating: Any) -> Any:
    settings = arguments(RULES, Pace(1, 0, 1, len(groups), 1), Quiet(place), has_held_out=False)  # type: ignore[arg-type]
    trainer = Rewarding(
        rules=RULES,
        n_tokens={"train": [1] * len(groups)},
        model=model,
        args=settings,
        data_collator=Collator(tokenizer.pad_token_id, RULES, packed=True, **collating),
        train_dataset=Dataset.from_list(list(groups)),
        processing_class=copy.deepcopy(tokenizer),
    )
    return trainer


def theirs(groups: Sequence[Row], tokenizer: Any, place: Path, attention: str) -> Any:
    settings = TrlRewardConfig(
        str(place), use_cpu=True, bf16=False, gradient_checkpointing=False, report_to="none", max_length=None,
        center_rewards_coefficient=RULES.centre, disable_dropout=True,
    )  # fmt: skip
    return RewardTrainer(
        network(attention), settings, train_dataset=Dataset.from_list(pairs_of(groups)),
        processing_class=copy.deepcopy(tokenizer),
    )  # fmt: skip


class Side:
    """A trainer with its rows and an optimizer, one step at a time."""

    def __init__(self, trainer: Any, rows: Sequence[Row], bf16: bool, optimizer: Any = None) -> None:
        self.trainer, self.rows, self.bf16 = trainer, rows, bf16
        self.model = trainer.model.train()
        self.optimizer = optimizer or torch.optim.AdamW(self.model.parameters(), lr=1e-6, fused=True)

    def loss(self, *, bf16: bool) -> torch.Tensor:
        batch = self.trainer.data_collator([dict(row) for row in self.rows])
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss: torch.Tensor = self.trainer.compute_loss(self.model, batch)
        return loss

    def step(self) -> float:
        """CPU seconds of one whole step."""
        gc.collect()
        start = time.process_time()
        loss = self.loss(bf16=self.bf16)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return time.process_time() - start


def difference(a: Side, b: Side) -> tuple[float, float]:
    """How far apart two sides' losses are, and their gradients, each over its size; float32."""
    losses, gradients = [], []
    for side in (a, b):
        loss = side.loss(bf16=False)
        loss.backward()
        losses.append(float(loss.detach()))
        gradients.append(torch.cat([p.grad.flatten() for p in side.model.parameters() if p.grad is not None]))
        side.optimizer.zero_grad()
    norm = float((gradients[0] - gradients[1]).norm() / gradients[1].norm())
    return abs(losses[0] - losses[1]) / abs(losses[1]), norm


if __name__ == "__main__":
    main()
