"""Reinforcement learning from rewards by TRL: GRPO and RLOO, with our answers, looks and books around them.

TRL owns loss, advantages, clipping, reference and optimizer; the answers come from the library's own sampler, and the
log-probabilities of a group, which shares its prompt, from one prompt tree.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import TrainerCallback
from trl import GRPOConfig, RLOOConfig

from align.configs import RLHFConfig
from align.errors import RecordError
from align.models.build import build
from align.models.chat import Chat
from align.models.load import context, end_ids, load_model
from align.models.sampling import Draw
from align.ports import Mark, Workshop
from align.records import Prompt
from align.store import jsonl
from align.training import loop
from align.training.checkpoints import newest_whole_checkpoint
from align.training.head import score_answers_only
from align.training.packed import pack_in_place
from align.training.reinforcing import GroupRelative, LeaveOneOut
from align.training.rollout_engine import DRAWN_BY, drawn_by_vllm, refuse_vllm_without_gpu
from align.training.rollouts import Rollouts, Told, Watching, set_aside, tell, write_parquet


class Looks(TrainerCallback):  # type: ignore[misc]
    """Takes a look before the first step, now and then, and after the last."""

    def __init__(self, trainer: Any, every: int, work: Path) -> None:
        self.trainer, self.every, self.work = trainer, every, work

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.trainer.watching.forget_after(state.global_step)
        if state.global_step == 0:
            self._look(state, control)

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        # the trainer's own call does not reach the sampler of a run that goes on
        self.trainer.order.set_epoch(int((state.epoch or 0.0) + 1e-6))

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step % self.every == 0 or state.global_step >= args.max_steps:
            self._look(state, control)

    def _look(self, state: Any, control: Any) -> None:
        trainer, step = self.trainer, state.global_step
        if not trainer.watching.told or any(row["step"] == step and "eval_proxy" in row for row in state.log_history):
            return
        model = trainer.accelerator.unwrap_model(trainer.model)
        before = set(trainer.watching.alarms)
        if step not in trainer.watching.steps:
            with trainer.accelerator.autocast():
                trainer.watching.look(model, trainer.reference(), step, trainer.chosen.ends)
        seen = trainer.watching.summary(step)
        state.log_history.append(
            {"step": step, "epoch": float(state.epoch or 0.0)} | {f"eval_{name}": value for name, value in seen.items()}
        )
        for name in sorted(set(trainer.watching.alarms) - before):
            trainer.workshop.note(said(name, trainer.watching))
        if trainer.rules.watch.on_alarm == "stop":
            if trainer.watching.best() == step:
                keep(model, self.work / "best")
            if "held_out" in trainer.watching.alarms:
                control.should_training_stop = True


def said(name: str, watching: Watching) -> str:
    """An alarm in words."""
    found = watching.alarms[name]
    if name == "held_out":
        return (
            f"alarm at step {found.step}: the held-out reward fell by {found.fall:.3f} (standard error "
            f"{found.error:.3f}) from its best, at step {found.best}, while the trained reward rose"
        )
    what = {
        "tokens": "length in tokens",
        "refused": "share of refusals of what is not harmful",
        "likeness": "likeness of two answers",
        "distinct": "sameness of an answer's words",
    }[name]
    return (
        f"watch at step {found.step}: the {what} has grown by {found.fall:.3f} (standard error {found.error:.3f}) "
        f"since step {found.best}, while the trained reward rose"
    )


def keep(model: Any, folder: Path) -> None:
    """The weights that learn, as they are."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    state = {n: p.detach().contiguous().clone() for n, p in model.named_parameters() if p.requires_grad}
    save_file(state, folder / "new.safetensors")
    (folder / "new.safetensors").replace(folder / "weights.safetensors")


def take_back(model: Any, folder: Path) -> None:
    """The weights that were kept."""
    from safetensors.torch import load_file

    own = dict(model.named_parameters())
    with torch.no_grad():
        for name, value in load_file(folder / "weights.safetensors").items():
            own[name].copy_(value)


def rlhf(
    config: RLHFConfig,
    model: Path,
    prompts: Sequence[Prompt],
    marks: Sequence[Mark],
    out: Path,
    workshop: Workshop,
    *,
    cost: Mark | None = None,
    held_out: Mark | None = None,
) -> None:
    """Write `model/`, with LoRA also `adapter/`, `log.jsonl`, `looks.jsonl`, `rollouts.parquet` and `summary.json`."""
    loop.ready(workshop.runtime)
    loop.in_one_process(workshop, "a policy of `rlhf`")
    refuse_vllm_without_gpu(config.engine, workshop.runtime.device)
    score_answers_only()
    policy, tokenizer, adapter = build(model, config, workshop.runtime)
    chat = Chat(tokenizer, end_ids(policy, tokenizer))
    learnt, watched = set_aside(prompts, 0 if config.watch.by == "none" else config.watch.prompts)
    most = min(config.max_tokens, context(policy)) - config.max_answer_tokens
    told, n_long = tell(learnt, chat, most=most)
    looked_at, _ = tell(watched, chat, most=most)
    if not watched and config.watch.by != "none":
        workshop.note(f"nothing is watched: {len(prompts)} prompts are too few to keep a fifth of them from training")
    per_step = config.batch_size // config.samples_per_prompt
    if len(told) < per_step:
        raise RecordError(
            f"rlhf: {len(told)} prompts to learn from ({n_long} of {len(learnt)} are longer than {most} tokens), and a "
            f"step needs {per_step}; give more prompts, or lower rlhf.batch_size"
        )
    pace = pace_of(config, len(told), longest=max(len(one.ids) for one in told))
    chosen = Draw(config.temperature, config.top_p, config.max_answer_tokens, frozenset(chat.ends))
    trainer = made(config, policy, tokenizer, adapter, told, pace, workshop, n_rewards=len(marks) + (cost is not None))
    trainer.rules, trainer.workshop, trainer.chat, trainer.chosen = config, workshop, chat, chosen
    trainer.told = {one.prompt.id: one for one in told}
    trainer.marks, trainer.cost = marks, cost
    trainer.price = price_of(config, workshop)
    trainer.reward_funcs = [trainer.scored(mark.name) for mark in (*marks, *([cost] if cost else []))]
    trainer.reward_func_names = [mark.name for mark in (*marks, *([cost] if cost else []))]
    trainer.reward_weights = torch.tensor([mark.weight for mark in marks] + ([-trainer.price] if cost else []))
    trainer.begin()
    if adapter is None:
        kept = load_model(model, dtype="float32", attention="sdpa") if trainer.ref_model is None else trainer.ref_model
        trainer.looked_back_at = kept.to(trainer.accelerator.device).eval()
    for one in (trainer.model, trainer.ref_model):
        why = pack_in_place(one, temperature=config.temperature) if one is not None and config.packed else None
        if isinstance(why, str):
            workshop.note(f"log-probabilities are computed as TRL does, padded: {why}")
    workshop.note(f"answers are drawn by {DRAWN_BY[config.engine.name]}; KL by k3 in GRPO's loss, k1 in RLOO's")

    def decode(ids: Sequence[int]) -> str:
        text: str = tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text

    trainer.rollouts = Rollouts(workshop.work)
    trainer.watching = Watching(config, looked_at, marks, held_out, decode, chosen, workshop.work, workshop.seed)
    every = config.watch.every or max(1, math.ceil(pace.total / 10))
    trainer.add_callback(Looks(trainer, every, workshop.work))
    loop.run(trainer, "rlhf", workshop)
    merged = finish(trainer, tokenizer, out, workshop, base=model, rows=[list(one.ids) for one in told])
    counts = {"prompts": len(prompts), "learnt": len(told), "watched": len(looked_at), "too_long": n_long}
    loop.keep_optimizer(config, out, workshop)
    loop.write_log(out, trainer)
    summary = {"steps": trainer.state.global_step, "train": counts, "alarms": alarms(trainer.watching)}
    summary |= loop.told(merged)
    if cost is not None:
        summary["price"] = trainer.price
    asked = {one.prompt.id: [m.model_dump(exclude_none=True) for m in one.prompt.messages] for one in told}
    rows = [{**row, "prompt": asked[row["prompt_id"]]} for row in trainer.rollouts.rows(upto=trainer.state.global_step)]
    summary["rollouts"] = write_parquet(rows, out / "rollouts.parquet", most=config.rollouts_kept)
    loop.write_summary(out, summary)


def finish(
    trainer: Any, tokenizer: Any, out: Path, workshop: Workshop, *, base: Path, rows: list[list[int]]
) -> dict[str, float] | None:
    """The last policy, or after an alarm that stops the one of the best look; and every look."""
    watching = trainer.watching
    if "held_out" in watching.alarms and trainer.rules.watch.on_alarm == "stop":
        take_back(trainer.accelerator.unwrap_model(trainer.model), workshop.work / "best")
        workshop.note(f"stopped at an alarm: the model is that of step {watching.best()}")
    trainer.rollouts.close()
    watching.close()
    merged = loop.save_result(trainer, tokenizer, out, trainer.rules, base, rows=rows)
    jsonl.write(out / "looks.jsonl", watching.rows)
    return merged


def alarms(watching: Watching) -> dict[str, Any]:
    """Each alarm, by what it is about."""
    return {
        name: {"step": found.step, "best": found.best, "fall": found.fall, "error": found.error}
        for name, found in sorted(watching.alarms.items())
    }


def pace_of(config: RLHFConfig, n_prompts: int, longest: int) -> loop.Pace:
    """A run in steps; an epoch passes every prompt once, and each generation is learnt from `iterations` times.

    Without `micro_batch_size`, as many answers at once as fit in `row_tokens` at their longest, to prompts of at most
    `longest` tokens.
    """
    per_step = config.batch_size // config.samples_per_prompt
    micro = min(config.micro_batch_size or fitting(config, longest), config.batch_size)
    total = config.steps or max(1, math.ceil(config.epochs * (n_prompts // per_step) * config.iterations))
    return loop.Pace(
        total, int(config.warmup_share * total), max(1, math.ceil(total / 10)), micro, config.batch_size // micro
    )


def fitting(config: RLHFConfig, longest: int) -> int:
    """The most answers, whole prompts' or a divisor of one prompt's, that `row_tokens` holds; 1 where none do."""
    of_one = config.samples_per_prompt
    for n in range(config.batch_size, 0, -1):
        whole = n % of_one == 0 or of_one % n == 0
        n_prompts = -(-n // of_one) if config.packed else n
        if (
            config.batch_size % n == 0
            and whole
            and n_prompts * longest + n * config.max_answer_tokens <= config.row_tokens
        ):
            return n
    return 1


def price_of(config: RLHFConfig, workshop: Workshop) -> float:
    """λ: as the checkpoint has it that training goes on from, or as it starts."""
    checkpoint = newest_whole_checkpoint(loop.checkpoints_in(workshop))
    if checkpoint is not None and (checkpoint / "price.json").exists():
        return float(json.loads((checkpoint / "price.json").read_text("utf-8")))
    return config.cost.start if config.cost else 0.0


def made(
    config: RLHFConfig,
    policy: Any,
    tokenizer: Any,
    adapter: Any,
    told: Sequence[Told],
    pace: loop.Pace,
    workshop: Workshop,
    *,
    n_rewards: int,
) -> Any:
    """TRL's trainer of the algorithm, its rewards still to be named."""
    rows = Dataset.from_list(
        [{"prompt": [{"role": m.role, "content": m.content} for m in t.prompt.messages], "prompt_id": t.prompt.id}
         for t in told]
    )  # fmt: skip
    shared: dict[str, Any] = {
        **loop.shared(config, pace, workshop, has_held_out=False),
        "steps_per_generation": pace.accumulate,
        "num_generations": config.samples_per_prompt,
        "max_completion_length": config.max_answer_tokens,
        "temperature": config.temperature,
        "top_p": config.top_p,
        "beta": config.beta,
        "num_iterations": config.iterations,
        "epsilon": config.epsilon,
        "mask_truncated_completions": not config.learn_from_cut,
        # a run goes on where answers are drawn anew, never between two updates on the same ones
        "save_steps": math.ceil(config.checkpoint_every / config.iterations) * config.iterations,
        "disable_dropout": True,
        "remove_unused_columns": False,
        **drawn_by_vllm(config),
    }
    made_of: dict[str, Any] = {
        "model": policy,
        "reward_funcs": [_unnamed] * n_rewards,
        "train_dataset": rows,
        "processing_class": tokenizer,
        "peft_config": adapter,
    }
    if config.algorithm == "rloo":
        return LeaveOneOut(args=RLOOConfig(**shared), **made_of)
    own = {"scale_rewards": config.scale_rewards, "loss_type": config.loss}
    settings = GRPOConfig(**own, multi_objective_aggregation=config.aggregate, **shared)
    return GroupRelative(args=settings, **made_of)


def _unnamed(**_: Any) -> list[float]:
    raise AssertionError("the rewards are named before training begins")
