"""Supervised fine-tuning by TRL: imitation of demonstrations, loss on the assistant's tokens alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datasets import Dataset
from trl import SFTConfig as TrlSFTConfig
from trl import SFTTrainer

from align.configs import SFTConfig
from align.errors import RecordError
from align.models.build import build
from align.models.chat import Chat
from align.models.load import context, end_ids
from align.ports import NOTHING_KEPT, Kept, Workshop
from align.records import Demonstration
from align.store import jsonl
from align.training import loop
from align.training.guards import Guarded
from align.training.head import score_answers_only
from align.training.keep import Anchor, Holding
from align.training.order import StepwiseByLength, sampler
from align.training.packed import InTrees
from align.training.sharding import spread

IGNORED = -100
"""The label of a token that is read but not learnt."""


class Imitation(Holding, Guarded, InTrees, SFTTrainer):  # type: ignore[misc]
    """TRL's own, guarded; the rows of a step stand from short to long."""

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> StepwiseByLength:
        return sampler(lengths(self.train_dataset), self.args)


def sft(
    config: SFTConfig,
    model: Path,
    data: Path,
    held_out: Path | None,
    out: Path,
    workshop: Workshop,
    kept: Kept = NOTHING_KEPT,
) -> None:
    """Write `model/`, with LoRA also `adapter/`, `log.jsonl` and `summary.json`."""
    loop.ready(workshop.runtime)
    score_answers_only()
    policy, tokenizer, adapter = build(model, config, workshop.runtime)
    chat = Chat(tokenizer, end_ids(policy, tokenizer))
    most = min(config.max_tokens, context(policy))
    train, counts = table(data, chat, config, most=most)
    test, test_counts = table(held_out, chat, config, most=most) if held_out is not None else (None, None)
    test = None if test is None else loop.at_most(test, config.eval_rows, lengths(test))
    pace = loop.Pace.of(config, len(train), lengths(train))
    trainer = Imitation(
        model=policy,
        args=arguments(config, pace, workshop, has_held_out=test is not None),
        train_dataset=train,
        eval_dataset=test,
        processing_class=tokenizer,
        peft_config=adapter,
    )
    trainer.workshop, trainer.packed, trainer.outputs = workshop, config.packed, ("entropy", "is_top1")
    trainer.pack()
    trainer.anchor = Anchor(
        config.keep, kept, trainer.model, chat, most=most, seed=workshop.seed, adapter=adapter is not None
    )
    loop.run(trainer, "sft", workshop, patience=config.early_stopping)
    merged = loop.save_result(trainer, tokenizer, out, config, model)
    loop.keep_optimizer(config, out, workshop)
    loop.write_log(out, trainer)
    loop.write_summary(out, {"steps": pace.total, "train": counts, "held_out": test_counts} | loop.told(merged))


def table(path: Path, chat: Chat, config: SFTConfig, *, most: int) -> tuple[Dataset, dict[str, int]]:
    """Token ids and labels of each demonstration, and what became of the rows: longer than `most` is left out."""
    counts = {"rows": 0, "used": 0, "too_long": 0, "control_tokens_in_content": 0, "tokens": 0, "tokens_learnt": 0}
    rows: list[dict[str, Any]] = []
    for demonstration in demonstrations(path):
        counts["rows"] += 1
        counts["control_tokens_in_content"] += chat.n_controls(demonstration.messages)
        encoded = chat.encode(demonstration.messages, _tools(demonstration))
        if len(encoded.ids) > most:
            counts["too_long"] += 1
            continue
        learnt = encoded.answer if config.train_on == "assistant" else [True] * len(encoded.ids)
        labels = [token if said else IGNORED for token, said in zip(encoded.ids, learnt, strict=True)]
        counts["used"] += 1
        counts["tokens"] += len(labels)
        counts["tokens_learnt"] += sum(learnt)
        rows.append({"id": demonstration.id, "input_ids": encoded.ids, "labels": labels})
    if not rows:
        raise RecordError(
            f"{path}: 0 usable rows of {counts['rows']}: "
            f"{counts['too_long']} longer than {most} tokens (max_tokens, or the model's context)"
        )
    return Dataset.from_list(rows), counts


def lengths(dataset: Dataset) -> list[int]:
    """Tokens of each row."""
    return [len(ids) for ids in dataset["input_ids"]]


def demonstrations(path: Path) -> Iterator[Demonstration]:
    """The demonstrations of a file."""
    return jsonl.read(path, Demonstration)


def _tools(demonstration: Demonstration) -> list[dict[str, Any]] | None:
    return None if demonstration.tools is None else [dict(tool) for tool in demonstration.tools]


def arguments(config: SFTConfig, pace: loop.Pace, workshop: Workshop, *, has_held_out: bool) -> TrlSFTConfig:
    """Our knobs, as TRL names them; every default of TRL's that would bite is set."""
    return TrlSFTConfig(
        **loop.shared(config, pace, workshop, has_held_out=has_held_out),
        max_length=None,
        packing=False,
        assistant_only_loss=False,
        completion_only_loss=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        ddp_find_unused_parameters=False,
        **spread(workshop.runtime, config.lora.base if config.lora else "float32"),
    )
