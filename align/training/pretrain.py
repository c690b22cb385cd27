"""A base model from nothing: tokenizer, random Llama, next-token prediction on the recipe's own text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainingArguments, default_data_collator

from align.configs import Scratch
from align.errors import RecordError
from align.models.build import attention_for
from align.models.load import load_tokenizer
from align.models.scratch import blocks, new_model, train_tokenizer
from align.ports import Workshop
from align.store import jsonl
from align.training import loop
from align.training.guards import Guarded


class PretrainTrainer(Guarded, Trainer):  # type: ignore[misc]
    """transformers' own, guarded."""


class Rows(torch.utils.data.Dataset):  # type: ignore[misc]
    """Rows of equal length; the model shifts the labels itself."""

    def __init__(self, rows: torch.Tensor) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, i: int) -> dict[str, torch.Tensor]:
        return {"input_ids": self.rows[i], "labels": self.rows[i]}


def pretrain(config: Scratch, text: Path, out: Path, workshop: Workshop) -> None:
    """Write `model/`, `log.jsonl` and `summary.json`."""
    loop.ready(workshop.runtime)
    tokenizer = tokenizer_of(config, text, workshop)
    rows = rows_of(config, text, tokenizer)
    n_held_out = min(64, len(rows) // 50)
    train, held_out = rows[: len(rows) - n_held_out], rows[len(rows) - n_held_out :]
    model = new_model(config, tokenizer, attention=attention_for(workshop.runtime), seed=workshop.seed)
    trainer = PretrainTrainer(
        model=model,
        args=arguments(config, workshop, has_held_out=n_held_out > 0),
        train_dataset=Rows(train),
        eval_dataset=Rows(held_out) if n_held_out else None,
        data_collator=default_data_collator,
    )
    loop.run(trainer, "pretraining", workshop)
    loop.save_result(trainer, tokenizer, out)
    loop.write_log(out, trainer)
    loop.write_summary(
        out,
        {
            "origin": "scratch",
            "parameters": sum(p.numel() for p in model.parameters()),
            "tokens_in_text": int(rows.numel()),
            "tokens_seen": config.steps * config.batch_size * config.sequence_length,
            "vocabulary": len(tokenizer),
        },
    )


def tokenizer_of(config: Scratch, text: Path, workshop: Workshop) -> Any:
    """The tokenizer trained on the text; kept in the workshop, so that after a kill the same ids are read."""
    place = workshop.work / "tokenizer"
    if not (place / "done").exists():
        tokenizer = train_tokenizer(texts(text), vocabulary=config.vocabulary, context=config.context)
        tokenizer.save_pretrained(str(place))
        (place / "done").touch()
    return load_tokenizer(place)


def texts(path: Path) -> Iterator[str]:
    """The `text` of each row."""
    for line, row in jsonl.rows(path):
        if not isinstance(row.get("text"), str):
            raise RecordError(f'{path}:{line}: text: missing (expected a row {{"text": …}})')
        yield row["text"]


def rows_of(config: Scratch, text: Path, tokenizer: Any) -> torch.Tensor:
    """The text as rows of `sequence_length` tokens, shuffled by a fixed seed before any is held out."""
    documents = tokenizer(list(texts(text)), add_special_tokens=False)["input_ids"]
    rows = blocks(documents, bos=tokenizer.bos_token_id, length=config.sequence_length)
    if len(rows) < 2:
        raise RecordError(
            f"{text}: {len(rows)} rows of {config.sequence_length} tokens; a scratch model needs more text"
        )
    table = torch.tensor(rows, dtype=torch.long)
    return table[torch.randperm(len(table), generator=torch.Generator().manual_seed(0))]


def arguments(config: Scratch, workshop: Workshop, *, has_held_out: bool) -> TrainingArguments:
    """The scratch model's knobs, as transformers names them."""
    return TrainingArguments(
        output_dir=str(loop.checkpoints_in(workshop)),
        max_steps=config.steps,
        per_device_train_batch_size=config.batch_size,
        per_device_eval_batch_size=64,
        learning_rate=config.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=int(config.warmup_share * config.steps),
        weight_decay=config.weight_decay,
        adam_beta2=config.adam_beta2,
        max_grad_norm=1.0,
        optim="adamw_torch_fused",
        seed=workshop.seed,
        data_seed=workshop.seed,
        use_cpu=workshop.runtime.device == "cpu",
        bf16=workshop.runtime.dtype == "bfloat16",
        gradient_checkpointing=False,
        logging_steps=1,
        logging_nan_inf_filter=False,
        eval_strategy="steps" if has_held_out else "no",
        eval_steps=max(1, config.steps // 10),
        save_strategy="steps",
        save_steps=max(5, config.steps // 10),
        save_total_limit=2,
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
