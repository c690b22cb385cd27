"""Training is stopped where its numbers make no sense, in the step in which they stop making it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from transformers import EarlyStoppingCallback, PrinterCallback, ProgressCallback, TrainerCallback

from align.errors import TrainingError
from align.models.load import first_line
from align.ports import Progress
from align.training.checkpoints import seal
from align.training.order import tell_epoch
from align.training.ranks import together, writes

STILL = 20
"""Steps without any gradient, or with one reward for every answer, after which a run is stopped."""


class AtItsEnd(Exception):
    """The checkpoint that was gone on from is that of the last step: `train` would take one more before it looked."""


class Watch(TrainerCallback):  # type: ignore[misc]
    """Reports progress, seals checkpoints, and stops at a gradient that is not a number."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.seen = 0
        self.loss: float | None = None
        self.still: dict[str, int] = {}

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **given: Any) -> None:
        if state.global_step >= args.max_steps:
            raise AtItsEnd
        tell_epoch(given.get("train_dataloader"), state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.progress.advance(state.global_step - self.seen, "" if self.loss is None else f"loss {self.loss:.3f}")
        self.seen = state.global_step

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        for name, value in (logs or {}).items():
            if isinstance(value, float) and not math.isfinite(value):
                raise TrainingError(
                    f"step {state.global_step}: {name} is {value}; training is stopped, the last checkpoint is kept; "
                    "lower learning_rate or look at the rows of this step"
                )
        if logs and "loss" in logs:
            self.loss = float(logs["loss"])
            self._stands_still(state.global_step, logs)

    def _stands_still(self, step: int, logs: dict[str, Any]) -> None:
        """Stop a run in which nothing is learnt any more, or every answer has one reward."""
        spread = logs["max_reward"] - logs["min_reward"] if "max_reward" in logs and "min_reward" in logs else 1.0
        for name, still, why in (
            (
                "grad_norm",
                logs.get("grad_norm", 1.0) == 0.0,
                "the gradient is 0: nothing learns",
            ),
            ("reward", spread == 0.0, "every answer has the same reward: the model has collapsed"),
        ):
            self.still[name] = self.still.get(name, 0) + 1 if still else 0
            if self.still[name] >= STILL:
                raise TrainingError(
                    f"step {step}: for {STILL} steps {why}; training is stopped, the last checkpoint is kept; look at "
                    "the knobs of what learns (lora, freeze), at the labels, and lower learning_rate"
                )

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        # every process has written its random state before the checkpoint is sealed
        together()
        if writes():
            seal(Path(args.output_dir) / f"checkpoint-{state.global_step}")
        together()


class Patience(EarlyStoppingCallback):  # type: ignore[misc]
    """Stops when the held-out loss has not fallen for a while; a run killed after it stopped stays stopped."""

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.early_stopping_patience_counter >= self.early_stopping_patience:
            raise AtItsEnd


class Guarded:
    """Mixed into a Trainer: a loss that is not a number never reaches the weights, and nothing is sent anywhere."""

    def __init__(self, *given: Any, args: Any = None, **named: Any) -> None:
        if args is not None and args.n_gpu > 1:
            # one process is one GPU: for all that are there transformers would take nn.DataParallel, which TRL refuses
            args._n_gpu = 1
        super().__init__(*given, args=args, **named)  # type: ignore[call-arg]

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        loss = super().training_step(*args, **kwargs)  # type: ignore[misc]
        if not bool(torch.isfinite(loss)):
            step = self.state.global_step + 1  # type: ignore[attr-defined]
            raise TrainingError(
                f"step {step}: the loss is {float(loss)}; training is stopped, the last checkpoint is kept; "
                f"lower learning_rate or look at the rows of this step{self._named(step)}"
            )
        return loss

    def _named(self, step: int) -> str:
        """The names of the rows that a step takes, as far as this process can tell."""
        dataset, sampler = self.train_dataset, self._get_train_sampler()  # type: ignore[attr-defined]
        if "id" not in (getattr(dataset, "column_names", None) or ()) or not hasattr(sampler, "step_rows"):
            return ""
        steps_an_epoch = -(-len(dataset) // sampler.step_rows)
        sampler.set_epoch((step - 1) // steps_an_epoch)
        start = (step - 1) % steps_an_epoch * sampler.step_rows
        names = [str(dataset[i]["id"])[:12] for i in list(sampler)[start : start + sampler.step_rows]]
        return ": " + ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")

    def _send_telemetry(self) -> None:
        """TRL reports usage by default; `align` does not."""

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """The card is written by `export`, from what was measured."""


@contextmanager
def memory() -> Iterator[None]:
    """Turn a lack of memory into a line that says what to turn down."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not any(
            sign in str(error) for sign in ("out of memory", "not enough memory")
        ):
            raise
        raise TrainingError(
            f"out of memory ({first_line(error)}); the last checkpoint is kept; lower micro_batch_size or max_tokens, "
            "set gradient_checkpointing: true, or use lora, and run again"
        ) from error


def quiet(trainer: Any) -> None:
    """Take away what prints."""
    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)


def some_trainable(model: Any) -> int:
    """How many parameters learn; TrainingError where none does."""
    n: int = sum(p.numel() for p in model.parameters() if p.requires_grad)
    if n == 0:
        raise TrainingError(
            "0 trainable parameters: the adapter's targets match no module of this model; see lora.targets"
        )
    return n


def finite_weights(model: Any) -> None:
    """Refuse to save a model that holds NaN or infinity."""
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise TrainingError(f"after training, {name} holds NaN or infinity; nothing is saved; lower learning_rate")


def adapter_switches(model: Any, ids: list[int]) -> None:
    """See on one row of tokens that the adapter reaches the output when it is on, and leaves no trace when it is off.

    Its weights are moved a little and put back. TrainingError where the policy would not learn, or the reference pass
    would not be the base.
    """
    if not hasattr(model, "disable_adapter"):
        return
    learning = [p for p in model.parameters() if p.requires_grad]
    before, was = [p.detach().clone() for p in learning], model.training
    generator = torch.Generator().manual_seed(0)

    def logits() -> torch.Tensor:
        device = next(model.parameters()).device
        out: torch.Tensor = model(input_ids=torch.tensor([ids], device=device), use_cache=False).logits
        return out

    model.eval()
    try:
        with torch.no_grad():
            on = logits()
            with model.disable_adapter():
                off = logits()
            for p in learning:
                p.add_((0.05 * torch.randn(p.shape, generator=generator)).to(p))
            moved = logits()
            with model.disable_adapter():
                still = logits()
    finally:
        with torch.no_grad():
            for p, value in zip(learning, before, strict=True):
                p.copy_(value)
        model.train(was)
    if moved.shape == on.shape and bool(torch.equal(moved, on)):
        raise TrainingError(
            "before step 1: the adapter is off where the policy learns: moving its weights moves no output"
        )
    if still.shape != off.shape or not bool(torch.equal(still, off)):
        raise TrainingError(
            "before step 1: the adapter is still on where it is switched off, so the reference would not be the base; "
            "give a base whose adapters are merged"
        )
