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
from align.errors import RecordError, TrainingError
from align.evals.calibration import ScoredPair, held_out
from align.evals.evidence import n_words
from align.models.build import adapter_config, attention_for
from align.models.chat import Chat
from align.models.load import context
from align.models.reward import new_reward
from align.ports import Workshop
from align.preference.groups import Order, Pair, grouped
from align.records import Preference, Ranking
from align.store import jsonl
from align.training import loop
from align.training.guards import Guarded
from align.training.order import StepwiseByLength, step_rows
from align.training.reward_loss import comparisons, group_losses, rivals

Files = Mapping[str, Path | None]
"""`preferences` and `rankings`, where there are any."""


class Rewarding(Guarded, RewardTrainer):  # type: ignore[misc]
    """TRL's own, guarded, over groups: each answer of a prompt is scored once, however many pairs it stands in."""

    def __init__(self, *, rules: RewardConfig, n_tokens: Mapping[str, Sequence[int]], **parts: Any) -> None:
        self.rules = rules
        self.n_tokens = n_tokens
        super().__init__(**parts)

    def _prepare_dataset(self, dataset: Dataset, *_: Any, **__: Any) -> Dataset:
        return dataset

    def _set_signature_columns_if_needed(self) -> None:
        self._signature_columns = ["prompt_ids", "answer_ids", "pairs", "orders"]

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> StepwiseByLength:
        return StepwiseByLength(self.n_tokens["train"], step_rows=step_rows(self.args), seed=self.args.seed)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        mode = "train" if self.model.training else "eval"
        outputs = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False)
        scores_N = outputs.logits[:, 0].float()
        loss = group_losses(scores_N, inputs, self.rules).mean()
        if mode == "train":
            self._total_train_tokens += int(inputs["attention_mask"].sum())
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


class Collator:
    """Groups as one padded block of conversations, with their comparisons by the rows' numbers."""

    def __init__(self, pad_id: int, rules: RewardConfig) -> None:
        self.pad_id = pad_id
        self.rules = rules

    def __call__(self, groups: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        rows = [group["prompt_ids"] + ids for group in groups for ids in group["answer_ids"]]
        sizes = [len(group["answer_ids"]) for group in groups]
        longest = max(map(len, rows))
        input_ids_NT = torch.full((len(rows), longest), self.pad_id)
        mask_NT = torch.zeros(len(rows), longest, dtype=torch.long)
        for i, ids in enumerate(rows):
            input_ids_NT[i, : len(ids)] = torch.tensor(ids)
            mask_NT[i, : len(ids)] = 1
        pairs, orders = [], []
        start = 0
        for g, group in enumerate(groups):
            for first, second, *rest in group["pairs"]:
                pairs.append([start + first, start + second, *rest, g])
            for order in group["orders"]:
                choices = rivals(Order(tuple(map(tuple, order["groups"]))), self.rules.ties)
                orders.append((g, order["weight"], [(start + i, [start + j for j in among]) for i, among in choices]))
            start += len(group["answer_ids"])
        return {
            "sizes": torch.tensor(sizes),  # first, for the loop takes its length for that of the batch
            "n_groups": len(groups),
            "group": torch.repeat_interleave(torch.arange(len(groups)), torch.tensor(sizes)),
            "pairs": torch.tensor(pairs, dtype=torch.float32).reshape(-1, 6),
            "orders": orders,
            "input_ids": input_ids_NT,
            "attention_mask": mask_NT,
        }


def reward(config: RewardConfig, model: Path | None, train: Files, test: Files, out: Path, workshop: Workshop) -> None:
    """Write `model/`, with LoRA also `adapter/`, `log.jsonl`, `held_out.jsonl` and `summary.json`."""
    if config.ready is not None:
        given(config, out, workshop)
        return
    assert model is not None, "the plan gives a reward model what it begins as"
    loop.ready(workshop.runtime)
    scorer, tokenizer = new_reward(
        model, init_std=config.init_std, seed=workshop.seed, attention=attention_for(workshop.runtime)
    )
    chat = Chat(tokenizer, [tokenizer.eos_token_id])
    most = min(config.max_tokens, context(scorer))
    rows, counts = table(train, chat, config, most=most)
    test_rows, test_counts = table(test, chat, config, most=most) if any(test.values()) else (None, None)
    told = None if test_rows is None else loop.at_most(test_rows, config.eval_rows, lengths(test_rows))
    pace = loop.Pace.of(config, len(rows))
    adapter = None if config.lora is None else adapter_config(config.lora, scorer)
    if adapter is not None:
        adapter.task_type, adapter.modules_to_save = "SEQ_CLS", ["score"]
    trainer = Rewarding(
        rules=config,
        n_tokens={"train": lengths(rows)},
        model=scorer,
        args=arguments(config, pace, workshop, has_held_out=told is not None),
        data_collator=Collator(tokenizer.pad_token_id, config),
        train_dataset=rows,
        eval_dataset=told,
        processing_class=tokenizer,
        peft_config=adapter,
    )
    loop.run(trainer, "reward", workshop)
    loop.save_result(trainer, tokenizer, out)
    loop.keep_optimizer(config, out, workshop)
    loop.write_log(out, trainer)
    summary: dict[str, Any] = {"steps": pace.total, "train": counts, "held_out": test_counts}
    if test["preferences"] is not None:
        found = scored(out / "model", test["preferences"], most=most, workshop=workshop)
        jsonl.write(out / "held_out.jsonl", (asdict(pair) for pair in found))
        summary |= held_out(found)
    loop.write_summary(out, summary)


def given(config: RewardConfig, out: Path, workshop: Workshop) -> None:
    """Take a reward model that exists already: write it as `model/`, an empty `log.jsonl` and `summary.json`."""
    from align.models.load import save
    from align.models.reward import load_reward

    assert config.ready is not None
    folder = Path(config.ready) / "model"
    loop.ready(workshop.runtime)
    scorer, tokenizer = load_reward(folder if (folder / "config.json").exists() else Path(config.ready))
    save(scorer, tokenizer, out / "model")
    jsonl.write(out / "log.jsonl", [])
    loop.write_summary(out, {"origin": "folder", "parameters": sum(p.numel() for p in scorer.parameters())})
    workshop.note("taken ready-made, not run here")


def table(files: Files, chat: Chat, config: RewardConfig, *, most: int) -> tuple[Dataset, dict[str, int]]:
    """Token ids of each prompt and its answers, what is learnt of them, and what became of the rows.

    Left out, and counted: answers that exceed `most` tokens with their prompt (a cut answer would be scored for its
    cut), answers that are equal as tokens, and ties where they say nothing.
    """
    names = ("rows", "rankings", "groups", "answers", "pairs", "too_long", "equal_as_tokens", "ties", "unused_groups")
    counts = dict.fromkeys((*names, "control_tokens_in_content"), 0)
    preferences = list(jsonl.read(files["preferences"], Preference)) if files["preferences"] else []
    rankings = list(jsonl.read(files["rankings"], Ranking)) if files["rankings"] else []
    counts["rows"], counts["rankings"] = len(preferences), len(rankings)
    counts["ties"] = sum(one.label == 0.5 for one in preferences)
    rows: list[dict[str, Any]] = []
    for group in grouped(preferences, rankings):
        ids = [chat.whole((*group.prompt, *answer)) for answer in group.answers]
        counts["control_tokens_in_content"] += sum(chat.n_controls((*group.prompt, *a)) for a in group.answers)
        kept = [i for i, row in enumerate(ids) if len(row) <= most]
        counts["too_long"] += len(ids) - len(kept)
        # answers that are one as tokens are one answer, and what was said between them is lost
        places = {i: next(n for n, j in enumerate(kept) if ids[j] == ids[i]) for i in kept}
        counts["equal_as_tokens"] += sum(kept[n] != i for i, n in places.items())
        pairs, orders = comparisons(
            [
                Pair(places[p.first], places[p.second], p.label, p.strength, p.confidence)
                for p in group.pairs
                if p.first in places and p.second in places
            ],
            [o for o in (_placed(order, places) for order in group.orders) if o is not None],
            config,
        )
        ranked = {i for order in orders for tied in order.groups for i in tied}
        used = sorted({i for pair in pairs for i in (pair.first, pair.second)} | ranked)
        if not used:
            counts["unused_groups"] += 1
            continue
        at = {place: n for n, place in enumerate(used)}
        answers = [ids[kept[place]] for place in used]
        shared = min(common_prefix(answers[0], answer) for answer in answers)
        shared = min(shared, min(map(len, answers)) - 1)
        weigh = config.weigh_by_confidence
        learnt = [_pair(p, at, config, p.confidence if weigh else 1.0) for p in pairs]
        counted = [_pair(p, at, config, 0.0) for order in orders for p in order.pairs()]
        rows.append(
            {
                "prompt_ids": answers[0][:shared],
                "answer_ids": [answer[shared:] for answer in answers],
                "pairs": learnt + counted,
                "orders": [
                    {"groups": [[at[i] for i in g] for g in o.groups], "weight": o.confidence if weigh else 1.0}
                    for o in orders
                ],
            }
        )
        counts["answers"] += len(answers)
        counts["pairs"] += len(learnt) + len(counted)
    counts["groups"] = len(rows)
    if not rows:
        why = ", ".join(f"{counts[name]} {name}" for name in ("too_long", "equal_as_tokens", "ties", "unused_groups"))
        raise RecordError(
            f"{files['preferences'] or files['rankings']}: 0 usable comparisons of {len(preferences)} pairs and "
            f"{len(rankings)} rankings: {why} (longer than {most} tokens: max_tokens, or the model's context)"
        )
    return Dataset.from_list(rows), counts


def _placed(order: Order, places: Mapping[int, int]) -> Order | None:
    """An order without the answers that were left out; None where fewer than two are left."""
    seen: set[int] = set()
    groups = []
    for group in order.groups:
        new = [places[i] for i in group if i in places and places[i] not in seen]
        new = list(dict.fromkeys(new))
        seen.update(new)
        groups += [tuple(new)] if new else []
    return Order(tuple(groups), order.confidence) if len(seen) > 1 else None


def _pair(pair: Pair, at: Mapping[int, int], config: RewardConfig, weight: float) -> list[float]:
    first, second, label = (pair.first, pair.second, pair.label)
    if label < 0.5:
        first, second, label = second, first, 1 - label
    return [at[first], at[second], label, config.margin_weight * pair.strength * (label != 0.5), weight]


def common_prefix(a: Sequence[int], b: Sequence[int]) -> int:
    """How many tokens two lists share at their start."""
    return next((n for n, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def lengths(dataset: Dataset) -> list[int]:
    """Tokens of each group, its prompt once."""
    return [len(row["prompt_ids"]) + sum(map(len, row["answer_ids"])) for row in dataset]


def scored(folder: Path, preferences: Path, *, most: int, workshop: Workshop) -> list[ScoredPair]:
    """The held-out pairs as the saved model scores them, read back from its folder; ties and long ones left out."""
    from align.models.load import context as places
    from align.models.reward import load_reward, scores

    model, tokenizer = load_reward(folder, device=workshop.runtime.device)
    chat = Chat(tokenizer, [tokenizer.eos_token_id])
    most = min(most, places(model))
    found = []
    pairs = [pair for pair in jsonl.read(preferences, Preference) if pair.label != 0.5]
    with workshop.progress("held-out pairs", len(pairs)) as progress:
        for pair in pairs:
            sides = (pair.chosen, pair.rejected) if pair.label > 0.5 else (pair.rejected, pair.chosen)
            rows = [chat.whole((*pair.prompt, *side)) for side in sides]
            if max(map(len, rows)) <= most:
                better, worse = scores(model, rows, tokenizer.pad_token_id)
                words = [n_words(side[-1].content) for side in sides]
                cluster = prompt_key([opening(pair.prompt)])
                label = max(pair.label, 1 - pair.label)
                found.append(ScoredPair(pair.id, cluster, better - worse, label, words[0] - words[1]))
            progress.advance()
    if not found:
        raise TrainingError(f"{preferences}: no held-out pair is short enough to be scored ({most} tokens)")
    return found


def arguments(config: RewardConfig, pace: loop.Pace, workshop: Workshop, *, has_held_out: bool) -> TrlRewardConfig:
    """Our knobs, as TRL names them; every default of TRL's that would bite is set."""
    return TrlRewardConfig(
        output_dir=str(loop.checkpoints_in(workshop)),
        max_steps=pace.total,
        per_device_train_batch_size=pace.micro,
        per_device_eval_batch_size=pace.micro,
        gradient_accumulation_steps=pace.accumulate,
        learning_rate=config.learning_rate,
        lr_scheduler_type=config.schedule,
        warmup_steps=pace.warmup,
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        optim="adamw_torch_fused",
        seed=workshop.seed,
        data_seed=workshop.seed,
        use_cpu=workshop.runtime.device == "cpu",
        bf16=workshop.runtime.dtype == "bfloat16",
        gradient_checkpointing=config.gradient_checkpointing,
        max_length=None,
        disable_dropout=True,
        center_rewards_coefficient=None,
        logging_steps=1,
        logging_nan_inf_filter=False,
        eval_strategy="steps" if has_held_out else "no",
        eval_steps=pace.eval_every,
        eval_on_start=has_held_out,
        prediction_loss_only=True,
        save_strategy="steps",
        save_steps=config.checkpoint_every,
        save_total_limit=2,
        report_to="none",
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
