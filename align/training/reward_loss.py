"""What a batch of groups costs: pairs after Bradley and Terry, orders after Plackett and Luce, ties as the recipe says.

N answers, G groups, P pairs. The formulas, one float at a time, stand in `align.preference.rewards`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch.nn.functional import logsigmoid

from align.configs import RewardConfig
from align.preference.groups import Order, Pair

FIELDS = ("first", "second", "label", "margin", "weight", "group")
"""The columns of a batch's pairs. A weight of 0 is a pair that is counted in the metrics and learnt otherwise."""


def comparisons(pairs: Sequence[Pair], orders: Sequence[Order], config: RewardConfig) -> tuple[list[Pair], list[Order]]:
    """What is learnt of a group: ties left out where they say nothing, rankings as pairs where that is asked for."""
    if config.ranked == "pairs":
        pairs, orders = [*pairs, *(pair for order in orders for pair in order.pairs())], []
    if config.ties == "drop":
        pairs = [pair for pair in pairs if pair.label != 0.5]
        orders = [order for order in orders if len(order.groups) > 1]
    return [pair for pair in pairs if pair.first != pair.second], [o for o in orders if len(o.pairs()) > 0]


def rivals(order: Order, ties: str) -> list[tuple[int, list[int]]]:
    """Each answer of an order, and the answers that it is chosen from, itself included."""
    found = []
    for place, group in enumerate(order.groups):
        below = [j for later in order.groups[place + 1 :] for j in later]
        for i in group:
            found.append((i, [*(group if ties == "half" else [i]), *below]))
    return found


def group_losses(scores_N: torch.Tensor, batch: Mapping[str, Any], config: RewardConfig) -> torch.Tensor:
    """The mean loss of each group's comparisons, in nats: a tensor of G."""
    scores_N = scores_N.float()
    n_groups = int(batch["n_groups"])
    total_G = scores_N.new_zeros(n_groups)
    count_G = scores_N.new_zeros(n_groups)
    pairs_P6 = batch["pairs"]
    if len(pairs_P6):
        learnt = pairs_P6[:, 4] > 0
        first, second, label, margin, weight, group = pairs_P6[learnt].unbind(-1)
        lead_P = scores_N[first.long()] - scores_N[second.long()]
        losses_P = weight * pair_losses(lead_P, label, margin, config)
        total_G = total_G.index_add(0, group.long(), losses_P)
        count_G = count_G.index_add(0, group.long(), torch.ones_like(losses_P))
    for group_of, weight_of, choices in batch["orders"]:
        losses = [torch.logsumexp(scores_N[among], dim=0) - scores_N[i] for i, among in choices]
        # one choice for each answer but the last: a ranking of two weighs as a pair does
        loss = weight_of * torch.stack(losses).sum() / max(1, len(choices) - 1)
        at = torch.tensor([group_of], device=scores_N.device)
        total_G = total_G.index_add(0, at, loss[None])
        count_G = count_G.index_add(0, at, torch.ones_like(loss)[None])
    losses_G = total_G / count_G.clamp(min=1)
    if config.centre:
        members_N = batch["group"]
        sums_G = scores_N.new_zeros(n_groups).index_add(0, members_N, scores_N)
        sizes_G = scores_N.new_zeros(n_groups).index_add(0, members_N, torch.ones_like(scores_N))
        # TRL centres the sum of a pair's two rewards, which is twice their mean
        losses_G = losses_G + config.centre * (2 * sums_G / sizes_G) ** 2
    return losses_G


def pair_losses(
    lead_P: torch.Tensor, label_P: torch.Tensor, margin_P: torch.Tensor, config: RewardConfig
) -> torch.Tensor:
    """The loss of each pair, given the lead of its first answer."""
    if config.ties == "rao_kupper":
        t = config.tie_margin
        win_P = logsigmoid(lead_P - margin_P - t)
        loss_P = logsigmoid(margin_P - lead_P - t)
        tied_P = math.log(math.expm1(2 * t)) + logsigmoid(lead_P - t) + logsigmoid(-lead_P - t)
        return -torch.where(label_P == 0.5, tied_P, label_P * win_P + (1 - label_P) * loss_P)
    asked_P = lead_P - margin_P
    return -(label_P * logsigmoid(asked_P) + (1 - label_P) * logsigmoid(-asked_P))
