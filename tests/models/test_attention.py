"""The three ways of attending within trees give one answer, whatever machine takes which."""

from __future__ import annotations

import pytest
import torch

from align.models.attention import KEPT_MASK, Blocked, by_segment, hidden_keys, made_hidden, plain
from align.models.packing import Group, pack


def trees() -> object:
    groups = [
        Group(tuple(range(150)), (tuple(range(7)), tuple(range(140)), (1, 2))),
        Group((5, 6, 7), ((1, 2, 3), tuple(range(30)))),
        Group(tuple(range(40)), ((1,),)),
    ]
    (row,) = pack(groups, 1024, share=8)
    return row


@pytest.mark.parametrize("window", [None, 48])
@pytest.mark.parametrize("kept", [6, 2, 1])
def test_what_a_gpu_is_given_attends_as_the_formula_does_and_so_do_its_gradients(kept: int, window: int | None) -> None:
    row = trees()
    tokens = len(row.tokens)  # type: ignore[attr-defined]
    generator = torch.Generator().manual_seed(0)
    given = [
        torch.randn(1, heads, tokens, 16, generator=generator, dtype=torch.float64, requires_grad=True)
        for heads in (6, kept, kept)
    ]
    ways = {
        "plain": plain(*given, row, 0.25, window, None, None, 0.0),  # type: ignore[arg-type]
        "by segment": by_segment(*given, row, 0.25, window),  # type: ignore[arg-type]
        "blocked": Blocked.apply(*given, row, 0.25, window),
    }
    weights = torch.randn(ways["plain"].shape, generator=generator, dtype=torch.float64)
    wanted = torch.autograd.grad((ways["plain"] * weights).sum(), given, retain_graph=True)
    for name in ("by segment", "blocked"):
        assert torch.allclose(ways[name], ways["plain"], atol=1e-12), name
        found = torch.autograd.grad((ways[name] * weights).sum(), given, retain_graph=True)
        for a, b in zip(found, wanted, strict=True):
            assert torch.allclose(a, b, atol=1e-12), name


def test_masks_of_long_answers_are_not_kept() -> None:
    made_hidden.cache_clear()
    side = int(KEPT_MASK**0.5)
    hidden_keys(side, side, None, "cpu")
    assert made_hidden.cache_info().currsize == 1
    long = hidden_keys(side, side + 1, None, "cpu")
    assert made_hidden.cache_info().currsize == 1
    assert torch.equal(long, made_hidden(side, side + 1, None, "cpu"))
