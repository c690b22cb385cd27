"""Pairs that are not all alike: a label that is a probability, a confidence, a margin, each in the loss of its pair."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional as F
from trl.trainer.dpo_trainer import DataCollatorForPreference

EXTRAS = ("pair_label", "pair_weight", "pair_margin")
"""Columns beside TRL's: the probability that `chosen` is better, the weight (1 on average), the margin in nats."""


@dataclass
class WeighedCollator(DataCollatorForPreference):  # type: ignore[misc]
    """TRL's collator, which carries the extra columns along."""

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        batch: dict[str, Any] = super().torch_call(examples)
        for name in EXTRAS:
            if name in examples[0]:
                batch[name] = torch.tensor([example[name] for example in examples])
        return batch


def pair_loss(
    loss: str, chosen_B: torch.Tensor, rejected_B: torch.Tensor, *, beta: float, label_B: torch.Tensor,
    margin_B: torch.Tensor,
) -> torch.Tensor:  # fmt: skip
    """The expected loss of each pair [B] under its label: p ℓ(Δ) + (1 - p) ℓ(-Δ).

    `chosen_B`, `rejected_B` are log-ratios to the reference in nats (divided by tokens for `ipo` and `sigmoid_norm`);
    `margin_B` is what βΔ must exceed for the logistic to be even. With ℓ the logistic loss this is conservative DPO
    with an ε for each pair (Mitchell 2023, eq. 3), and with a margin DPO with an offset (Amini et al. 2024,
    arXiv:2402.10571).
    """
    delta_B = chosen_B - rejected_B

    def once(sign: int) -> torch.Tensor:
        z_B = sign * (beta * delta_B - margin_B)
        if loss in ("sigmoid", "sigmoid_norm"):
            return -F.logsigmoid(z_B)
        if loss == "hinge":
            return torch.relu(1 - z_B)
        if loss == "ipo":
            return (sign * delta_B - 1 / (2 * beta)) ** 2
        raise ValueError(f"{loss}: no expected loss under a soft label")

    return label_B * once(1) + (1 - label_B) * once(-1)


class Weighed:
    """Mixed into TRL's DPOTrainer: pairs that bring the extra columns are paid for by `pair_loss`.

    TRL's own loss of those pairs must then have weight 0; its metrics, and the losses mixed in, stay.
    """

    own_loss: str | None = None

    def _compute_loss(self, model: Any, inputs: dict[str, Any], return_outputs: bool) -> Any:
        extras = {name: inputs.pop(name) for name in EXTRAS if name in inputs}
        if self.own_loss is None or not extras:
            return super()._compute_loss(model, inputs, return_outputs)  # type: ignore[misc]
        outputs: list[Any] = []

        def watched(**given: Any) -> Any:
            outputs.append(model(**given))
            return outputs[-1]

        found = super()._compute_loss(watched, inputs, return_outputs)  # type: ignore[misc]
        mask = inputs["completion_mask"][..., 1:]
        sums = outputs[0].log_probs[:, -mask.size(1) :].sum(dim=1)
        ratios = sums - torch.cat((inputs["ref_chosen_logps"], inputs["ref_rejected_logps"])).to(sums.dtype)
        if self.own_loss in ("ipo", "sigmoid_norm"):
            ratios = ratios / inputs["completion_mask"].sum(dim=1).clamp(min=1)
        chosen_B, rejected_B = ratios.chunk(2)
        paid = pair_loss(
            self.own_loss, chosen_B, rejected_B, beta=self.beta,  # type: ignore[attr-defined]
            label_B=extras["pair_label"], margin_B=extras["pair_margin"],
        )  # fmt: skip
        extra = (paid * extras["pair_weight"]).mean()
        return (found[0] + extra, *found[1:]) if return_outputs else found + extra
