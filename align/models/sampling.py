"""Answers drawn so that the prompt, the settings and a seed decide them: not the order, the batch, or the company.

Axes: R rows, K key-value heads, T places, D head width, V vocabulary.

A sum of floats depends on the order of its terms, and matrix products choose that order by the shape of their input. So
every shape here is one whose rows come out the same in any other: prompts are padded on the right to whole blocks of
places and read in calls of bounded size; each row being written keeps its keys and values in places of its own, counted
from 0; and no product ever sees fewer than `ROWS` rows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy
import torch
from transformers import Cache, DynamicCache

from align.errors import BackendError

ROWS = 8
"""Rows come in multiples of this: below four, a product adds up in another order."""
BLOCK = 64
"""Places come in multiples of this."""
READ_TOKENS = 1024
"""At most so many tokens are read in one call, padding included; a longer prompt is read alone."""


@dataclass(frozen=True)
class Draw:
    """How tokens are chosen."""

    temperature: float
    top_p: float
    max_tokens: int
    ends: frozenset[int]
    stops: Callable[[Sequence[int]], bool] | None = None
    """Whether what is written ends an answer, though its last token is no end."""


@dataclass
class Row:
    """An answer being written."""

    prompt: int
    sample: int
    uniforms: Any
    most: int
    """Tokens that there is room for."""
    written: list[int] = field(default_factory=list)


def answers(
    model: Any, prompts: Sequence[Sequence[int]], seeds: Sequence[Sequence[int]], draw: Draw, *, rows_at_once: int,
    context: int | None = None, logps: dict[tuple[int, int], float] | None = None,
) -> Iterator[tuple[int, list[list[int]]]]:  # fmt: skip
    """Each prompt's place and its answers' tokens, one answer a seed, ends included where they came; as they finish.

    No answer goes beyond `context`. `logps` is filled with the nats of each answer, by prompt and sample, before
    temperature and top_p.
    """
    most = max(len(of_prompt) for of_prompt in seeds)
    limits = [min(draw.max_tokens, (context or 2**31) - len(prompt)) for prompt in prompts]
    places = whole(max(len(prompt) + limit for prompt, limit in zip(prompts, limits, strict=True)), BLOCK)
    table = Table(model, rows=whole(max(rows_at_once, most), ROWS), places=places, limits=limits, logps=logps)
    queue = deque(sorted(range(len(prompts)), key=lambda i: (-whole(len(prompts[i]), BLOCK), i)))
    finished: dict[int, dict[int, list[int]]] = {}
    while queue or table.busy:
        if queue and (not table.busy or len(table.free) * 4 >= table.n_rows):
            taken = []
            n_free = len(table.free)
            while queue and len(seeds[queue[0]]) <= n_free:
                taken.append(queue.popleft())
                n_free -= len(seeds[taken[-1]])
            for group in readable(taken, prompts):
                table.read(group, prompts, seeds, draw)
        elif not queue:
            table.shrink()
        done = table.drop_finished(draw)
        for row in done:
            finished.setdefault(row.prompt, {})[row.sample] = row.written
            if len(finished[row.prompt]) == len(seeds[row.prompt]):
                samples = finished.pop(row.prompt)
                yield row.prompt, [samples[i] for i in range(len(samples))]
        if table.busy and not (done and queue):
            table.step(prompts, draw)


def readable(taken: Sequence[int], prompts: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """Groups of prompts that fill the same number of blocks, small enough for one call."""
    group: list[int] = []
    for i in taken:
        size = whole(len(prompts[i]), BLOCK)
        if group and (size != whole(len(prompts[group[0]]), BLOCK) or (len(group) + 1) * size > READ_TOKENS):
            yield group
            group = []
        group.append(i)
    if group:
        yield group


class Table:
    """Rows under way, each with its keys and values in places counted from 0."""

    def __init__(
        self, model: Any, *, rows: int, places: int, limits: Sequence[int], logps: dict[tuple[int, int], float] | None
    ) -> None:
        self.model = model
        self.limits = limits
        self.logps = logps
        self.device = next(model.parameters()).device
        self.n_rows = rows
        self.n_places = places
        self.rows: list[Row | None] = [None] * rows
        self.length_R = torch.zeros(rows, dtype=torch.long, device=self.device)
        self.token_R = torch.zeros(rows, dtype=torch.long, device=self.device)
        self.cache = Places()
        self.checked = False

    @property
    def busy(self) -> bool:
        """Whether any row is being written."""
        return any(row is not None for row in self.rows)

    @property
    def free(self) -> list[int]:
        """Rows that may be taken."""
        return [i for i, row in enumerate(self.rows) if row is None]

    def read(
        self, group: Sequence[int], prompts: Sequence[Sequence[int]], seeds: Sequence[Sequence[int]], draw: Draw
    ) -> None:
        """Read prompts of one group, give each sample a row, and draw its first token."""
        size = whole(max(len(prompts[i]) for i in group), BLOCK)
        ids_RT = torch.zeros(len(group), size, dtype=torch.long)
        for place, i in enumerate(group):
            ids_RT[place, : len(prompts[i])] = torch.tensor(prompts[i])
        # at least ROWS places, for the last product of one prompt alone must not be one of a single row
        wanted = sorted({*(len(prompts[i]) - 1 for i in group), *range(ROWS)})
        with torch.inference_mode():
            read = self.model(
                input_ids=ids_RT.to(self.device),
                past_key_values=DynamicCache(),
                use_cache=True,
                logits_to_keep=torch.tensor(wanted, device=self.device),
            )
        kept = getattr(read, "past_key_values", None)
        if kept is None:
            raise BackendError(
                f"models of type {self.model.config.model_type} keep no keys and values; use another engine"
            )
        layers = [(layer.keys, layer.values) for layer in kept.layers]
        if not self.cache.keys:
            self.cache.open(layers, rows=self.n_rows, places=self.n_places)
        free = iter(self.free)
        opened, logits = [], []
        for place, i in enumerate(group):
            last = wanted.index(len(prompts[i]) - 1)
            for sample, seed in enumerate(seeds[i]):
                r = next(free)
                uniforms = numpy.random.Generator(numpy.random.Philox(seed)).random(draw.max_tokens)
                self.rows[r] = Row(prompt=i, sample=sample, uniforms=uniforms, most=self.limits[i])
                self.length_R[r] = len(prompts[i])
                self.cache.put(r, layers, place, len(prompts[i]))
                opened.append(r)
                logits.append(read.logits[place, last])
        self.write(opened, torch.stack(logits), draw)

    def step(self, prompts: Sequence[Sequence[int]], draw: Draw) -> None:
        """Write one token more in every row."""
        n_places = whole(int(self.length_R.max()) + 1, BLOCK)
        self.cache.now(self.length_R, n_places)
        with torch.inference_mode():
            logits_RV = self.model(
                input_ids=self.token_R[:, None],
                position_ids=self.length_R[:, None],
                attention_mask=masks(self.model, self.length_R, n_places),
                past_key_values=self.cache,
                use_cache=True,
            ).logits[:, -1]
        busy = [i for i, row in enumerate(self.rows) if row is not None]
        if not self.checked:
            self.check(busy[0], prompts, logits_RV[busy[0]])
        self.length_R[torch.tensor(busy, device=self.device)] += 1
        self.write(busy, logits_RV[torch.tensor(busy, device=self.device)], draw)

    def check(self, place: int, prompts: Sequence[Sequence[int]], logits_V: Any) -> None:
        """Compare a first step with a plain reading of its tokens: some families take positions or masks otherwise."""
        row = self.rows[place]
        assert row is not None
        ids = torch.tensor([[*prompts[row.prompt], *row.written]], device=self.device)
        with torch.inference_mode():
            plain_V = self.model(input_ids=ids, use_cache=False).logits[0, -1]
        off = float((plain_V.float() - logits_V.float()).abs().max() / (1 + plain_V.float().abs().max()))
        exact = plain_V.dtype == torch.float32 and not torch.is_autocast_enabled(self.device.type)
        if not off < (1e-3 if exact else 0.1):
            raise BackendError(
                f"models of type {self.model.config.model_type} cannot be sampled from by this engine: its first step "
                f"is off by {off:.2g} of the largest logit; use another engine"
            )
        self.checked = True

    def write(self, places: Sequence[int], logits_RV: Any, draw: Draw) -> None:
        """Draw the next token of some rows."""
        rows = [row for i in places if (row := self.rows[i]) is not None]
        uniforms = torch.tensor([row.uniforms[len(row.written)] for row in rows], device=self.device)
        tokens = choose(logits_RV, uniforms, draw)
        self.token_R[torch.tensor(places, device=self.device)] = tokens
        for row, token in zip(rows, tokens.tolist(), strict=True):
            row.written.append(token)
        if self.logps is not None:
            logps = torch.log_softmax(logits_RV.float(), dim=-1).gather(-1, tokens[:, None])[:, 0].tolist()
            for row, logp in zip(rows, logps, strict=True):
                self.logps[row.prompt, row.sample] = self.logps.get((row.prompt, row.sample), 0.0) + logp

    def drop_finished(self, draw: Draw) -> list[Row]:
        """The rows that ended, or reached the greatest length; their places are free."""
        done = []
        for i, row in enumerate(self.rows):
            if row is not None and (
                row.written[-1] in draw.ends
                or len(row.written) == row.most
                or (draw.stops is not None and draw.stops(row.written))
            ):
                done.append(row)
                self.rows[i] = None
                self.length_R[i] = 0
        return done

    def shrink(self) -> None:
        """Give up free rows once a quarter is free, and nothing waits for them."""
        busy = [i for i, row in enumerate(self.rows) if row is not None]
        n_rows = whole(max(len(busy), 1), ROWS)
        if not busy or n_rows * 4 > self.n_rows * 3:
            return
        kept = torch.tensor(busy + [i for i in range(self.n_rows) if self.rows[i] is None][: n_rows - len(busy)])
        self.rows = [self.rows[i] for i in kept.tolist()]
        self.n_rows = n_rows
        kept = kept.to(self.device)
        self.length_R, self.token_R = self.length_R[kept], self.token_R[kept]
        self.cache.keep(kept)


class Places(Cache):  # type: ignore[misc]
    """Keys and values of every row at [R, K, T, D]; a row's next ones go to its own next place."""

    def __init__(self) -> None:
        super().__init__(layers=[])
        self.keys: list[Any] = []
        self.values: list[Any] = []

    def open(self, layers: Sequence[tuple[Any, Any]], *, rows: int, places: int) -> None:
        """Make room, after the shapes that a first reading shows."""
        for kept, shown in ((self.keys, [k for k, _ in layers]), (self.values, [v for _, v in layers])):
            kept += [x.new_zeros(rows, x.shape[1], places, x.shape[3]) for x in shown]

    def put(self, row: int, layers: Sequence[tuple[Any, Any]], place: int, length: int) -> None:
        """Copy what was read at `place` of a call into a row."""
        for n, (keys, values) in enumerate(layers):
            self.keys[n][row, :, :length] = keys[place, :, :length]
            self.values[n][row, :, :length] = values[place, :, :length]

    def now(self, length_R: Any, n_places: int) -> None:
        """Say where the tokens of the coming step stand."""
        self.length_R, self.n_places = length_R, n_places
        self.index_R = torch.arange(len(length_R), device=length_R.device)

    def update(self, key_states: Any, value_states: Any, layer_idx: int, *_: Any, **__: Any) -> tuple[Any, Any]:
        keys, values = self.keys[layer_idx], self.values[layer_idx]
        # under autocast some families compute keys or values in another format than they were read in
        keys[self.index_R, :, self.length_R] = key_states[:, :, 0].to(keys.dtype)
        values[self.index_R, :, self.length_R] = value_states[:, :, 0].to(values.dtype)
        return keys[:, :, : self.n_places], values[:, :, : self.n_places]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return int(self.length_R.max())

    def keep(self, rows: Any) -> None:
        """Only some rows go on."""
        self.keys = [x[rows] for x in self.keys]
        self.values = [x[rows] for x in self.values]


def masks(model: Any, length_R: Any, n_places: int) -> Any:
    """What each row's next token may look at, added to attention scores: one mask, or one for each kind of layer."""
    settings = model.config.get_text_config()
    window = getattr(settings, "sliding_window", None)
    place_1T = torch.arange(n_places, device=length_R.device)[None]
    visible_RT = {"full_attention": place_1T <= length_R[:, None]}
    if window is not None:
        near_RT = place_1T > length_R[:, None] - window
        visible_RT["sliding_attention"] = visible_RT["full_attention"] & near_RT
    kinds = set(getattr(settings, "layer_types", None) or [list(visible_RT)[-1]])
    if not kinds <= set(visible_RT):
        unknown = min(kinds - set(visible_RT))
        raise BackendError(f"layers of kind {unknown} cannot be sampled from by this engine; use another engine")
    added = {
        kind: torch.zeros(visible.shape, dtype=model.dtype, device=visible.device).masked_fill(
            ~visible, torch.finfo(model.dtype).min
        )[:, None, None]
        for kind, visible in visible_RT.items()
        if kind in kinds
    }
    return added if len(added) > 1 else next(iter(added.values()))


def choose(logits_RV: Any, uniform_R: Any, draw: Draw) -> Any:
    """The token that a uniform number points at in the cumulated probabilities; the likeliest at temperature 0."""
    if draw.temperature == 0:
        return logits_RV.argmax(dim=-1)
    probs_RV = torch.softmax(logits_RV.float() / draw.temperature, dim=-1).double()
    if draw.top_p < 1:
        sorted_RV, order_RV = probs_RV.sort(dim=-1, descending=True, stable=True)
        outside_RV = sorted_RV.cumsum(dim=-1) - sorted_RV >= draw.top_p
        probs_RV = torch.zeros_like(probs_RV).scatter(-1, order_RV, sorted_RV.masked_fill(outside_RV, 0.0))
    cdf_RV = probs_RV.cumsum(dim=-1)
    point_R1 = uniform_R[:, None] * cdf_RV[:, -1:]
    return torch.searchsorted(cdf_RV, point_R1, right=True).squeeze(-1).clamp(max=logits_RV.shape[-1] - 1)


def whole(n: int, unit: int) -> int:
    """The smallest multiple of `unit` that is not below n."""
    return -(-n // unit) * unit
