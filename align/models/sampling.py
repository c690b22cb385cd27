"""Answers drawn so that only the prompt, the settings and a seed decide them: not the order, not the batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy
import torch
from transformers import LogitsProcessor, LogitsProcessorList

ROWS = 8
"""A batch is filled up to a multiple of so many rows: below four, matrix products add up in another order."""


class Drawn(LogitsProcessor):  # type: ignore[misc]
    """Replaces scores so that greedy choice picks the token that the row's next uniform number points at."""

    def __init__(
        self, seeds: Sequence[int], *, temperature: float, top_p: float, max_tokens: int, prompt_tokens: int
    ) -> None:
        uniforms = [numpy.random.Generator(numpy.random.Philox(seed)).random(max_tokens) for seed in seeds]
        self.uniforms_BT = torch.from_numpy(numpy.stack(uniforms))
        self.temperature = temperature
        self.top_p = top_p
        self.prompt_tokens = prompt_tokens

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        step = input_ids.shape[1] - self.prompt_tokens
        probs_BV = torch.softmax(scores.float() / self.temperature, dim=-1).double()
        if self.top_p < 1:
            sorted_BV, order_BV = probs_BV.sort(dim=-1, descending=True, stable=True)
            outside_BV = sorted_BV.cumsum(dim=-1) - sorted_BV >= self.top_p
            probs_BV = torch.zeros_like(probs_BV).scatter(-1, order_BV, sorted_BV.masked_fill(outside_BV, 0.0))
        cdf_BV = probs_BV.cumsum(dim=-1)
        point_B1 = self.uniforms_BT[:, step : step + 1].to(cdf_BV.device) * cdf_BV[:, -1:]
        token_B1 = torch.searchsorted(cdf_BV, point_B1, right=True).clamp(max=scores.shape[-1] - 1)
        return torch.full_like(scores, float("-inf")).scatter(-1, token_B1, 0.0)


def draw(
    model: Any,
    prompts: Sequence[Sequence[int]],
    seeds: Sequence[int],
    *,
    temperature: float,
    top_p: float,
    max_tokens: int,
    ends: Sequence[int],
    pad: int,
) -> list[list[int]]:
    """The tokens of one answer to each prompt, the end included where it came; all prompts must be equally long."""
    n_real = len(prompts)
    n_rows = -(-n_real // ROWS) * ROWS
    rows = [*prompts, *[prompts[0]] * (n_rows - n_real)]
    device = next(model.parameters()).device
    input_ids_BT = torch.tensor(rows, dtype=torch.long, device=device)
    length = input_ids_BT.shape[1]
    processors = LogitsProcessorList()
    if temperature > 0:
        row_seeds = [*seeds, *[seeds[0]] * (n_rows - n_real)]
        processors.append(
            Drawn(row_seeds, temperature=temperature, top_p=top_p, max_tokens=max_tokens, prompt_tokens=length)
        )
    with torch.inference_mode():
        written_BT = model.generate(
            input_ids=input_ids_BT,
            attention_mask=torch.ones_like(input_ids_BT),
            logits_processor=processors,
            do_sample=False,
            num_beams=1,
            max_new_tokens=max_tokens,
            eos_token_id=list(ends),
            pad_token_id=pad,
            use_cache=True,
        )
    answers = []
    for row in written_BT[:n_real, length:].tolist():
        stop = next((i for i, token in enumerate(row) if token in ends), len(row) - 1)
        answers.append(row[: stop + 1])
    return answers
