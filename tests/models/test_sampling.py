from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from align.errors import BackendError
from align.models.load import load_model
from align.models.sampling import Draw, answers, choose

SIZES: dict[str, Any] = {
    "vocab_size": 96, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 2,
    "num_key_value_heads": 1, "head_dim": 16, "max_position_embeddings": 256, "pad_token_id": 0, "bos_token_id": 1,
    "eos_token_id": 2,
}  # fmt: skip
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "mistral": {"sliding_window": 12},
    "qwen3": {},
    "gemma3_text": {"sliding_window": 12, "query_pre_attn_scalar": 16},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 256},
}


def made(family: str) -> Any:
    torch.manual_seed(1)
    config = AutoConfig.for_model(family, **{**SIZES, **FAMILIES[family]})
    model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").eval()
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    return model


def prompts_of(*lengths: int) -> list[list[int]]:
    rng = random.Random(0)
    return [[rng.randrange(3, 96) for _ in range(length)] for length in lengths]


@pytest.mark.parametrize("family", FAMILIES)
def test_each_greedy_token_is_the_likeliest_of_a_plain_reading(family: str) -> None:
    model = made(family)
    prompts = prompts_of(5, 30, 70)
    draw = Draw(temperature=0.0, top_p=1.0, max_tokens=12, ends=frozenset([2]))
    for i, (written,) in answers(model, prompts, [(1,)] * 3, draw, rows_at_once=8):
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([prompts[i] + written]), use_cache=False).logits[0]
        for n, token in enumerate(written):
            seen = logits[len(prompts[i]) - 1 + n]
            assert float(seen.max() - seen[token]) < 1e-3


def test_neither_order_nor_batch_nor_company_changes_an_answer(folder: Path) -> None:
    model = load_model(folder)
    vocabulary = model.config.vocab_size
    rng = random.Random(3)
    prompts = [[rng.randrange(6, vocabulary) for _ in range(rng.choice([3, 9, 31, 64, 65, 100]))] for _ in range(40)]
    seeds = [tuple(range(i * 10, i * 10 + rng.choice([1, 3]))) for i in range(40)]
    draw = Draw(temperature=1.0, top_p=0.95, max_tokens=24, ends=frozenset([5]))
    together = dict(answers(model, prompts, seeds, draw, rows_at_once=64))
    for rows_at_once, chosen in ((1, range(6)), (8, range(40)), (16, range(39, 20, -1))):
        order = list(chosen)
        some = answers(model, [prompts[i] for i in order], [seeds[i] for i in order], draw, rows_at_once=rows_at_once)
        for place, written in some:
            assert written == together[order[place]]


def test_equal_prompts_with_equal_seeds_get_equal_answers_and_with_others_other_ones(folder: Path) -> None:
    model = load_model(folder)
    draw = Draw(temperature=1.0, top_p=1.0, max_tokens=16, ends=frozenset([5]))
    found = dict(answers(model, [[1, 30, 40, 50]] * 2, [(7, 8), (8, 7)], draw, rows_at_once=8))
    assert found[0] == found[1][::-1]
    assert found[0][0] != found[0][1]


def test_tokens_are_drawn_as_often_as_their_probability_says() -> None:
    logits = torch.log(torch.tensor([[0.5, 0.3, 0.2]])).expand(1000, 3)
    uniforms = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000
    plain = Draw(temperature=1.0, top_p=1.0, max_tokens=1, ends=frozenset())
    assert torch.bincount(choose(logits, uniforms, plain)).tolist() == [500, 300, 200]
    nucleus = Draw(temperature=1.0, top_p=0.7, max_tokens=1, ends=frozenset())
    assert torch.bincount(choose(logits, uniforms, nucleus)).tolist() == [625, 375]
    greedy = Draw(temperature=0.0, top_p=1.0, max_tokens=1, ends=frozenset())
    assert set(choose(logits, uniforms, greedy).tolist()) == {0}


def test_a_family_without_keys_and_values_is_refused() -> None:
    config = AutoConfig.for_model("mamba", vocab_size=96, hidden_size=32, num_hidden_layers=1, state_size=4)
    model = AutoModelForCausalLM.from_config(config).eval()
    draw = Draw(temperature=0.0, top_p=1.0, max_tokens=2, ends=frozenset([2]))
    with pytest.raises(BackendError, match="mamba"):
        list(answers(model, prompts_of(4), [(1,)], draw, rows_at_once=8))
