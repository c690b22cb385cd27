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
from align.training.ranks import together, writes


class AtItsEnd(Exception):
    """The checkpoint that was gone on from is that of the last step: `train` would take one more before it looked."""


class Watch(TrainerCallback):  # type: ignore[misc]
    """Reports progress, seals checkpoints, and stops at a gradient that is not a number."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.seen = 0
        self.loss: float | None = None

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if state.global_step >= args.max_steps:
            raise AtItsEnd

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

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        loss = super().training_step(*args, **kwargs)  # type: ignore[misc]
        if not bool(torch.isfinite(loss)):
            step = self.state.global_step + 1  # type: ignore[attr-defined]
            raise TrainingError(
                f"step {step}: the loss is {float(loss)}; training is stopped, the last checkpoint is kept; "
                "lower learning_rate or look at the rows of this step"
            )
        return loss

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
