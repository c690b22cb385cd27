"""How far two models are apart: in what they predict next, in what they decline to do, or in the score they give.

T tokens of a row, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

import torch

from align.evals.detector import refuses

OPENING = 24
"""Tokens of an answer that are written to see whether it declines: a refusal says so first."""


def predicted(model: Any, ids: list[int]) -> torch.Tensor:
    """[T, V] nats of every next token in float32; of a reward model [1, 1], its score."""
    device = next(model.parameters()).device
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids], device=device), use_cache=False).logits[0].float()
    if logits.shape[-1] == 1 or logits.ndim == 1:
        return logits.reshape(1, 1).cpu()
    # what stands before the text (learnt vectors) predicts nothing that is asked for here
    return torch.log_softmax(logits[-len(ids) :], dim=-1).cpu()


def distance(before: Sequence[torch.Tensor], after: Sequence[torch.Tensor]) -> dict[str, float]:
    """Mean KL(before ‖ after) in nats a token and share of equal first choices; or the largest change of a score."""
    n = float(sum(len(one) for one in before))
    if not before:
        return {"n_tokens": 0.0}
    if before[0].shape[-1] == 1:
        # a score of 30 has fewer digits behind the point than one of 0.3
        apart = (((a - b).abs() / (1 + a.abs())).max() for a, b in zip(before, after, strict=True))
        return {"score": max(map(float, apart)), "n_tokens": n}
    kl, same = 0.0, 0.0
    for p_TV, q_TV in zip(before, after, strict=True):
        q_TV = q_TV[:, : p_TV.shape[1]]
        kl += float((p_TV.exp() * (p_TV - q_TV)).double().sum())
        same += float((p_TV.argmax(-1) == q_TV.argmax(-1)).sum())
    return {"kl": max(kl / n, 0.0), "top1": same / n, "n_tokens": n}


def openings(model: Any, tokenizer: Any, prompts: Sequence[Sequence[int]]) -> list[str]:
    """How the model begins its likeliest answer to each prompt, greedily, all at once."""
    if not prompts:
        return []
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    longest = max(map(len, prompts))
    device = next(model.parameters()).device
    ids = torch.tensor([[pad] * (longest - len(row)) + list(row) for row in prompts], device=device)
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in prompts], device=device)
    with torch.no_grad():
        written = model.generate(
            input_ids=ids, attention_mask=mask, max_new_tokens=OPENING, do_sample=False, num_beams=1,
            temperature=None, top_p=None, top_k=None, pad_token_id=pad,
            synced_gpus=False,  # one process asks, and the others do not come
        )  # fmt: skip
    return [str(text) for text in tokenizer.batch_decode(written[:, longest:], skip_special_tokens=True)]


def refusals_apart(before: Sequence[str], after: Sequence[str]) -> dict[str, float]:
    """Share of prompts that the first of two models declines, and that one of them declines and the other does not."""
    if not before:
        return {"n_prompts": 0.0}
    told = [(refuses(a), refuses(b)) for a, b in zip(before, after, strict=True)]
    n = float(len(told))
    return {
        "refusals": sum(a for a, _ in told) / n,
        "refusals_changed": sum(a != b for a, b in told) / n,
        "n_prompts": n,
    }


def made_up_rows(model: Any, *, rows: int = 4, tokens: int = 24) -> list[list[int]]:
    """Rows of tokens drawn from the model's vocabulary, the same each time: for where no text is at hand."""
    random, n = Random(0), int(model.config.get_text_config().vocab_size)
    return [[random.randrange(n) for _ in range(tokens)] for _ in range(rows)]
