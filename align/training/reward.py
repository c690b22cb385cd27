"""A reward model by TRL: scores learnt from pairs (Bradley & Terry) and rankings of K answers (Plackett & Luce)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from trl import RewardConfig as TrlRewardConfig
from trl import RewardTrainer

from align.configs import RewardConfig
from align.data.splits import opening, prompt_key
from align.errors import TrainingError
from align.evals.calibration import ScoredPair, held_out
from align.evals.evidence import n_words
from align.models import trees
from align.models.build import attention_for
from align.models.chat import Chat
from align.models.load import context, save
from align.models.peft import adapter_config, freeze
from align.models.reward import load_reward, new_reward, scores, take_packs
from align.ports import Workshop
from align.records import Preference
from align.store import jsonl
from align.training import loop
from align.training.guards import Guarded
from align.training.order import StepwiseByLength, step_rows
from align.training.reward_loss import group_losses
from align.training.reward_rows import COLUMNS, Collator, Files, lengths, table

SCORED_AT_ONCE = 64
"""Held-out pairs between two signs of progress."""


class Rewarding(Guarded, RewardTrainer):  # type: ignore[misc]
    """TRL's own, guarded, over groups: each answer of a prompt is scored once, however many pairs it stands in."""

    def __init__(self, *, rules: RewardConfig, n_tokens: Mapping[str, Sequence[int]], **parts: Any) -> None:
        self.rules = rules
        self.n_tokens = n_tokens
        super().__init__(**parts)

    def _prepare_dataset(self, dataset: Dataset, *_: Any, **__: Any) -> Dataset:
        return dataset

    def _set_signature_columns_if_needed(self) -> None:
        self._signature_columns = list(COLUMNS)

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> StepwiseByLength:
        return StepwiseByLength(self.n_tokens["train"], step_rows=step_rows(self.args), seed=self.args.seed)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        mode = "train" if self.model.training else "eval"
        if "packs" in inputs:
            outputs = model(packs=inputs["packs"])
            scores_N = outputs.logits[:, 0].index_select(0, inputs["order"])
        else:
            outputs = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False)
            scores_N = outputs.logits[:, 0].float()
        loss = group_losses(scores_N, inputs, self.rules).mean()
        with torch.no_grad():
            self._tell(mode, scores_N, inputs["pairs"])
        return (loss, outputs) if return_outputs else loss

    def _tell(self, mode: str, scores_N: torch.Tensor, pairs_P6: torch.Tensor) -> None:
        """TRL's metrics, under TRL's names; a tie is ranked neither rightly nor wrongly."""
        told = self._metrics[mode]
        for name, value in (("min", scores_N.min()), ("mean", scores_N.mean()), ("max", scores_N.max())):
            told[f"{name}_reward"].append(float(value))
        decided = pairs_P6[pairs_P6[:, 2] != 0.5]
        if len(decided):
            sign_P = torch.where(decided[:, 2] > 0.5, 1.0, -1.0)
            lead_P = sign_P * (scores_N[decided[:, 0].long()] - scores_N[decided[:, 1].long()])
            told["accuracy"].append(float((lead_P > 0).float().mean()))
            told["margin"].append(float(lead_P.mean()))


def reward(config: RewardConfig, model: Path | None, train: Files, test: Files, out: Path, workshop: Workshop) -> None:
    """Write `model/`, with LoRA also `adapter/`, `log.jsonl`, `held_out.jsonl` and `summary.json`."""
    if config.ready is not None:
        given(config, out, workshop)
        return
    assert model is not None, "the plan gives a reward model what it begins as"
    loop.in_one_process(workshop, "a reward model")
    loop.ready(workshop.runtime)
    scorer, tokenizer = new_reward(
        model, init_std=config.init_std, seed=seed_of(config, workshop), attention=attention_for(workshop.runtime)
    )
    chat = Chat(tokenizer, [tokenizer.eos_token_id])
    most = min(config.max_tokens, context(scorer))
    rows, counts = table(train, chat, config, most=most)
    test_rows, test_counts = table(test, chat, config, most=most) if any(test.values()) else (None, None)
    told = None if test_rows is None else loop.at_most(test_rows, config.eval_rows, lengths(test_rows))
    pace = loop.Pace.of(config, len(rows), lengths(rows))
    if config.freeze:
        freeze(scorer, config.freeze)
    adapter = adapter_config(config, scorer, tokenizer, task="SEQ_CLS")
    why = trees.why_unsupported(scorer) if config.packed else "packed: false"
    if why is not None:
        workshop.note(f"this model is not run over packed prompt trees, but padded as TRL does: {why}")
    trainer = Rewarding(
        rules=config,
        n_tokens={"train": lengths(rows)},
        model=scorer,
        args=arguments(config, pace, workshop, has_held_out=told is not None),
        data_collator=Collator(tokenizer.pad_token_id, config, packed=why is None),
        train_dataset=rows,
        eval_dataset=told,
        processing_class=tokenizer,
        peft_config=adapter,
    )
    if why is None:
        take_packs(trainer.model)
    loop.run(trainer, "reward", workshop, patience=config.early_stopping)
    merged = loop.save_result(trainer, tokenizer, out, config, model)
    loop.keep_optimizer(config, out, workshop)
    loop.write_log(out, trainer)
    summary: dict[str, Any] = {"steps": pace.total, "train": counts, "held_out": test_counts}
    summary |= loop.told(merged)
    if test["preferences"] is not None:
        found = scored(out / "model", test["preferences"], most=most, workshop=workshop)
        jsonl.write(out / "held_out.jsonl", (asdict(pair) for pair in found))
        summary |= held_out(found)
    loop.write_summary(out, summary)


def given(config: RewardConfig, out: Path, workshop: Workshop) -> None:
    """Take a reward model that exists already: write it as `model/`, an empty `log.jsonl` and `summary.json`."""
    assert config.ready is not None
    folder = Path(config.ready) / "model"
    loop.ready(workshop.runtime)
    scorer, tokenizer = load_reward(folder if (folder / "config.json").exists() else Path(config.ready))
    save(scorer, tokenizer, out / "model")
    jsonl.write(out / "log.jsonl", [])
    loop.write_summary(out, {"origin": "folder", "parameters": sum(p.numel() for p in scorer.parameters())})
    workshop.note("taken ready-made, not run here")


def scored(folder: Path, preferences: Path, *, most: int, workshop: Workshop) -> list[ScoredPair]:
    """The held-out pairs as the saved model scores them, read back from its folder; ties and long ones left out."""
    model, tokenizer = load_reward(folder, device=workshop.runtime.device)
    chat = Chat(tokenizer, [tokenizer.eos_token_id])
    most = min(most, context(model))
    pairs = [pair for pair in jsonl.read(preferences, Preference) if pair.label != 0.5]
    sides = [(p.chosen, p.rejected) if p.label > 0.5 else (p.rejected, p.chosen) for p in pairs]
    rows = [[chat.whole((*p.prompt, *side)) for side in both] for p, both in zip(pairs, sides, strict=True)]
    short = [i for i, both in enumerate(rows) if max(map(len, both)) <= most]
    found = []
    with workshop.progress("held-out pairs", len(short)) as progress:
        for start in range(0, len(short), SCORED_AT_ONCE):
            some = short[start : start + SCORED_AT_ONCE]
            given = iter(scores(model, [row for i in some for row in rows[i]], tokenizer.pad_token_id))
            for i in some:
                lead = next(given) - next(given)
                words = [n_words(side[-1].content) for side in sides[i]]
                cluster = prompt_key([opening(pairs[i].prompt)])
                label = max(pairs[i].label, 1 - pairs[i].label)
                found.append(ScoredPair(pairs[i].id, cluster, lead, label, words[0] - words[1]))
            progress.advance(len(some))
    if not found:
        raise TrainingError(f"{preferences}: no held-out pair is short enough to be scored ({most} tokens)")
    return found


def seed_of(config: RewardConfig, workshop: Workshop) -> int:
    """The run's seed; each half of the pairs has one of its own."""
    return workshop.seed + {"whole": 0, "first": 1, "second": 2}[config.part]


def arguments(config: RewardConfig, pace: loop.Pace, workshop: Workshop, *, has_held_out: bool) -> TrlRewardConfig:
    """Our knobs, as TRL names them; every default of TRL's that would bite is set."""
    return TrlRewardConfig(
        **loop.shared(config, pace, workshop, has_held_out=has_held_out, seed=seed_of(config, workshop)),
        max_length=None,
        disable_dropout=True,
        center_rewards_coefficient=None,
    )
