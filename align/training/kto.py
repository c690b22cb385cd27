"""Tuning on single answers that were called good or bad, by TRL (Ethayarajh et al. 2024, arXiv:2402.01306)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from datasets import Dataset
from trl import KTOConfig as TrlKTOConfig
from trl import KTOTrainer

from align.configs import KTOConfig
from align.data.flags import Flagged, read_flags
from align.errors import RecordError
from align.models.build import build
from align.models.chat import Chat
from align.models.load import context, end_ids
from align.ports import NOTHING_KEPT, Kept, Workshop
from align.records import Preference
from align.store import jsonl
from align.training import loop
from align.training.guards import Guarded
from align.training.head import score_answers_only
from align.training.keep import Anchor, Holding
from align.training.packed import pack_in_place


class Flagging(Holding, Guarded, KTOTrainer):  # type: ignore[misc]
    """TRL's own, guarded; answers come in as tokens, shuffled, for TRL takes them in the order in which they stand."""

    def _prepare_dataset(self, dataset: Dataset, *_: Any, **__: Any) -> Dataset:
        return dataset


def kto(
    config: KTOConfig,
    model: Path,
    data: Path | None,
    held_out: Path | None,
    out: Path,
    workshop: Workshop,
    kept: Kept = NOTHING_KEPT,
) -> None:
    """Write `model/`, with LoRA also `adapter/`, `log.jsonl` and `summary.json`; the reference is `model`."""
    loop.ready(workshop.runtime)
    loop.in_one_process(workshop, "a policy of `kto`")
    score_answers_only()
    policy, tokenizer, adapter = build(model, config, workshop.runtime)
    chat = Chat(tokenizer, end_ids(policy, tokenizer))
    most = min(config.max_tokens, context(policy))
    flags = Path(config.flags) if config.flags else None
    train, counts = table(flagged(data, flags), chat, config, most=most, seed=workshop.seed)
    test, test_counts = None, None
    if held_out is not None:
        test, test_counts = table(flagged(held_out, None), chat, config, most=most, seed=workshop.seed)
        test = test.select(range(min(len(test), config.eval_rows)))
    pace = loop.Pace.of(config, len(train))
    trainer = Flagging(
        model=policy,
        args=arguments(config, pace, workshop, has_held_out=test is not None),
        train_dataset=train,
        eval_dataset=test,
        processing_class=tokenizer,
        peft_config=adapter,
    )
    why = pack_in_place(trainer.model)
    if isinstance(why, str):
        workshop.note(f"not packed: {why}; batches are padded, as TRL pads them")
    trainer.anchor = Anchor(
        config.keep, kept, trainer.model, chat, most=most, seed=workshop.seed, adapter=adapter is not None
    )
    loop.run(trainer, "kto", workshop, patience=config.early_stopping)
    merged = loop.save_result(trainer, tokenizer, out, config, model)
    loop.keep_optimizer(config, out, workshop)
    loop.write_log(out, trainer)
    loop.write_summary(out, {"steps": pace.total, "train": counts, "held_out": test_counts} | loop.told(merged))


def flagged(preferences: Path | None, flags: Path | None) -> Iterator[Flagged]:
    """Flags as they are; of each pair the better answer as a good one and the other as a bad one, ties left out."""
    if flags is not None:
        yield from read_flags(flags)
    if preferences is not None:
        for pair in jsonl.read(preferences, Preference):
            if pair.label != 0.5:
                yield Flagged(pair.prompt, pair.chosen, pair.label > 0.5)
                yield Flagged(pair.prompt, pair.rejected, pair.label < 0.5)


def table(
    rows: Iterator[Flagged], chat: Chat, config: KTOConfig, *, most: int, seed: int
) -> tuple[Dataset, dict[str, int]]:
    """Token ids of each answer in an order of chance, each with another's answer, from which TRL estimates the KL."""
    counts = {"rows": 0, "good": 0, "bad": 0, "too_long": 0, "control_tokens_in_content": 0}
    found: list[dict[str, Any]] = []
    for row in rows:
        counts["rows"] += 1
        counts["control_tokens_in_content"] += chat.n_controls((*row.prompt, *row.answer))
        prompt, answer = chat.encode((*row.prompt, *row.answer)).split()
        if len(prompt) + len(answer) > most:
            counts["too_long"] += 1
            continue
        counts["good" if row.good else "bad"] += 1
        found.append({"prompt_ids": prompt, "completion_ids": answer, "label": row.good})
    if not counts["good"] or not counts["bad"]:
        raise RecordError(
            f"kto: {counts['good']} good and {counts['bad']} bad answers of {counts['rows']} "
            f"({counts['too_long']} longer than {most} tokens); it needs some of both"
        )
    Random(seed).shuffle(found)
    if config.loss == "kto":
        micro = min(config.micro_batch_size or config.batch_size, config.batch_size)
        for start in range(0, len(found), micro):
            batch = found[start : start + micro]
            for i, one in enumerate(batch):
                one["KL_completion_ids"] = batch[i - 1]["completion_ids"]
    return Dataset.from_list(found), counts


def arguments(config: KTOConfig, pace: loop.Pace, workshop: Workshop, *, has_held_out: bool) -> TrlKTOConfig:
    """Our knobs, as TRL names them; every default of TRL's that would bite is set."""
    return TrlKTOConfig(
        **loop.shared(config, pace, workshop, has_held_out=has_held_out),
        max_length=None,
        beta=config.beta,
        loss_type=config.loss,
        desirable_weight=config.desirable_weight,
        undesirable_weight=config.undesirable_weight,
        precompute_ref_log_probs=True,
        disable_dropout=True,
        ddp_find_unused_parameters=False,
    )
