"""Exact attention over a packed row of prompt trees: a prompt sees itself, an answer its prompt and itself.

H query heads, K key heads, T tokens of the flat row, D width of a head. A segment's keys stand in the order of their
positions (its prefix, then itself), so the place of a key is its position, and causality and a sliding window are
masks of fixed shape. Registered with transformers as `align_tree`; which tree is run stands in a context variable,
for not every family hands keywords down to its attention.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

import torch
from torch.nn import functional as F
from transformers import AttentionInterface

from align.models.packing import Pack, Segment

NAME = "align_tree"
BLOCK = 128
"""Queries at once: with their keys they stay within a core's cache, and later keys are never touched."""

KEPT_MASK = 1 << 18
"""Entries of a mask that is kept for the next segment of its shape."""


class Run:
    """One pass of a model over a pack; counts how often its attention asked."""

    def __init__(self, pack: Pack) -> None:
        self.pack = pack
        self.calls = 0


RUN: ContextVar[Run | None] = ContextVar("align_tree_run", default=None)


def tree_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    **_: Any,
) -> tuple[torch.Tensor, None]:
    """`query` [1, H, T, D], `key` and `value` [1, K, T, D] to [1, T, H, D], over the current run's pack."""
    run = RUN.get()
    assert run is not None, "tree attention is called by `running` alone"
    run.calls += 1
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    device = query.device.type
    if torch.is_autocast_enabled(device):
        wanted = torch.get_autocast_dtype(device)
        query, key, value = query.to(wanted), key.to(wanted), value.to(wanted)
    elif not query.dtype == key.dtype == value.dtype:
        query, key = query.to(value.dtype), key.to(value.dtype)
    window = sliding_window if sliding_window and sliding_window < run.pack.longest else None
    if softcap is not None or s_aux is not None or dropout:
        return plain(query, key, value, run.pack, scale, window, softcap, s_aux, dropout), None
    if device == "cpu":
        return Blocked.apply(query, key, value, run.pack, scale, window), None
    return by_segment(query, key, value, run.pack, scale, window), None


AttentionInterface.register(NAME, tree_attention)


def hidden_keys(n_queries: int, n_keys: int, window: int | None, device: str) -> torch.Tensor:
    """True where a query may not look: [n_queries, n_keys], the last query facing the last key."""
    # of long answers hardly two masks have one shape, and 512 of them would fill a memory
    make = made_hidden if n_queries * n_keys <= KEPT_MASK else made_hidden.__wrapped__
    return make(n_queries, n_keys, window, device)


@lru_cache(maxsize=512)
def made_hidden(n_queries: int, n_keys: int, window: int | None, device: str) -> torch.Tensor:
    """`hidden_keys`, kept."""
    with torch.inference_mode(False):  # a mask first made for reading alone must serve training too
        place = torch.arange(n_queries, device=device)[:, None] + (n_keys - n_queries)
        other = torch.arange(n_keys, device=device)[None, :]
        hidden = other > place
        return hidden if window is None else hidden | (other <= place - window)


def added_mask(n_queries: int, n_keys: int, window: int | None, dtype: torch.dtype) -> torch.Tensor:
    """`hidden_keys` as 0 and -inf."""
    make = made_added if n_queries * n_keys <= KEPT_MASK else made_added.__wrapped__
    return make(n_queries, n_keys, window, dtype)


@lru_cache(maxsize=512)
def made_added(n_queries: int, n_keys: int, window: int | None, dtype: torch.dtype) -> torch.Tensor:
    """`added_mask`, kept."""
    hidden = hidden_keys(n_queries, n_keys, window, "cpu")
    with torch.inference_mode(False):
        return torch.zeros(hidden.shape, dtype=dtype).masked_fill_(hidden, -math.inf)


def keys_of(segment: Segment, x_KTD: torch.Tensor) -> torch.Tensor:
    """What a segment sees, in the order of positions: its prefix, then itself."""
    own = x_KTD[:, segment.first : segment.stop]
    if not segment.n_before:
        return own
    return torch.cat((x_KTD[:, segment.before : segment.before_stop], own), dim=1)


def blocks(segment: Segment, window: int | None) -> Iterator[tuple[int, int, int, int]]:
    """(first query, last + 1, first key, last + 1) of each block: queries by place in the segment, keys by position."""
    length = segment.stop - segment.first
    n = max(1, math.ceil(length / BLOCK))
    size = math.ceil(length / n)
    for start in range(0, length, size):
        stop = min(start + size, length)
        first = 0 if window is None else max(0, segment.n_before + start - window + 1)
        yield start, stop, first, segment.n_before + stop


class Blocked(torch.autograd.Function):  # type: ignore[misc]
    """Attention by plain matrix products over blocks of queries: on a CPU faster than the fused kernel, above all back.

    The heads that share a key are stacked, so keys are not repeated. Probabilities are kept for the way back, in the
    number format of the keys; they are small, for no token looks outside its own tree.
    """

    @staticmethod
    def forward(
        ctx: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        pack: Pack,
        scale: float,
        window: int | None,
    ) -> torch.Tensor:
        q_HTD, k_KTD, v_KTD = query[0], key[0], value[0]
        heads, tokens, width = q_HTD.shape
        kept, stacked = k_KTD.shape[0], heads // k_KTD.shape[0]
        out_HTD = torch.empty(tokens, heads, v_KTD.shape[-1], dtype=value.dtype).transpose(0, 1)
        needed = any(ctx.needs_input_grad[:3])
        shares: list[torch.Tensor] = []
        with torch.autocast("cpu", enabled=False):
            for segment in pack.segments:
                k_KSD, v_KSD = keys_of(segment, k_KTD), keys_of(segment, v_KTD)
                for start, stop, first, last in blocks(segment, window):
                    n, s = stop - start, last - first
                    place = slice(segment.first + start, segment.first + stop)
                    q_KnD = q_HTD[:, place].reshape(kept, stacked * n, width)
                    p_KnS = scores(q_KnD, k_KSD[:, first:last], scale)
                    mask_own(p_KnS.view(kept * stacked, n, s), window)
                    p_KnS = torch._softmax(p_KnS, -1, False)
                    out_HTD[:, place] = torch.bmm(p_KnS, v_KSD[:, first:last]).view(heads, n, -1)
                    if needed:
                        shares.append(p_KnS)
        ctx.save_for_backward(query, key, value, *shares)
        ctx.pack, ctx.scale, ctx.window = pack, scale, window
        return out_HTD.transpose(0, 1).unsqueeze(0)

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        query, key, value, *shares = ctx.saved_tensors
        q_HTD, k_KTD, v_KTD = query[0], key[0], value[0]
        heads, tokens, width = q_HTD.shape
        kept, stacked = k_KTD.shape[0], heads // k_KTD.shape[0]
        g_HTD = grad[0].transpose(0, 1).to(value.dtype)
        # laid out as the projections wrote them: tokens outside, heads inside
        dq_HTD = torch.empty(tokens, heads, width, dtype=query.dtype).transpose(0, 1)
        # a prompt's keys are added to by every block of queries and every answer, which half precision would round
        wide = torch.promote_types(key.dtype, torch.float32)
        dk_KTD = torch.zeros(tokens, kept, width, dtype=wide).transpose(0, 1)
        dv_KTD = torch.zeros(tokens, kept, v_KTD.shape[-1], dtype=wide).transpose(0, 1)
        remaining = iter(shares)
        for segment in ctx.pack.segments:
            k_KSD, v_KSD = keys_of(segment, k_KTD), keys_of(segment, v_KTD)
            for start, stop, first, last in blocks(segment, ctx.window):
                n = stop - start
                place = slice(segment.first + start, segment.first + stop)
                p_KnS = next(remaining)
                g_KnD = g_HTD[:, place].reshape(kept, stacked * n, -1)
                q_KnD = q_HTD[:, place].reshape(kept, stacked * n, width)
                spread(dv_KTD, segment, first, torch.bmm(p_KnS.transpose(1, 2), g_KnD))
                d_KnS = torch.bmm(g_KnD, v_KSD[:, first:last].transpose(1, 2))
                d_KnS = torch._softmax_backward_data(d_KnS, p_KnS, -1, p_KnS.dtype).mul_(ctx.scale)
                dq_HTD[:, place] = torch.bmm(d_KnS, k_KSD[:, first:last]).view(heads, n, width)
                spread(dk_KTD, segment, first, torch.bmm(d_KnS.transpose(1, 2), q_KnD))
        return dq_HTD[None], dk_KTD[None].to(key.dtype), dv_KTD[None].to(value.dtype), None, None, None


def scores(q_KnD: torch.Tensor, k_KSD: torch.Tensor, scale: float) -> torch.Tensor:
    """Scaled products of queries and keys."""
    empty = q_KnD.new_empty((1, 1, 1))
    return torch.baddbmm(empty, q_KnD, k_KSD.transpose(1, 2), beta=0, alpha=scale)


def mask_own(p_HnS: torch.Tensor, window: int | None) -> None:
    """Hide, in place, what a query may not see; without a window that is only among the block's own keys."""
    n, s = p_HnS.shape[1:]
    if window is None:
        p_HnS[:, :, s - n :].add_(added_mask(n, n, None, p_HnS.dtype))
    else:
        p_HnS.add_(added_mask(n, s, window, p_HnS.dtype))


def spread(into_KTD: torch.Tensor, segment: Segment, first: int, grad_KSD: torch.Tensor) -> None:
    """Add gradients of keys `first …` (by position) to where those keys stand in the flat row."""
    shared = segment.n_before
    stop = first + grad_KSD.shape[1]
    if first < shared:
        end = min(stop, shared)
        into_KTD[:, segment.before + first : segment.before + end] += grad_KSD[:, : end - first]
    if stop > shared:
        start = max(first, shared)
        place = segment.first - shared
        into_KTD[:, place + start : place + stop] += grad_KSD[:, start - first :]


def by_segment(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, pack: Pack, scale: float, window: int | None
) -> torch.Tensor:
    """torch's own attention, a segment at a time: what a GPU without flex attention gets."""
    outs = []
    lengths = [segment.stop - segment.first for segment in pack.segments]
    n_sharing = query.shape[1] // key.shape[1]
    for segment, q_1HnD in zip(pack.segments, query.split(lengths, dim=2), strict=True):
        k_1KSD, v_1KSD = keys_of(segment, key[0])[None], keys_of(segment, value[0])[None]
        n, s = q_1HnD.shape[2], k_1KSD.shape[2]
        causal = segment.n_before == 0 and window is None
        if n_sharing > 1 and not causal:
            # with a mask, heads that share keys would be left to the kernel that writes all scores out
            k_1KSD, v_1KSD = (x.repeat_interleave(n_sharing, dim=1) for x in (k_1KSD, v_1KSD))
        mask = None if causal else ~hidden_keys(n, s, window, str(query.device))
        outs.append(
            F.scaled_dot_product_attention(
                q_1HnD, k_1KSD, v_1KSD, attn_mask=mask, is_causal=causal and n > 1, scale=scale,
                enable_gqa=q_1HnD.shape[1] != k_1KSD.shape[1],
            )
        )  # fmt: skip
    return torch.cat(outs, dim=2).transpose(1, 2).contiguous()


def plain(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    pack: Pack,
    scale: float,
    window: int | None,
    softcap: float | None,
    sinks: torch.Tensor | None,
    dropout: float,
) -> torch.Tensor:
    """The formula itself, a segment at a time: soft-capped scores (Gemma 2), sinks (GPT-OSS), dropout."""
    heads, kept = query.shape[1], key.shape[1]
    lengths = [segment.stop - segment.first for segment in pack.segments]
    outs = []
    for segment, q_1HnD in zip(pack.segments, query.split(lengths, dim=2), strict=True):
        k_KSD, v_KSD = keys_of(segment, key[0]), keys_of(segment, value[0])
        n, s = q_1HnD.shape[2], k_KSD.shape[1]
        q_KGnD = q_1HnD[0].view(kept, heads // kept, n, -1)
        z_KGnS = torch.matmul(q_KGnD, k_KSD[:, None].transpose(2, 3)) * scale
        if softcap is not None:
            z_KGnS = torch.tanh(z_KGnS / softcap) * softcap
        # the softmax itself in float32 at least, as the families' own attention has it
        z_KGnS = z_KGnS.to(torch.promote_types(z_KGnS.dtype, torch.float32))
        z_KGnS = z_KGnS.masked_fill(hidden_keys(n, s, window, str(query.device)), -math.inf)
        if sinks is not None:
            sink = sinks.to(z_KGnS.dtype).view(kept, -1, 1, 1).expand(-1, -1, n, 1)
            p_KGnS = torch.softmax(torch.cat((z_KGnS, sink), dim=-1), dim=-1)[..., :-1]
        else:
            p_KGnS = torch.softmax(z_KGnS, dim=-1)
        p_KGnS = F.dropout(p_KGnS.to(value.dtype), p=dropout)
        outs.append(torch.matmul(p_KGnS, v_KSD[:, None]).reshape(heads, n, -1))
    return torch.cat(outs, dim=1).transpose(0, 1)[None]


@contextmanager
def running(decoder: Any, pack: Pack) -> Iterator[Run]:
    """Within, `decoder`'s attention is the tree's, over `pack`; also where a checkpoint runs a layer again later."""
    run = Run(pack)
    for layer in decoder.modules():
        if getattr(layer, "gradient_checkpointing", False):
            again = getattr(layer, "_gradient_checkpointing_func", None)
            if again is not None and not hasattr(again, "knows_trees"):
                layer._gradient_checkpointing_func = remembering(again, decoder.config)
    with attending(decoder.config, run):
        yield run


@contextmanager
def attending(config: Any, run: Run) -> Iterator[None]:
    """`config`'s models attend by the tree of `run`."""
    before = config._attn_implementation_internal
    token = RUN.set(run)
    config._attn_implementation_internal = NAME
    try:
        yield
    finally:
        config._attn_implementation_internal = before
        RUN.reset(token)


def remembering(checkpoint: Any, config: Any) -> Any:
    """`checkpoint`, whose second run of a layer, in the midst of `backward()`, finds the tree of the first."""

    def checkpointed(layer: Any, *args: Any, **kwargs: Any) -> Any:
        run = RUN.get()
        if run is None:
            return checkpoint(layer, *args, **kwargs)

        def again(*inner: Any, **named: Any) -> Any:
            with attending(config, run):
                return layer(*inner, **named)

        return checkpoint(again, *args, **kwargs)

    checkpointed.knows_trees = True  # type: ignore[attr-defined]
    return checkpointed
