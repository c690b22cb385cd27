"""What holds a tuned model to the one it began as: replay, KL, L2-SP, EWC; and a probe that says what tuning cost.

Replay and KL read rows of what the model already did well (demonstrations, or text); L2-SP (Li et al. 2018,
arXiv:1802.01483, eq. 1) and EWC (Kirkpatrick et al. 2017, arXiv:1612.00796, eq. 3) hold the weights themselves.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import torch

from align.configs import Keep
from align.errors import RecordError, TrainingError
from align.models.chat import Chat
from align.ports import Kept
from align.records import Demonstration
from align.store import jsonl

Row = tuple[list[int], list[int]]
"""Token ids, and the places (1 or later) of the tokens that count."""
PROBED, FISHER_ROWS = 32, 64


class Anchor:
    """The knobs of `keep` at work on one model; made before the first update, while policy and base are the same."""

    def __init__(
        self, config: Keep, kept: Kept, model: Any, chat: Chat, *, most: int, seed: int, adapter: bool
    ) -> None:
        self.config, self.seed = config, seed
        if adapter and (config.l2_sp or config.ewc):
            raise TrainingError(
                "keep: l2_sp and ewc hold the weights of the base, which an adapter never moves; use keep.kl or "
                "keep.replay, or a full fine-tune"
            )
        self.rows = read(kept.rows, chat, most=most) if kept.rows is not None else []
        if kept.probe is not None:
            self.probed = read(kept.probe, chat, most=most)[:PROBED]
        else:
            self.probed = self.rows[::10][:PROBED]
            held_out = set(range(0, 10 * len(self.probed), 10))
            self.rows = [row for i, row in enumerate(self.rows) if i not in held_out]
        if (config.replay or config.kl or config.ewc) and not self.rows:
            raise RecordError(
                "keep: there are no rows to hold on to (demonstrations for `dpo`, text for `sft`); give keep.rows"
            )
        self.base = copy.deepcopy(model).eval().requires_grad_(False) if config.kl and not adapter else None
        self.at_start: dict[str, torch.Tensor] = {}
        self.fisher: dict[str, torch.Tensor] = {}
        if config.l2_sp or config.ewc:
            self.at_start = {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}
        if config.ewc:
            self.fisher = fisher(model, self.rows[:FISHER_ROWS])

    def loss(self, model: Any, step: int) -> torch.Tensor | None:
        """Replay and KL on the rows drawn for this step, weighted; None where neither is asked for."""
        if not (self.config.replay or self.config.kl):
            return None
        k = min(self.config.rows_per_step, len(self.rows))
        drawn = Random(self.seed * 1_000_003 + step).sample(range(len(self.rows)), k)
        inner = causal(model)
        total: torch.Tensor | None = None
        n = sum(len(self.rows[i][1]) for i in drawn)
        for i in drawn:
            ids, places = self.rows[i]
            logps_NV = log_softmax(inner, ids, places)
            term = torch.zeros((), device=logps_NV.device)
            if self.config.replay:
                target_N1 = torch.tensor([ids[p] for p in places], device=logps_NV.device)[:, None]
                term = term - self.config.replay * logps_NV.gather(1, target_N1).sum()
            if self.config.kl:
                with torch.no_grad(), self._as_base(model) as base:
                    before_NV = log_softmax(base, ids, places)
                divergence = torch.nn.functional.kl_div(logps_NV, before_NV, reduction="sum", log_target=True)
                term = term + self.config.kl * divergence
            total = term / n if total is None else total + term / n
        return total

    def pull(self, model: Any) -> None:
        """Add the gradients of λ/2 ‖θ-θ₀‖² and of λ/2 Σ F (θ-θ₀)² to those that are there."""
        for name, p in inner_parameters(model):
            start = self.at_start.get(name)
            if start is None:
                continue
            away = p.detach() - start
            force = self.config.l2_sp * away
            if self.config.ewc:
                force = force + self.config.ewc * self.fisher[name] * away
            p.grad = force if p.grad is None else p.grad + force

    def probe(self, model: Any) -> float | None:
        """Nats a token on held-out rows of what the model knew before; None where there are none."""
        if not self.probed:
            return None
        inner, was = causal(model), model.training
        model.eval()
        with torch.no_grad():
            total = -sum(
                float(log_softmax(inner, ids, places).gather(1, _targets(ids, places, inner)).sum())
                for ids, places in self.probed
            )
        model.train(was)
        return total / sum(len(places) for _, places in self.probed)

    @contextmanager
    def _as_base(self, model: Any) -> Iterator[Any]:
        if self.base is not None:
            yield self.base
            return
        inner = unwrapped(model)
        with inner.disable_adapter():
            yield causal(model)


class Holding:
    """Mixed into a Trainer: the anchor's losses and forces join each optimizer step once, whatever the micro-batch."""

    anchor: Anchor | None = None
    _joined = -1

    def compute_loss(
        self, model: Any, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        found = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)  # type: ignore[misc]
        if self.anchor is None or not model.training or not self._first_of_step():
            return found
        extra = self.anchor.loss(model, self.state.global_step)  # type: ignore[attr-defined]
        if extra is None:
            return found
        divided = not self.model_accepts_loss_kwargs or num_items_in_batch is None  # type: ignore[attr-defined]
        extra = extra * (self.current_gradient_accumulation_steps if divided else 1)  # type: ignore[attr-defined]
        return (found[0] + extra, *found[1:]) if return_outputs else found + extra

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        loss = super().training_step(*args, **kwargs)  # type: ignore[misc]
        if self.anchor is not None and self._first_of_step():
            if self.anchor.at_start:
                self.anchor.pull(self.model)  # type: ignore[attr-defined]
            self._joined = self.state.global_step  # type: ignore[attr-defined]
        return loss

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        metrics = super().evaluate(*args, **kwargs)  # type: ignore[misc]
        lost = None if self.anchor is None else self.anchor.probe(self.model)  # type: ignore[attr-defined]
        if lost is not None:
            self.log({"eval_kept_loss": lost})  # type: ignore[attr-defined]
        return metrics

    def _first_of_step(self) -> bool:
        return bool(self._joined != self.state.global_step)  # type: ignore[attr-defined]


def read(path: Path, chat: Chat, *, most: int) -> list[Row]:
    """Demonstrations (their answers count) or text (all of it counts); rows longer than `most` tokens are left out."""
    rows: list[Row] = []
    for _, row in jsonl.rows(path):
        if set(row) == {"text"}:
            ids = list(chat.tokenizer(row["text"], add_special_tokens=False)["input_ids"])[:most]
            places = list(range(1, len(ids)))
        else:
            encoded = chat.encode(Demonstration.model_validate(row).messages)
            ids, places = encoded.ids, [i for i, said in enumerate(encoded.answer) if said and i > 0]
        if places and len(ids) <= most:
            rows.append((ids, places))
    return rows


def fisher(model: Any, rows: Sequence[Row]) -> dict[str, torch.Tensor]:
    """The diagonal of the empirical Fisher information, scaled to mean 1 so that `ewc` and `l2_sp` weigh alike."""
    squares = {n: torch.zeros_like(p) for n, p in model.named_parameters() if p.requires_grad}
    inner, was = causal(model), model.training
    model.eval()
    for ids, places in rows:
        model.zero_grad(set_to_none=True)
        log_softmax(inner, ids, places).gather(1, _targets(ids, places, inner)).sum().backward()
        for name, p in model.named_parameters():
            if p.grad is not None and name in squares:
                squares[name] += p.grad.detach() ** 2
    model.zero_grad(set_to_none=True)
    model.train(was)
    mean = sum(float(s.sum()) for s in squares.values()) / sum(s.numel() for s in squares.values())
    if not mean > 0:
        raise TrainingError("keep.ewc: every gradient on the rows to hold on to is 0; the model or the rows are empty")
    return {name: square / mean for name, square in squares.items()}


def log_softmax(model: Any, ids: Sequence[int], places: Sequence[int]) -> torch.Tensor:
    """[places, vocabulary] in float32 nats: the model's prediction of each place from what stands before it."""
    device = next(model.parameters()).device
    at = torch.tensor([p - 1 for p in places], device=device)
    # the class's own forward: a trainer may have hung another on the instance
    out = type(model).forward(
        model, input_ids=torch.tensor([list(ids)], device=device), use_cache=False, logits_to_keep=at
    )
    return torch.log_softmax(out.logits[0].float(), dim=-1)


def _targets(ids: Sequence[int], places: Sequence[int], model: Any) -> torch.Tensor:
    return torch.tensor([ids[p] for p in places], device=next(model.parameters()).device)[:, None]


def unwrapped(model: Any) -> Any:
    """The model inside a wrapper for several processes."""
    return model.module if hasattr(model, "module") and not hasattr(model, "config") else model


def causal(model: Any) -> Any:
    """The transformers model itself, out of any wrapper; its adapters, being layers, stay."""
    inner = unwrapped(model)
    return inner.get_base_model() if hasattr(inner, "get_base_model") else inner


def inner_parameters(model: Any) -> Iterator[tuple[str, Any]]:
    """Names and parameters, as they were before a wrapper for several processes."""
    yield from unwrapped(model).named_parameters()
