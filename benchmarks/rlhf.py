"""A step of reinforcement learning side by side: ours on TRL's GRPOTrainer, and that trainer bare.

One random Llama (8 layers, width 384, vocabulary 8,192; 19M parameters), one process, one thread, GRPO with 8 answers
to each of 2 prompts, KL against a reference, AdamW. Both sides begin with the same weights, prompts and reward and make
whole steps under TRL's own loop; the sides take turns, and the middle of their CPU seconds is compared, so that
neighbours on the machine do not count. The bare side runs with the faster of two attentions, its own batch, no gradient
checkpointing. Prompts' lengths are like hh-rlhf's; answers have at most 64 tokens, and as nothing here has learnt
to stop, most have all of them.

- `update_speedup_vs_trl`: answers recorded once and replayed to both: what follows them (reference pass, loss,
  gradient, optimizer). In float32 loss and gradient of both are compared first.
- `step_ratio_vs_trl`: whole steps with live answers, ours over TRL's: at most 1.05 is asked for.

Prediction, written before the first measurement: the update computes each prompt once instead of eight times and scores
answers only, 2.5 to 4; a live step is mostly drawing, where our sampler reads each prompt once but keeps shapes fixed:
0.7 to 1.0.

$ make bench NAME=rlhf            # 3 rounds, some minutes on a quiet machine
$ make bench NAME=rlhf FULL=1     # 7 rounds
"""

from __future__ import annotations

import copy
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from datasets import Dataset
from transformers import LlamaConfig, LlamaForCausalLM, TrainerCallback
from trl import GRPOConfig, GRPOTrainer
from trl.trainer import utils as trl_utils

from align.configs import RLHFConfig, RuntimeConfig
from align.models.chat import Chat
from align.models.machine import ready
from align.models.sampling import Draw
from align.models.scratch import train_tokenizer
from align.ports import Mark
from align.records import Message, Prompt
from align.runner.machine import packages, resolved
from align.training.guards import quiet
from align.training.head import score_answers_only
from align.training.loop import Pace
from align.training.packed import pack_in_place
from align.training.rlhf import made
from align.training.rollouts import Rollouts, Told

FULL = bool(os.environ.get("FULL"))
ROUNDS = 7 if FULL else 3
PROMPTS, K, LONGEST = 2, 8, 64
THEIRS = trl_utils._use_triton
RULES = RLHFConfig(
    batch_size=PROMPTS * K, samples_per_prompt=K, max_answer_tokens=LONGEST, beta=0.05, learning_rate=1e-6,
    steps=2, warmup_share=0.0, schedule="constant",
)  # fmt: skip


def main() -> None:
    runtime = resolved(RuntimeConfig(device="cpu", threads=1))
    ready(runtime)
    torch.set_num_threads(1)
    bf16 = runtime.dtype == "bfloat16"
    print(f"prediction: update 2.5-4, live step 0.7-1.0 of TRL's; {runtime.dtype}, {ROUNDS} rounds")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        tokenizer = train_tokenizer(["so it goes, and on it goes"] * 30, vocabulary=330, context=1024)
        start = place / "start"
        network().save_pretrained(start)
        told = prompts()
        recorded = [[random_ids(Random(i * 99 + k), LONGEST - 3 * k) for k in range(K)] for i in range(PROMPTS)]
        exact = compared(start, tokenizer, told, recorded, place)
        print(f"in float32: loss {exact[0]:.1e} and gradient {exact[1]:.1e} apart from TRL's")
        if not (exact[0] < 2e-4 and exact[1] < 2e-4):
            raise SystemExit("the two sides do not compute the same; the times mean nothing")
        seen: dict[str, list[float]] = {}
        for n in range(ROUNDS):
            for name in sorted(("update_ours", "update_trl_sdpa", "update_trl_eager", "step_ours", "step_trl"),
                               reverse=bool(n % 2)):  # fmt: skip
                replay = recorded if name.startswith("update") else None
                attention = "eager" if name.endswith("eager") else "sdpa"
                side = ours if name.endswith("ours") else bare
                trainer = side(start, tokenizer, told, replay, place / f"{name}{n}", bf16=bf16, attention=attention)
                seen.setdefault(name, []).append(seconds(trainer))
            print(f"round {n + 1}: " + "  ".join(f"{name} {times[-1]:.2f}" for name, times in seen.items()), flush=True)
    middle = {name: statistics.median(times) for name, times in seen.items()}
    update = min(middle["update_trl_sdpa"], middle["update_trl_eager"])
    print(json.dumps({
        "update_speedup_vs_trl": round(update / middle["update_ours"], 2),
        "step_ratio_vs_trl": round(middle["step_ours"] / middle["step_trl"], 3),
        "loss_difference": exact[0], "gradient_difference": exact[1],
        "cpu_s": {name: [round(s, 3) for s in times] for name, times in seen.items()},
        "native_bf16": bf16, "rounds": ROUNDS, "prompts": PROMPTS, "samples": K, "packages": packages(),
    }))  # fmt: skip


def network(attention: str = "sdpa") -> Any:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=8192, hidden_size=384, intermediate_size=1024, num_hidden_layers=8, num_attention_heads=6,
        num_key_value_heads=6, max_position_embeddings=1024, pad_token_id=0, bos_token_id=1, eos_token_id=2,
        initializer_range=0.05,
    )  # fmt: skip
    return LlamaForCausalLM._from_config(config, attn_implementation=attention)


def random_ids(rng: Random, n: int) -> list[int]:
    return [rng.randrange(400, 8192) for _ in range(n)]


def prompts() -> list[Told]:
    rng = Random(5)
    found = []
    for i in range(PROMPTS * 4):
        n = int(min(600, max(12, rng.lognormvariate(0, 0.9) * 90)))
        found.append(Told(Prompt(messages=(Message(role="user", content=f"prompt {i}"),)), tuple(random_ids(rng, n))))
    return found


def worth(_: Any, answers: Any) -> list[float]:
    """Differs from answer to answer, and costs nothing."""
    return [float(i % K) for i in range(len(answers))]


class Timed(TrainerCallback):  # type: ignore[misc]
    """CPU seconds of each optimizer step, drawing included."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self.start = time.process_time()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.times.append(time.process_time() - self.start)


def seconds(trainer: Any) -> float:
    """CPU seconds of the second of two steps: the first warms up."""
    timed = Timed()
    begin = time.process_time()
    trainer.add_callback(timed)
    quiet(trainer)
    trainer.train()
    assert len(timed.times) == 2, f"{len(timed.times)} steps in {time.process_time() - begin:.1f} s"
    return timed.times[-1]


class Quiet:
    """As much of a workshop as the trainer reads."""

    def __init__(self, place: Path, *, bf16: bool) -> None:
        self.seed, self.work = 0, place
        place.mkdir(parents=True, exist_ok=True)
        self.runtime = RuntimeConfig(device="cpu", dtype="bfloat16" if bf16 else "float32", threads=1)


def ours(start: Path, tokenizer: Any, told: list[Told], replay: Any, place: Path, *, bf16: bool, attention: str) -> Any:
    score_answers_only()
    model = LlamaForCausalLM.from_pretrained(start, dtype=torch.float32, attn_implementation=attention)
    workshop: Any = Quiet(place, bf16=bf16)
    rules = RULES.model_copy(update={"checkpoint_every": 10**6})
    trainer = made(
        rules, model, copy.deepcopy(tokenizer), None, told, Pace(2, 0, 1, PROMPTS * K, 1), workshop, n_rewards=1
    )
    trainer.rules, trainer.workshop = rules, workshop
    trainer.chat = Chat(tokenizer, [tokenizer.eos_token_id])
    trainer.chosen = Draw(1.0, 1.0, LONGEST, frozenset({2}))
    trainer.told = {one.prompt.id: one for one in told}
    trainer.marks, trainer.cost, trainer.price = [Mark("worth", worth)], None, 0.0
    trainer.reward_funcs, trainer.reward_func_names = [trainer.scored("worth")], ["worth"]
    trainer.reward_weights = torch.ones(1)
    trainer.begin()
    trainer.rollouts = Rollouts(workshop.work)
    if replay is not None:
        flat = [ids for of_prompt in replay for ids in of_prompt]
        trainer._generate_single_turn = lambda *_, **__: ([list(ids) for ids in flat], None)
    for one in (trainer.model, trainer.ref_model):
        assert not isinstance(pack_in_place(one, temperature=1.0), str)
    trainer.args.save_strategy = "no"
    return trainer


def bare(start: Path, tokenizer: Any, told: list[Told], replay: Any, place: Path, *, bf16: bool, attention: str) -> Any:
    trl_utils._use_triton = THEIRS
    model = LlamaForCausalLM.from_pretrained(start, dtype=torch.float32, attn_implementation=attention)
    rows = [{"prompt": [{"role": "user", "content": t.prompt.messages[0].content}]} for t in told]
    ids = {t.prompt.messages[0].content: list(t.ids) for t in told}

    def reward(completions: Any, **_: Any) -> list[float]:
        return worth(None, completions)

    settings = GRPOConfig(
        str(place), max_steps=2, per_device_train_batch_size=PROMPTS * K, gradient_accumulation_steps=1,
        steps_per_generation=1, num_generations=K, max_completion_length=LONGEST, beta=RULES.beta, learning_rate=1e-6,
        lr_scheduler_type="constant", optim="adamw_torch_fused", seed=0, use_cpu=True, bf16=bf16,
        gradient_checkpointing=False, disable_dropout=True, logging_steps=1, save_strategy="no", report_to="none",
        disable_tqdm=True, dataloader_pin_memory=False,
    )  # fmt: skip
    trainer = GRPOTrainer(model, reward, settings, train_dataset=Dataset.from_list(rows),
                          processing_class=copy.deepcopy(tokenizer))  # fmt: skip
    trainer._tokenize_prompts = lambda some: ([ids[p[0]["content"]] for p in some], None, {})
    if replay is not None:
        flat = [one for of_prompt in replay for one in of_prompt]
        trainer._generate_single_turn = lambda *_, **__: ([list(one) for one in flat], None)
    return trainer


def compared(start: Path, tokenizer: Any, told: list[Told], replay: Any, place: Path) -> tuple[float, float]:
    """How far loss and gradient of one replayed batch are apart in float32, the policy moved off its reference."""
    found = []
    for name, side in (("ours", ours), ("trl", bare)):
        trainer = side(start, tokenizer, told, replay, place / f"exact-{name}", bf16=False, attention="sdpa")
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for p in trainer.model.parameters():
                p += 0.02 * p.std().nan_to_num() * torch.randn(p.shape, generator=generator)
        trainer.model.train()
        trainer.current_gradient_accumulation_steps = 1
        rows = [row for row in list(trainer.train_dataset)[:PROMPTS] for _ in range(K)]
        batch = trainer._generate_and_score_completions([dict(row) for row in rows])
        loss = trainer.compute_loss(trainer.model, batch)
        loss.backward()
        found.append(
            (float(loss), {n: p.grad.clone() for n, p in trainer.model.named_parameters() if p.grad is not None})
        )
    (a, mine), (b, other) = found
    apart = sum(float((mine[n] - other[n]).double().norm() ** 2) for n in other) ** 0.5
    norm = sum(float(g.double().norm() ** 2) for g in other.values()) ** 0.5
    return abs(a - b) / max(abs(b), 1e-6), apart / norm


if __name__ == "__main__":
    main()
