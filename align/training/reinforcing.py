"""TRL's trainers of GRPO and RLOO with our answers, rewards and books in the places where TRL asks for them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from trl import GRPOTrainer, RLOOTrainer
from trl.trainer import grpo_trainer, rloo_trainer

from align.configs import RLHFConfig
from align.errors import TrainingError
from align.models.chat import Chat
from align.models.sampling import Draw
from align.ports import Mark, Workshop
from align.training.guards import Guarded
from align.training.order import Repeats
from align.training.rollouts import Rollouts, Told, Watching, draw, marked, seed_of

STILL = 3
"""Steps in a row in which every answer is cut, or every reward is the same, before a run is stopped."""


class Reinforcing(Guarded):
    """What both algorithms share, mixed into TRL's trainer of each."""

    rollouts: Rollouts
    watching: Watching
    marks: Sequence[Mark]
    cost: Mark | None
    price: float
    rules: RLHFConfig
    told: dict[str, Told]
    chat: Chat
    chosen: Draw
    workshop: Workshop
    order: Repeats

    def begin(self) -> None:
        """What is counted on the way."""
        self._cut = 0
        self._constant = {mark.name: 0 for mark in self._all()}
        self._read: list[torch.Tensor] = []
        self._names: list[str] = []
        self._scores: dict[str, list[float]] = {}

    def _get_train_sampler(self, dataset: Any = None) -> Any:
        theirs = super()._get_train_sampler(dataset)  # type: ignore[misc]
        self.order = Repeats(
            theirs.data_source, theirs.mini_repeat_count, theirs.batch_size, theirs.repeat_count, theirs.shuffle,
            theirs.seed,
        )  # fmt: skip
        return self.order

    def _all(self) -> list[Mark]:
        return [*self.marks, *([self.cost] if self.cost else [])]

    def _tokenize_prompts(self, prompts: list[Any]) -> tuple[list[list[int]], None, dict[str, Any]]:
        """By the trained template, content kept from being control tokens."""
        return [list(self.told[name].ids) for name in self._names], None, {}

    def _generate_single_turn(self, prompt_ids: list[list[int]], *args: Any, **kwargs: Any) -> Any:
        """Answers of our own sampler, or of TRL's vLLM where the recipe asks for it."""
        if self.use_vllm:  # type: ignore[attr-defined]
            found = super()._generate_single_turn(prompt_ids, *args, **kwargs)  # type: ignore[misc]
            self._see(found if self.rules.algorithm == "rloo" else found[0])
            return found
        written = self._drawn()
        self._see(written)
        return written if self.rules.algorithm == "rloo" else (written, None)

    def _drawn(self) -> list[list[int]]:
        """Answers to each run of the same prompt, one seed each, named by step and place."""
        step, process = self.state.global_step, self.accelerator.process_index  # type: ignore[attr-defined]
        groups: list[tuple[Told, list[int]]] = []
        for place, name in enumerate(self._names):
            seed = seed_of(self.workshop.seed, "rollout", step, process, place)
            if groups and groups[-1][0].prompt.id == name:
                groups[-1][1].append(seed)
            else:
                groups.append((self.told[name], [seed]))
        model = self.accelerator.unwrap_model(self.model)  # type: ignore[attr-defined]
        with self.accelerator.autocast():  # type: ignore[attr-defined]
            drawn = draw(model, [told for told, _ in groups], [seeds for _, seeds in groups], self.chosen,
                         rows_at_once=self.rules.engine.rows_at_once)  # fmt: skip
        return [ids for of_prompt in drawn for ids in of_prompt]

    def _see(self, written: Sequence[Sequence[int]]) -> None:
        """TrainingError where no answer has ended for some steps."""
        self._cut = self._cut + 1 if all(not ids or ids[-1] not in self.chosen.ends for ids in written) else 0
        if self._cut >= STILL:
            step = self.state.global_step + 1  # type: ignore[attr-defined]
            raise TrainingError(
                f"step {step}: every answer of the last {STILL} steps was cut at {self.chosen.max_tokens} tokens, so "
                "none is ever finished; raise rlhf.max_answer_tokens, or tune on demonstrations that end first"
            )

    def _prepare_inputs(self, *args: Any, **kwargs: Any) -> Any:
        """As TRL does, but the answers to a prompt stay together in a micro-batch, which then reads the prompt once."""
        with shuffled_by_group(self.num_generations):  # type: ignore[attr-defined]
            return super()._prepare_inputs(*args, **kwargs)  # type: ignore[misc]

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        self._names = [row["prompt_id"] for row in inputs]
        self._read.clear()
        output: dict[str, Any] = super()._generate_and_score_completions(inputs)  # type: ignore[misc]
        n = len(inputs)
        output["place"] = torch.arange(n, device=output["completion_ids"].device)
        step = self.state.global_step + 1  # type: ignore[attr-defined]
        weights = {mark.name: float(w) for mark, w in zip(self._all(), self.reward_weights, strict=True)}
        self.rollouts.drawn(
            [
                {"step": step, "prompt_id": name, "answer": self._texts[i]}
                | {f"reward/{mark}": scores[i] for mark, scores in self._scores.items()}
                | {"reward": sum(weights[mark] * scores[i] for mark, scores in self._scores.items())}
                for i, name in enumerate(self._names)
            ]
        )
        if self.rules.algorithm == "rloo":
            # RLOO reads policy and reference before it knows its advantages: both stand in what was read
            kl = _kl(self._read[0], self._read[1], output["completion_mask"]) if len(self._read) > 1 else None
            self.rollouts.read(range(n), kl)
        return output

    def _calculate_rewards(
        self, inputs: Any, prompts: Sequence[Any], completions: Sequence[Any], completion_ids: Any
    ) -> Any:
        known = [self.told[name].prompt for name in self._names]
        self._texts = [completion[0]["content"] for completion in completions]
        self._scores = marked(self._all(), known, self._texts)
        step = self.state.global_step + 1  # type: ignore[attr-defined]
        for name, scores in self._scores.items():
            bad = sum(not math.isfinite(x) for x in scores)
            if bad:
                raise TrainingError(
                    f"step {step}: reward {name}: {bad} of {len(scores)} scores are no numbers; stopped"
                )
            self._constant[name] = self._constant[name] + 1 if max(scores) - min(scores) < 1e-9 else 0
        still = [name for name, n in self._constant.items() if n >= STILL]
        resting = {mark.name for mark in self._all() if mark.may_rest}
        if still and (set(still) - resting or len(still) == len(self._constant)):
            raise TrainingError(
                f"step {step}: reward {' and '.join(still)}: every answer of the last {STILL} steps has the same "
                "score, so there is nothing to learn from; look at what the reward reads, or raise temperature"
            )
        if self.cost is not None:
            mean = sum(self._scores[self.cost.name]) / len(known)
            assert self.rules.cost is not None
            self.price = max(0.0, self.price + self.rules.cost.rate * (mean - self.rules.cost.budget))
            # Dai et al. 2023: reward less priced cost, scaled so that the step does not grow with the price
            weights = [mark.weight / (1 + self.price) for mark in self.marks] + [-self.price / (1 + self.price)]
            self.reward_weights = torch.tensor(weights)
            self._metrics["train" if self.model.training else "eval"]["cost/price"].append(self.price)  # type: ignore[attr-defined]
        return super()._calculate_rewards(inputs, prompts, completions, completion_ids)  # type: ignore[misc]

    def scored(self, name: str) -> Callable[..., list[float]]:
        """A mark as TRL asks for it; the scores are there already."""

        def reward(**_: Any) -> list[float]:
            return self._scores[name]

        return reward

    def _get_per_token_logps_and_entropies(self, *args: Any, **kwargs: Any) -> Any:
        found = super()._get_per_token_logps_and_entropies(*args, **kwargs)  # type: ignore[misc]
        self._read.append(found[0].detach())
        return found

    def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        self._read.clear()
        loss = super().compute_loss(model, inputs, *args, **kwargs)  # type: ignore[misc]
        if self.rules.algorithm == "grpo" and self._read:
            reference = inputs.get("ref_per_token_logps")
            kl = None if reference is None else _kl(self._read[0], reference, inputs["completion_mask"])
            self.rollouts.read(inputs["place"].tolist(), kl)
        return loss

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super()._save_checkpoint(model, trial)  # type: ignore[misc]
        folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"  # type: ignore[attr-defined]
        (folder / "price.json").write_text(json.dumps(self.price), encoding="utf-8")

    @contextmanager
    def reference(self) -> Iterator[Any]:
        """The policy as it was: its own copy, or the model beneath the adapter."""
        model = self.accelerator.unwrap_model(self.model)  # type: ignore[attr-defined]
        if hasattr(model, "peft_config"):
            with model.disable_adapter():
                yield model
        else:
            yield self.looked_back_at

    looked_back_at: Any = None


class GroupRelative(Reinforcing, GRPOTrainer):  # type: ignore[misc]
    """GRPO."""


class LeaveOneOut(Reinforcing, RLOOTrainer):  # type: ignore[misc]
    """RLOO."""


@contextmanager
def shuffled_by_group(size: int) -> Iterator[None]:
    """While it is open TRL's shuffle of a generation moves whole groups of `size` rows.

    A step takes all of a generation, so which rows share a micro-batch changes neither loss nor gradient.
    """
    theirs = grpo_trainer.shuffle_sequence_dict

    def shuffle(rows: dict[str, Any]) -> dict[str, Any]:
        n = next(len(value) for value in rows.values() if value is not None and getattr(value, "ndim", 1) > 0)
        order = (torch.randperm(n // size)[:, None] * size + torch.arange(size)).flatten()
        return {name: _permuted(value, order) for name, value in rows.items()}

    for module in (grpo_trainer, rloo_trainer):
        module.shuffle_sequence_dict = shuffle
    try:
        yield
    finally:
        for module in (grpo_trainer, rloo_trainer):
            module.shuffle_sequence_dict = theirs


def _permuted(value: Any, order: torch.Tensor) -> Any:
    """Rows in another order; what stands for the whole batch stays."""
    if isinstance(value, torch.Tensor):
        return value[order.to(value.device)] if value.ndim else value
    return [value[i] for i in order] if isinstance(value, list) else value


def _kl(now: torch.Tensor, before: torch.Tensor, mask: torch.Tensor) -> list[float]:
    """log π - log π_ref of each answer, in nats."""
    return [float(x) for x in ((now - before) * mask).sum(-1)]
