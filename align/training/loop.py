"""What every training stage shares: pace, a run to its end from the last whole checkpoint, the result saved."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any

from align.configs import RuntimeConfig, TrainingConfig
from align.errors import BackendError, TrainingError
from align.models import machine
from align.ports import Workshop
from align.store import jsonl
from align.training.checkpoints import newest_whole_checkpoint
from align.training.ranks import together, world, writes
from align.training.sharding import copied, sharded, whole_weights


@dataclass(frozen=True)
class Pace:
    """A run in steps."""

    total: int
    warmup: int
    eval_every: int
    micro: int
    accumulate: int

    @staticmethod
    def of(config: TrainingConfig, n_rows: int, tokens: Sequence[int] | None = None) -> Pace:
        """`tokens` that each row takes in a packed one: where given, they decide how many rows are taken at once."""
        share = config.batch_size // world()
        fits = fitting(tokens, share, config.row_tokens) if tokens and config.packed else share
        micro = min(config.micro_batch_size or fits, share)
        if share % micro:
            raise TrainingError(f"micro_batch_size: {micro} does not divide a process's share of the batch, {share}")
        total = max(1, math.ceil(config.epochs * math.ceil(n_rows / config.batch_size)))
        return Pace(
            total=total,
            warmup=int(config.warmup_share * total),
            eval_every=config.eval_every or max(1, math.ceil(total / 10)),
            micro=micro,
            accumulate=share // micro,
        )


def fitting(tokens: Sequence[int], share: int, budget: int) -> int:
    """The most rows, a divisor of `share`, that fit in `budget` tokens whichever they are; 1 where none do."""
    largest = sorted(tokens, reverse=True)
    return next(n for n in range(share, 0, -1) if share % n == 0 and (n == 1 or sum(largest[:n]) <= budget))


def ready(runtime: RuntimeConfig) -> None:
    """The machine, and the data library's chatter."""
    machine.ready(runtime)
    import datasets

    datasets.disable_progress_bars()
    datasets.logging.set_verbosity_error()


def at_most(dataset: Any, n: int, lengths: Sequence[int]) -> Any:
    """`n` rows of a data set, drawn by a fixed seed (all where there are no more), short ones first: less is padded."""
    drawn = sorted(Random(0).sample(range(len(dataset)), min(n, len(dataset))), key=lambda i: (lengths[i], i))
    return dataset.select(drawn)


def checkpoints(config: TrainingConfig, pace: Pace, *, has_held_out: bool) -> dict[str, Any]:
    """When checkpoints are taken: to stop early, at each held-out loss, so that the lowest has its model."""
    if config.early_stopping is None:
        return {"save_steps": config.checkpoint_every}
    if not has_held_out:
        raise TrainingError("early_stopping: there are no held-out rows to stop by; leave it out, or hold some out")
    return {
        "save_steps": pace.eval_every,
        "load_best_model_at_end": True,
        "metric_for_best_model": "eval_loss",
        "greater_is_better": False,
    }


def in_one_process(workshop: Workshop, what: str) -> None:
    """Say so where more processes were asked for than this stage can use."""
    if workshop.runtime.processes > 1:
        workshop.note(f"{what} is trained in one process; runtime.processes is for sft and dpo")


def shared(
    config: TrainingConfig, pace: Pace, workshop: Workshop, *, has_held_out: bool, seed: int | None = None
) -> dict[str, Any]:
    """The knobs that every trainer of TRL's has, as TRL names them; every default of its that would bite is set."""
    return {
        "output_dir": str(checkpoints_in(workshop)),
        "max_steps": pace.total,
        "per_device_train_batch_size": pace.micro,
        "per_device_eval_batch_size": pace.micro,
        "gradient_accumulation_steps": pace.accumulate,
        "learning_rate": config.learning_rate,
        "lr_scheduler_type": config.schedule,
        "warmup_steps": pace.warmup,
        "weight_decay": config.weight_decay,
        "max_grad_norm": config.max_grad_norm,
        "optim": "adamw_torch_fused",
        "seed": workshop.seed if seed is None else seed,
        "data_seed": workshop.seed if seed is None else seed,
        "use_cpu": workshop.runtime.device == "cpu",
        "bf16": workshop.runtime.dtype == "bfloat16",
        "gradient_checkpointing": config.gradient_checkpointing,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "eval_strategy": "steps" if has_held_out else "no",
        "eval_steps": pace.eval_every,
        "eval_on_start": has_held_out,
        "prediction_loss_only": True,
        "save_strategy": "steps",
        "save_total_limit": 2,
        **checkpoints(config, pace, has_held_out=has_held_out),
        "report_to": trackers(workshop),
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
    }


def trackers(workshop: Workshop) -> list[str]:
    """Names of the trackers that transformers reports to; BackendError where one is not installed.

    What they write stands outside the artifact: TensorBoard's files in `TENSORBOARD_LOGGING_DIR`, by default
    `tensorboard/` here.
    """
    names: list[str] = list(workshop.runtime.report_to)
    for name in names:
        if find_spec(name) is None:
            raise BackendError(f"runtime.report_to: the package {name} is not installed; run: pip install {name}")
    os.environ.setdefault("TENSORBOARD_LOGGING_DIR", str(Path("tensorboard").absolute()))
    if workshop.runtime.offline:
        os.environ.setdefault("WANDB_MODE", "offline")
    return names or ["none"]


def checkpoints_in(workshop: Workshop) -> Path:
    """Where a stage's checkpoints lie."""
    return workshop.work / "checkpoints"


def run(trainer: Any, what: str, workshop: Workshop, *, patience: int | None = None) -> None:
    """Train to the end, going on from the newest whole checkpoint if there is one; with `patience`, stop early."""
    from align.training.guards import (
        AtItsEnd,
        Patience,
        Watch,
        adapter_switches,
        finite_weights,
        memory,
        quiet,
        some_trainable,
    )
    from align.training.merging import float_adapters, some_rows

    quiet(trainer)
    some_trainable(trainer.model)
    float_adapters(trainer.model)
    rows = some_rows(trainer.train_dataset)
    if rows:
        adapter_switches(trainer.model, rows[0])
    checkpoint = newest_whole_checkpoint(checkpoints_in(workshop))
    if checkpoint is not None:
        trainer.args.eval_on_start = False
    if workshop.runtime.device == "cuda":
        workshop.note("trained on a GPU: equal seeds give equal lineage, not equal bytes")
    with workshop.progress(what, trainer.args.max_steps) as progress, memory():
        if patience is not None:
            trainer.add_callback(Patience(patience))
        trainer.add_callback(Watch(progress))
        try:
            trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
        except AtItsEnd:
            if trainer.state.best_model_checkpoint is not None:
                trainer._load_best_model()
    finite_weights(trainer.model)


def write_summary(out: Path, summary: dict[str, Any]) -> None:
    """`summary.json`, keys sorted."""
    if writes():
        (out / "summary.json").write_text(json.dumps(summary, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def told(merged: dict[str, float] | None) -> dict[str, Any]:
    """What a summary says of an adapter that was folded in."""
    return {} if merged is None else {"merged": merged}


def write_log(out: Path, trainer: Any) -> None:
    """`log.jsonl`."""
    from align.training.log import log_rows

    if writes():
        jsonl.write(out / "log.jsonl", log_rows(trainer.state.log_history))


def keep_optimizer(config: TrainingConfig, out: Path, workshop: Workshop) -> None:
    """`optimizer/`: the last checkpoint's state of optimizer and schedule, if the recipe asks to keep it."""
    checkpoint = newest_whole_checkpoint(checkpoints_in(workshop)) if config.keep_optimizer and writes() else None
    if checkpoint is not None:
        (out / "optimizer").mkdir(exist_ok=True)
        for name in ("optimizer.pt", "scheduler.pt"):
            shutil.copyfile(checkpoint / name, out / "optimizer" / name)


def save_result(
    trainer: Any,
    tokenizer: Any,
    out: Path,
    config: TrainingConfig | None = None,
    base: Path | None = None,
    rows: list[list[int]] | None = None,
) -> dict[str, float] | None:
    """`model/`, whole and in float32; with an adapter also `adapter/`, which names no base path.

    The adapter is folded in, and the two models are compared on `rows` of tokens (prompts; by default the first rows it
    learnt from, and their prompts) as `config` asks; how far apart they are.
    """
    from align.models.load import save, save_adapter

    model = trainer.accelerator.unwrap_model(trainer.model)
    if sharded(model):
        with whole_weights(model):
            model = copied(model)
    if not writes():
        together()
        return None
    apart = None
    if hasattr(model, "peft_config"):
        from align.training.merging import cut, short, some_prompts, some_rows, whole

        save_adapter(model, out / "adapter")
        prompts = some_prompts(trainer.train_dataset) if rows is None else short(rows)
        rows = some_rows(trainer.train_dataset) if rows is None else cut(rows)
        model, apart = whole(model, tokenizer, out / "adapter", base, config or TrainingConfig(), rows, prompts)
    # TRL hangs its own forward on the instance; the class's is what a saved model has
    model.__dict__.pop("forward", None)
    save(model.cpu(), tokenizer, out / "model")
    together()
    return apart
