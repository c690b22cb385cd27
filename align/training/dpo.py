"""Direct preference optimisation by TRL (Rafailov et al. 2023, arXiv:2305.18290)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers import TrainerCallback
from trl import DPOConfig as TrlDPOConfig
from trl import DPOTrainer

from align.configs import DPOConfig
from align.errors import RecordError, TrainingError
from align.models.build import build
from align.models.chat import Chat
from align.models.load import context, end_ids
from align.ports import NOTHING_KEPT, Kept, Workshop
from align.records import Preference
from align.store import jsonl
from align.training import loop
from align.training.displacement import Displacing, Sinking
from align.training.guards import Guarded
from align.training.head import score_answers_only
from align.training.keep import Anchor, Holding
from align.training.order import StepwiseByLength, sampler
from align.training.packed import InTrees
from align.training.reference import Logps, standing_for
from align.training.sharding import not_yet_sharded, spread
from align.training.weighed import EXTRAS, Weighed, WeighedCollator


class Preferring(Holding, Guarded, Sinking, Weighed, InTrees, DPOTrainer):  # type: ignore[misc]
    """TRL's own, guarded; pairs come in as tokens, and the reference's log-probabilities are kept in a journal."""

    def __init__(
        self,
        *,
        workshop: Workshop,
        model: Any,
        args: TrlDPOConfig,
        train: Dataset,
        test: Dataset | None,
        tokenizer: Any,
        adapter: Any,
        packed: bool = True,
        reference: str = "",
        own_loss: str | None = None,
    ) -> None:
        self.workshop = workshop
        self.packed = packed
        self.reference, self.own_loss = reference, own_loss
        super().__init__(
            model=model,
            args=args,
            train_dataset=train,
            eval_dataset=test,
            processing_class=tokenizer,
            peft_config=adapter,
            data_collator=WeighedCollator(pad_token_id=tokenizer.pad_token_id),
        )
        self.pack()

    def _prepare_dataset(self, dataset: Dataset, *_: Any, **__: Any) -> Dataset:
        return dataset

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> StepwiseByLength:
        return sampler(lengths(self.train_dataset), self.args)

    def _precompute_ref_logps(self, dataset: Dataset, name: str, batch_size: int) -> Dataset:
        """Both columns of the reference."""

        def compute(batch: Sequence[int]) -> Logps:
            inputs = self._prepare_inputs(self.data_collator([dataset[i] for i in batch]))
            extras = {key: value for key, value in inputs.items() if key not in EXTRAS}
            with not_yet_sharded(self.args):
                first, second = self.compute_ref_log_probs(self.ref_model or self.model, extras)
            return first.tolist(), second.tolist()

        chosen, rejected = self.kept_logps(
            dataset,
            name,
            compute,
            lengths=lengths(dataset),
            batch_size=batch_size,
            columns=("prompt_ids", "chosen_ids", "rejected_ids"),
        )
        return dataset.add_column("ref_chosen_logps", chosen).add_column("ref_rejected_logps", rejected)

    _signature_columns: Any = None

    def _set_signature_columns_if_needed(self) -> None:
        super()._set_signature_columns_if_needed()
        self._signature_columns = [*dict.fromkeys((*self._signature_columns, *EXTRAS))]


class StartsAtReference(TrainerCallback):  # type: ignore[misc]
    """At its first step the policy is the reference, so every reward must be 0 and the logistic loss ln 2."""

    def __init__(self, *, tolerance: float, costs_log_two: bool = False) -> None:
        self.tolerance = tolerance
        self.costs_log_two = costs_log_two

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        if state.global_step != 1 or not logs or "rewards/margins" not in logs:
            return
        worst = max(abs(logs["rewards/chosen"]), abs(logs["rewards/rejected"]))
        if worst > self.tolerance:
            raise TrainingError(
                f"step 1: before any update the policy's rewards are {logs['rewards/chosen']:.4f} and "
                f"{logs['rewards/rejected']:.4f}, where 0 is expected: reference and policy are not the same model"
            )
        loss = float(logs.get("loss", math.log(2)))
        if self.costs_log_two and abs(loss - math.log(2)) > max(1e-3, self.tolerance):
            raise TrainingError(
                f"step 1: the loss is {loss:.4f}, where ln 2 = 0.6931 is expected of a policy that is its reference"
            )


def dpo(
    config: DPOConfig,
    model: Path,
    data: Path,
    held_out: Path | None,
    out: Path,
    workshop: Workshop,
    kept: Kept = NOTHING_KEPT,
) -> None:
    """Write `model/`, with LoRA also `adapter/`, `log.jsonl` and `summary.json`; the reference is `model`."""
    loop.ready(workshop.runtime)
    score_answers_only()
    policy, tokenizer, adapter = build(model, config, workshop.runtime)
    chat = Chat(tokenizer, end_ids(policy, tokenizer))
    most = min(config.max_tokens, context(policy))
    train, counts = table(data, chat, config=config, most=most)
    test, test_counts = table(held_out, chat, config=config, most=most) if held_out is not None else (None, None)
    test = None if test is None else loop.at_most(test, config.eval_rows, lengths(test))
    if counts["soft"] and config.labels == "side":
        workshop.note(f"{counts['soft']} pairs have soft labels, of which only the side counts; see dpo.labels")
    pace = loop.Pace.of(config, len(train), tree_tokens(train))
    trainer = Preferring(
        workshop=workshop,
        model=policy,
        args=arguments(config, pace, workshop, has_held_out=test is not None),
        train=train,
        test=test,
        tokenizer=tokenizer,
        adapter=adapter,
        packed=config.packed,
        reference=standing_for(model, config),
        own_loss=config.loss if config.weighed else None,
    )
    # in bfloat16 an answer's log-probability is good to some tenths of a nat, depending on its neighbours in the batch
    nats = 1.0 if workshop.runtime.dtype == "bfloat16" else 1e-2
    if config.lora is not None and config.lora.base == "int8":
        nats = 10.0
        workshop.note(
            "lora.base: int8 rounds what it multiplies, and an answer's log-probability comes out nats apart from one "
            "batch to the next, for policy and reference; nf4 does not"
        )
    if config.prompt_tuning is None:  # vectors put before the text are there from the first step on
        trainer.add_callback(
            StartsAtReference(
                tolerance=config.beta * nats,
                costs_log_two=config.loss == "sigmoid" and not (config.weighed or config.sft_weight or holds(config)),
            )
        )
    trainer.anchor = Anchor(
        config.keep, kept, trainer.model, chat, most=most, seed=workshop.seed, adapter=adapter is not None
    )
    displacing = Displacing(config.displacement, trainer, workshop, every=pace.eval_every)
    trainer.add_callback(displacing)
    loop.run(trainer, "dpo", workshop, patience=config.early_stopping)
    merged = loop.save_result(trainer, tokenizer, out, config, model)
    loop.keep_optimizer(config, out, workshop)
    loop.write_log(out, trainer)
    summary = {"steps": pace.total, "train": counts, "held_out": test_counts} | loop.told(merged)
    summary |= displacing.told(trainer.state.log_history)
    loop.write_summary(out, summary)


def holds(config: DPOConfig) -> bool:
    """Whether something is added to the loss that holds the policy to its base."""
    return bool(config.keep.replay or config.keep.kl)


PLAIN = DPOConfig()
"""What a pair needs where its side is all that counts."""


def table(path: Path, chat: Chat, *, most: int, config: DPOConfig = PLAIN) -> tuple[Dataset, dict[str, int]]:
    """Token ids of each pair, what else its loss needs, and what became of the rows.

    Left out, and counted: ties (unless labels are soft), pairs whose longer side exceeds `most` tokens (a cut answer
    would teach not to stop), and pairs that are equal once they are tokens.
    """
    counts = {
        "rows": 0,
        "used": 0,
        "too_long": 0,
        "equal_as_tokens": 0,
        "ties": 0,
        "soft": 0,
        "control_tokens_in_content": 0,
    }
    rows: list[dict[str, Any]] = []
    for pair in jsonl.read(path, Preference):
        counts["rows"] += 1
        if pair.label == 0.5:
            counts["ties"] += 1
            if config.labels == "side":
                continue
        counts["soft"] += pair.label not in (0.0, 1.0) or pair.epsilon is not None
        better, worse = (pair.chosen, pair.rejected) if pair.label >= 0.5 else (pair.rejected, pair.chosen)
        counts["control_tokens_in_content"] += chat.n_controls((*pair.prompt, *pair.chosen, *pair.rejected))
        prompt, chosen = chat.encode((*pair.prompt, *better)).split()
        other, rejected = chat.encode((*pair.prompt, *worse)).split()
        shared = len(prompt) if prompt == other else common_prefix(prompt, other)
        chosen, rejected = prompt[shared:] + chosen, other[shared:] + rejected
        if shared + max(len(chosen), len(rejected)) > most:
            counts["too_long"] += 1
        elif chosen == rejected:
            counts["equal_as_tokens"] += 1
        else:
            counts["used"] += 1
            row: dict[str, Any] = {
                "id": pair.id,
                "prompt_ids": prompt[:shared],
                "chosen_ids": chosen,
                "rejected_ids": rejected,
            }
            rows.append({"id": pair.id, **row, **(extras(pair, config) if config.weighed else {})})
    if not rows:
        why = ", ".join(f"{n} {name}" for name, n in counts.items() if name in ("too_long", "equal_as_tokens", "ties"))
        raise RecordError(
            f"{path}: 0 usable pairs of {counts['rows']}: {why} "
            f"(longer than {most} tokens: max_tokens, or the model's context)"
        )
    if config.weighed:
        mean = sum(row["pair_weight"] for row in rows) / len(rows)
        for row in rows:
            row["pair_weight"] = row["pair_weight"] / mean if mean else 1.0
    return Dataset.from_list(rows), counts


def extras(pair: Preference, config: DPOConfig) -> dict[str, float]:
    """What a pair's own loss needs; a pair without a margin has none to keep."""
    # an audit of labels knows better how often they are wrong than a label of 1 does
    p = 1 - pair.epsilon if pair.epsilon is not None else max(pair.label, 1 - pair.label)
    p = p if config.labels == "soft" else 1.0
    return {
        "pair_label": p,
        "pair_weight": pair.confidence if config.weigh_by_confidence else 1.0,
        "pair_margin": config.margin_weight * abs(pair.margin or 0.0),
    }


def lengths(dataset: Dataset) -> list[int]:
    """Tokens of each pair's longer side."""
    return [len(row["prompt_ids"]) + max(len(row["chosen_ids"]), len(row["rejected_ids"])) for row in dataset]


def tree_tokens(dataset: Dataset) -> list[int]:
    """Tokens that each pair takes as a prompt and two answers."""
    return [len(row["prompt_ids"]) + len(row["chosen_ids"]) + len(row["rejected_ids"]) for row in dataset]


def common_prefix(a: list[int], b: list[int]) -> int:
    """How many tokens two lists share at their start."""
    n = 0
    for x, y in zip(a, b, strict=False):
        if x != y:
            break
        n += 1
    return n


def arguments(config: DPOConfig, pace: loop.Pace, workshop: Workshop, *, has_held_out: bool) -> TrlDPOConfig:
    """Our knobs, as TRL names them; every default of TRL's that would bite is set."""
    return TrlDPOConfig(
        **loop.shared(config, pace, workshop, has_held_out=has_held_out),
        max_length=None,
        beta=config.beta,
        loss_type=[config.loss, "sft"] if config.sft_weight else [config.loss],
        # pairs that differ are paid for by our own loss beside TRL's metrics
        loss_weights=[0.0 if config.weighed else 1.0, *([config.sft_weight] if config.sft_weight else [])],
        label_smoothing=config.label_smoothing,
        precompute_ref_log_probs=True,
        disable_dropout=True,
        ddp_find_unused_parameters=False,
        **spread(workshop.runtime, config.lora.base if config.lora else "float32"),
    )
