"""Whether preference tuning pushes its own preferred answers down, and what is done about it.

The loss is happy when the chosen answer sinks, if only the rejected one sinks faster; what rises instead was written
by nobody (Razin et al. 2024, arXiv:2410.08847). Each step logs the share of its pairs whose chosen answer is now less
likely than under the reference (`chosen_falls`) and the median change in nats (`chosen_shift`). Everything else is read
off the log, so that a run that was killed decides as one that was not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any

import torch
from transformers import TrainerCallback

from align.configs import Displacement
from align.ports import Workshop
from align.training.guards import AtItsEnd

FALLS, SHIFT = "chosen_falls", "chosen_shift"


@dataclass(frozen=True)
class Look:
    """What the steps since the look before saw."""

    step: int
    falls: float
    shift: float

    @property
    def sinks(self) -> bool:
        """More than half of the chosen answers are less likely than they were."""
        return self.falls > 0.5 and self.shift < 0


def looks(history: Sequence[Mapping[str, Any]], *, every: int) -> list[Look]:
    """A look after each `every` logged steps."""
    rows = [row for row in history if FALLS in row and SHIFT in row]
    parts = [rows[i : i + every] for i in range(0, len(rows) - every + 1, every)]
    return [
        Look(int(part[-1]["step"]), fmean(row[FALLS] for row in part), median(row[SHIFT] for row in part))
        for part in parts
    ]


def alarm(found: Sequence[Look], *, in_a_row: int) -> Look | None:
    """The first look at which so many in a row have seen chosen answers sink."""
    n = 0
    for look in found:
        n = n + 1 if look.sinks else 0
        if n >= in_a_row:
            return look
    return None


class Sinking:
    """Mixed into TRL's DPOTrainer: logs how far chosen answers sink, and adds to their likelihood once asked to."""

    lifting: float = 0.0
    """Weight of the chosen answers' negative log-likelihood a token that an alarm has added."""

    def _compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool) -> Any:
        outputs: list[Any] = []

        def watched(**given: Any) -> Any:
            outputs.append(model(**given))
            return outputs[-1]

        if not self.model.training or "ref_chosen_logps" not in inputs:  # type: ignore[attr-defined]
            return super()._compute_loss(model, inputs, return_outputs)  # type: ignore[misc]
        found = super()._compute_loss(watched, inputs, return_outputs)  # type: ignore[misc]
        mask_BL = inputs["completion_mask"][..., 1:].chunk(2)[0]
        logps_BL = outputs[0].log_probs[:, -mask_BL.size(1) :].chunk(2)[0].float() * mask_BL
        with torch.no_grad():
            shift_B = logps_BL.sum(dim=1) - inputs["ref_chosen_logps"]
            here = torch.stack(((shift_B < 0).float().mean(), shift_B.median()))
            # all processes must come to one decision
            falls, shift = self.accelerator.gather(here[None]).mean(0).tolist()  # type: ignore[attr-defined]
            told = self._metrics["train"]  # type: ignore[attr-defined]
            told[FALLS].append(falls)
            told[SHIFT].append(shift)
        if not self.lifting:
            return found
        extra = -self.lifting * logps_BL.sum() / mask_BL.sum().clamp(min=1)
        return (found[0] + extra, *found[1:]) if return_outputs else found + extra


class Displacing(TrainerCallback):  # type: ignore[misc]
    """Looks every so many steps, and at an alarm does what the recipe says."""

    def __init__(self, config: Displacement, trainer: Any, workshop: Workshop, *, every: int) -> None:
        self.config, self.trainer, self.workshop, self.every = config, trainer, workshop, every
        self.raised: Look | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._look(state, control)

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        if self.raised is not None and self.config.action == "stop":
            raise AtItsEnd

    def on_log(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self._look(state, control)

    def told(self, history: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """What the summary says of it."""
        found = looks(history, every=self.every)
        last = {"chosen_falls": found[-1].falls, "chosen_shift": found[-1].shift} if found else {}
        at = None if self.raised is None else self.raised.step
        return {"displacement": {"looks": len(found), "alarm_at_step": at, **last}}

    def _look(self, state: Any, control: Any) -> None:
        if self.raised is None:
            self.raised = alarm(looks(state.log_history, every=self.every), in_a_row=self.config.looks)
            if self.raised is not None:
                self._act(self.raised)
        if self.raised is not None and self.config.action == "stop":
            control.should_training_stop = True

    def _act(self, look: Look) -> None:
        done = {
            "warn": "training goes on",
            "stop": "training was stopped",
            "add_sft": f"from here on their likelihood is trained too, with weight {self.config.sft_weight:g}",
        }
        self.workshop.note(
            f"step {look.step}: likelihood displacement: {look.falls:.0%} of chosen answers are less likely than under "
            f"the reference (median change {look.shift:+.2f} nats); {done[self.config.action]}"
        )
        if self.config.action == "add_sft":
            self.trainer.lifting = self.config.sft_weight
