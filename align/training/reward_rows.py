"""Pairs and rankings as token ids: each prompt once with all of its answers, packed or padded for one pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset

from align.configs import RewardConfig
from align.errors import RecordError
from align.models import packing
from align.models.chat import Chat
from align.models.reward import block
from align.preference.groups import Order, Pair, grouped
from align.records import Preference, Prompt, Ranking
from align.store import jsonl
from align.training.reward_loss import comparisons, rivals

Files = Mapping[str, Path | None]
"""`preferences` and `rankings`, where there are any."""
COUNTED = (
    "rows", "rankings", "in_a_ranking", "groups", "answers", "pairs", "too_long", "equal_as_tokens", "ties",
    "unused_groups",
)  # fmt: skip
COLUMNS = ("prompt_ids", "answer_ids", "pairs", "orders")


def table(files: Files, chat: Chat, config: RewardConfig, *, most: int) -> tuple[Dataset, dict[str, int]]:
    """Token ids of each prompt and its answers, what is learnt of them, and what became of the rows.

    Left out, and counted: answers that exceed `most` tokens with their prompt (a cut answer would be scored for its
    cut), answers that are equal as tokens, and ties where they say nothing.
    """
    counts = dict.fromkeys((*COUNTED, "control_tokens_in_content"), 0)
    preferences = list(jsonl.read(files["preferences"], Preference)) if files["preferences"] else []
    rankings = list(jsonl.read(files["rankings"], Ranking)) if files["rankings"] else []
    counts["rows"], counts["rankings"] = len(preferences), len(rankings)
    preferences, counts["in_a_ranking"] = not_ranked(preferences, rankings)
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
                "id": Prompt(messages=group.prompt).id,
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


def not_ranked(preferences: Sequence[Preference], rankings: Sequence[Ranking]) -> tuple[list[Preference], int]:
    """The pairs that say something which no ranking says, and how many do not: their judgments are all there whole."""
    there = {name for one in rankings for name in one.judgment_ids}
    kept = [one for one in preferences if not one.judgment_ids or not there.issuperset(one.judgment_ids)]
    return kept, len(preferences) - len(kept)


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


class Collator:
    """Groups of a batch with their comparisons, by the numbers of the N conversations: as flat rows, or as a block."""

    def __init__(self, pad_id: int, rules: RewardConfig, *, packed: bool, share: int = packing.SHARE) -> None:
        self.pad_id = pad_id
        self.rules = rules
        self.packed = packed
        self.share = share

    def __call__(self, groups: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        sizes = [len(group["answer_ids"]) for group in groups]
        pairs, orders = [], []
        start = 0
        for g, group in enumerate(groups):
            for first, second, *rest in group["pairs"]:
                pairs.append([start + first, start + second, *rest, g])
            for order in group["orders"]:
                choices = rivals(Order(tuple(map(tuple, order["groups"]))), self.rules.ties)
                orders.append((g, order["weight"], [(start + i, [start + j for j in among]) for i, among in choices]))
            start += sizes[g]
        return {
            "sizes": torch.tensor(sizes),  # first, for the loop takes its length for that of the batch
            "n_groups": len(groups),
            "group": torch.repeat_interleave(torch.arange(len(groups)), torch.tensor(sizes)),
            "pairs": torch.tensor(pairs, dtype=torch.float32).reshape(-1, 6),
            "orders": orders,
            **(self._flat(groups) if self.packed else self._block(groups)),
        }

    def _flat(self, groups: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        trees = [packing.Group(tuple(g["prompt_ids"]), tuple(map(tuple, g["answer_ids"]))) for g in groups]
        packs = packing.pack(trees, share=self.share, keep_last=True)
        place = {name: n for n, name in enumerate(name for pack in packs for name in pack.names)}
        order = [place[g, k] for g, group in enumerate(groups) for k in range(len(group["answer_ids"]))]
        return {"packs": packs, "order": torch.tensor(order)}

    def _block(self, groups: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        rows = [group["prompt_ids"] + ids for group in groups for ids in group["answer_ids"]]
        return dict(zip(("input_ids", "attention_mask"), block(rows, self.pad_id), strict=True))
