"""How likely a model finds a text: the log-probability of some of its tokens, in float32."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from align.models.packing import BUDGET, Pack, bundle_rows, first_fit


def tree_logps(model: Any, rows: Sequence[tuple[list[int], int]], *, budget: int = BUDGET) -> list[float]:
    """The same as `token_logps`, from flat rows of at most `budget` tokens in which shared beginnings stand once.

    The model must be `trees.supported`.
    """
    from align.models.trees import logps

    ids = [tuple(tokens) for tokens, _ in rows]
    predicted = [range(first, len(tokens)) for tokens, first in rows]
    sums = [0.0] * len(rows)
    with torch.inference_mode():
        for bundles in first_fit(bundle_rows(ids, predicted), budget, keep_last=False):
            row = Pack(bundles)
            found = logps(model, row)["log_probs"].double()
            totals = torch.zeros(len(row.names), dtype=torch.float64, device=found.device)
            totals.index_add_(0, row.tensor("owners", found.device), found)
            for (i, _), total in zip(row.names, totals.tolist(), strict=True):
                sums[i] = total
    return sums


def token_logps(model: Any, rows: Sequence[tuple[list[int], int]], *, temperature: float = 1.0) -> list[float]:
    """Nats, summed, of each row's tokens from place `first` (at least 1) on, given those before."""
    longest = max(len(ids) for ids, _ in rows)
    device = next(model.parameters()).device
    input_ids_BT = torch.zeros(len(rows), longest, dtype=torch.long)
    mask_BT = torch.zeros(len(rows), longest, dtype=torch.long)
    for i, (ids, _) in enumerate(rows):
        input_ids_BT[i, : len(ids)] = torch.tensor(ids)
        mask_BT[i, : len(ids)] = 1
    input_ids_BT, mask_BT = input_ids_BT.to(device), mask_BT.to(device)
    # the head only where a token is asked for: the logits of a whole batch can be gigabytes
    keep = min(first for _, first in rows) - 1
    with torch.inference_mode():
        logits_BTV = model(
            input_ids=input_ids_BT, attention_mask=mask_BT, use_cache=False, logits_to_keep=longest - keep
        ).logits
    sums = []
    for i, (ids, first) in enumerate(rows):
        logits_TV = logits_BTV[i, first - 1 - keep : len(ids) - 1 - keep].float() / temperature
        targets_T = input_ids_BT[i, first : len(ids)]
        picked_T = torch.log_softmax(logits_TV, dim=-1).gather(-1, targets_T[:, None])
        sums.append(float(picked_T.sum()))
    return sums
