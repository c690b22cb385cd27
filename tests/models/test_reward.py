"""The score of an answer is one number, whoever asks for it: alone, in a block, in a tree, by transformers itself."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification

from align.errors import ModelError
from align.models import trees
from align.models.packing import Group, pack
from align.models.reward import block, scores, scores_of, take_packs
from tests.models.families import FAMILIES, FLOAT32, STRANGERS, family

HEADLESS = ("granite", "cohere2")
"""Families for which transformers has no sequence classifier."""
PROMPTS = ((3, 9, 4, 8, 5, 7, 21, 33, 40, 41, 11, 12), (50, 51, 52, 53, 54, 55, 56, 57, 58))
ANSWERS = (((5, 6, 7, 8), (5, 9), (10, 11, 12, 13, 14, 15, 16)), ((60, 61), (62,)))
GROUPS = [Group(prompt, answers) for prompt, answers in zip(PROMPTS, ANSWERS, strict=True)]
ROWS = [prompt + answer for prompt, answers in zip(PROMPTS, ANSWERS, strict=True) for answer in answers]


def scorer(name: str, seed: int = 0) -> Any:
    """A one-label classifier of a family, in float64 where the family can."""
    config = family(name).config
    config.num_labels, config.pad_token_id = 1, 0
    torch.manual_seed(seed)
    model = AutoModelForSequenceClassification.from_config(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.eval() if name in FLOAT32 else model.double().eval()


def alone(model: Any) -> torch.Tensor:
    return torch.stack([model(input_ids=torch.tensor([row]), use_cache=False).logits[0, 0] for row in ROWS])


def gradients(model: Any, scores_N: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    (scores_N * torch.linspace(-1, 2, len(scores_N), dtype=scores_N.dtype)).sum().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", [name for name in FAMILIES if name not in HEADLESS])
def test_scores_and_gradients_of_a_tree_are_those_of_each_conversation_alone(name: str) -> None:
    model = scorer(name)
    assert trees.supported(model)
    expected = alone(model)
    wanted = gradients(model, expected)
    take_packs(model)
    packs = pack(GROUPS, keep_last=True)
    found = model(packs=packs).logits[:, 0]
    names = [name for one in packs for name in one.names]
    order = [names.index((g, k)) for g, group in enumerate(GROUPS) for k in range(len(group.answers))]
    found = found[order]
    tolerance = 1e-3 if name in FLOAT32 else 1e-5
    assert torch.allclose(found, expected, rtol=tolerance, atol=tolerance)
    for parameter, gradient in gradients(model, found).items():
        scale = float(wanted[parameter].norm())
        assert float((gradient - wanted[parameter]).norm()) <= tolerance * max(scale, 1e-3), parameter


@pytest.mark.parametrize("name", ["llama", "mistral_window", "falcon"])
def test_a_score_is_the_same_in_whatever_company(name: str) -> None:
    model = scorer(name)
    expected = alone(model).tolist()
    together = scores(model, [*ROWS, ROWS[0]], 0)
    assert together == pytest.approx([*expected, expected[0]], abs=1e-6)
    assert scores(model, ROWS[::-1], 0) == pytest.approx(expected[::-1], abs=1e-6)
    assert (name in STRANGERS) != trees.supported(model)


def test_a_conversation_that_begins_another_keeps_its_own_score() -> None:
    model = scorer("llama")
    rows = [ROWS[0], ROWS[0] + (17, 18), ROWS[0][:-1]]
    expected = [float(model(input_ids=torch.tensor([row])).logits[0, 0].detach()) for row in rows]
    assert scores(model, rows, 0) == pytest.approx(expected, abs=1e-6)


def test_a_conversation_that_ends_with_padding_is_refused() -> None:
    with pytest.raises(ModelError, match="ends with the padding token"):
        block([[4, 5, 0]], 0)


def test_under_autocast_the_head_stays_in_float32() -> None:
    model = scorer("llama").float()
    (row,) = pack(GROUPS[:1], keep_last=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert scores_of(model, row).dtype == torch.float32
