"""Tuning on single answers that were called good or bad, by TRL (Ethayarajh et al. 2024, arXiv:2402.01306)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

from datasets import Dataset
from trl import KTOConfig as TrlKTOConfig
from trl import KTOTrainer

from align.configs import KTOConfig
from align.data.flags import Flagged, read_flags
from align.errors import RecordError, TrainingError
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
from align.training.packed import InTrees
from align.training.reference import Logps, standing_for


class Flagging(Holding, Guarded, InTrees, KTOTrainer):  # type: ignore[misc]
    """TRL's own, guarded; answers come in as tokens, shuffled, for TRL takes them in the order in which they stand.

    The reference's log-probabilities are kept in a journal.
    """

    def __init__(self, *, workshop: Workshop, packed: bool, reference: str, **given: Any) -> None:
        self.workshop, self.packed, self.reference = workshop, packed, reference
        super().__init__(**given)
        self.pack()

    def _prepare_dataset(self, dataset: Dataset, *_: Any, **__: Any) -> Dataset:
        return dataset

    def _precompute_ref_logps(self, dataset: Dataset, name: str, batch_size: int) -> Dataset:
        """Of each answer, and of the one that the KL is estimated from."""

        def compute(batch: Sequence[int]) -> Logps:
            inputs = self._prepare_inputs(self.data_collator([dataset[i] for i in batch]))
            own, other = self.compute_ref_log_probs(self.ref_model or self.model, inputs)
            return own.tolist(), [0.0] * len(batch) if other is None else other.tolist()

        own, other = self.kept_logps(
            dataset,
            name,
            compute,
            lengths=lengths(dataset),
            batch_size=batch_size,
            columns=[column for column in COLUMNS if column in dataset.column_names],
        )
        dataset = dataset.add_column("ref_logps", own)
        return dataset.add_column("ref_KL_logps", other) if self.calculate_KL else dataset


COLUMNS = ("prompt_ids", "completion_ids", "KL_completion_ids")


def lengths(dataset: Dataset) -> list[int]:
    """Tokens of each row: its answer and, where the KL is estimated, the other one, each with its prompt."""
    two = "KL_completion_ids" in dataset.column_names
    return [
        len(row["prompt_ids"]) * (1 + two) + len(row["completion_ids"]) + len(row["KL_completion_ids"] if two else ())
        for row in dataset
    ]


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
    of_kl = config.loss == "kto"
    pace = loop.Pace.of(config, len(train), [n * (1 + of_kl) for n in lengths(train)])
    if of_kl:
        if pace.micro < 2:
            raise TrainingError(
                f"kto: one answer at a time found (batch_size {config.batch_size}, row_tokens {config.row_tokens}, "
                f"answers of up to {max(lengths(train))} tokens with their prompts), and its loss is of two or more, "
                "each with another's answer; take an even batch_size, raise row_tokens, or lower max_tokens"
            )
        train = with_others(train, pace.micro)
        test = None if test is None else with_others(test, pace.micro)
    trainer = Flagging(
        workshop=workshop,
        packed=config.packed,
        reference=standing_for(model, config),
        model=policy,
        args=arguments(config, pace, workshop, has_held_out=test is not None),
        train_dataset=train,
        eval_dataset=test,
        processing_class=tokenizer,
        peft_config=adapter,
    )
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
    """Token ids of each answer, in an order of chance, and what became of the rows."""
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
    return Dataset.from_list(found), counts


def with_others(rows: Dataset, micro: int) -> Dataset:
    """Each row with an answer of its batch to another prompt, from which TRL estimates the KL."""
    answers = rows["completion_ids"]
    others = []
    for start in range(0, len(rows), micro):
        batch = [answers[i] for i in range(start, min(start + micro, len(rows)))]
        # a last batch of one has nobody's but its own
        others += [batch[i - 1] for i in range(len(batch))] if len(batch) > 1 else [answers[start - 1]]
    return rows.add_column("KL_completion_ids", others)


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
