"""In bfloat16 a tree's gradients are as near to float32's as those of the model's own padded pass."""

from __future__ import annotations

from typing import Any

import torch
from trl.trainer.utils import add_fused_lm_head

from align.training.packed import Packing, pack_in_place
from tests.models.families import family


def gradients(*, packed: bool, half: bool) -> torch.Tensor:
    torch.manual_seed(1)
    model = family("llama").float()
    add_fused_lm_head(model, outputs=("log_probs", "entropy", "mean_logits", "is_top1"))
    if packed:
        assert isinstance(pack_in_place(model), Packing)
    generator = torch.Generator().manual_seed(0)
    prompt = torch.randint(3, 97, (1, 60), generator=generator)
    answers = torch.randint(3, 97, (6, 60), generator=generator)
    ids = torch.cat((prompt.expand(6, -1), answers), dim=1)
    labels = ids.clone()
    labels[:, :60] = -100
    given: dict[str, Any] = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": labels}
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
        found = model(**given, fused_lm_head=True, use_cache=False).log_probs
    (found.sum(1).float() * torch.linspace(-1, 1, 6)).sum().backward()
    return torch.cat([p.grad.flatten() for p in model.parameters()])


def test_a_tree_in_bfloat16_is_no_further_from_float32_than_padded_rows_are() -> None:
    exact = gradients(packed=False, half=False)
    tree, padded = gradients(packed=True, half=True), gradients(packed=False, half=True)
    ours, theirs = ((tree - exact).norm() / exact.norm(), (padded - exact).norm() / exact.norm())
    assert ours < 1.2 * theirs, f"{float(ours):.4f} against {float(theirs):.4f}"
