"""transformers as an engine: answers drawn, log-probabilities read, conversations rendered."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from align.adapters.turns import Turns, room
from align.configs import RuntimeConfig, SamplingConfig, Writer
from align.errors import ModelError
from align.models.chat import Chat
from align.models.load import context, end_ids, load_model, load_tokenizer
from align.ports import Sample, SampleRequest, Score, ScoreRequest, Unanswered
from align.records import Message


class Engine:
    """A model in memory with its tokenizer, loaded when first needed."""

    def __init__(self, folder: Path, runtime: RuntimeConfig) -> None:
        self.folder = folder
        self.runtime = runtime
        self.adapter: Path | None = None
        """Folded into the weights when they are loaded."""
        self._parts: tuple[Any, Any, list[int]] | None = None

    def parts(self) -> tuple[Any, Any, list[int]]:
        """Model, tokenizer, tokens that end an answer."""
        if self._parts is None:
            from align.models.machine import ready

            ready(self.runtime)
            # on a GPU too: what a small learning rate taught is lost in weights of half precision
            model = load_model(self.folder, dtype="float32", device=self.runtime.device)
            if self.adapter is not None:
                from align.models.adapters import merge

                model = merge(model, self.adapter)
            tokenizer = load_tokenizer(self.folder)
            self._parts = model, tokenizer, end_ids(model, tokenizer)
        return self._parts

    def close(self) -> None:
        """Let the weights go."""
        self._parts = None


WINDOW = 4096
"""Prompts read ahead: they are begun in the order of their lengths."""


class TransformersSampler(Engine):
    """Draws answers; equal prompts, settings and seeds give equal answers in whatever company they are asked for."""

    consecutive = False
    made_with: Mapping[str, Any] = {"engine": "transformers"}
    _turns: Turns | None = None

    def sample(
        self, requests: Iterable[SampleRequest], settings: SamplingConfig, writer: Writer | None = None
    ) -> Iterator[tuple[str, list[Sample] | Unanswered]]:
        """Each prompt's id and its samples, as they are finished; long prompts are begun first."""
        adapter = None if writer is None or writer.adapter is None else Path(writer.adapter)
        if adapter != self.adapter:
            self.close()
            self.adapter = adapter
        queue = iter(requests)
        while window := list(islice(queue, WINDOW)):
            yield from self._window(window, settings)

    def _window(
        self, requests: Sequence[SampleRequest], settings: SamplingConfig
    ) -> Iterator[tuple[str, list[Sample] | Unanswered]]:
        from align.models.sampling import Draw, answers

        model, _, ends = self.parts()
        if self._turns is None or not self._turns.fits(settings):
            self._turns = Turns(self.folder, settings)
        turns = self._turns
        prompts, fitting = [], []
        for request, ids in turns.each(requests):
            places = room(len(ids), context(model), settings)
            if isinstance(places, Unanswered):
                yield request.prompt_id, places
            else:
                prompts.append(ids)
                fitting.append(request)
        if not fitting:
            return
        stops = turns.stops if settings.stop else None
        draw = Draw(settings.temperature, settings.top_p, settings.max_tokens, frozenset([*ends, *turns.ends]), stops)
        seeds = [request.seeds for request in fitting]
        logps: dict[tuple[int, int], float] | None = {} if settings.logprobs else None
        for i, written in answers(
            model, prompts, seeds, draw, rows_at_once=settings.batch_size, context=context(model), logps=logps
        ):
            yield (
                fitting[i].prompt_id,
                [
                    turns.sample(prompts[i], ids, None, None if logps is None else logps.pop((i, place)))
                    for place, ids in enumerate(written)
                ],
            )

    def figures(self) -> Mapping[str, Any]:
        """The engine's name."""
        return self.made_with


def within(model: Any, n_tokens: int, what: str) -> None:
    """ModelError where a text is longer than the model has places for."""
    most = context(model)
    if n_tokens > most:
        raise ModelError(f"{what} take {n_tokens} tokens, and this model's context is {most}; shorten them")


class TransformersScorer(Engine):
    """Reads log-probabilities."""

    batch_logits = 2**28
    """Logits at once, padding included: a gigabyte of them."""

    def score(self, requests: Sequence[ScoreRequest]) -> Iterator[Score]:
        """In the order asked.

        What requests asked together have in common at their beginning is run once (`models.packing`), and the head
        only where a token is asked for; a family whose attention cannot be run as trees is scored row by row.
        """
        from align.models.logp import token_logps, tree_logps
        from align.models.trees import supported

        model, tokenizer, ends = self.parts()
        rows = [continuation(request, tokenizer, ends) for request in requests]
        if rows and supported(model):
            within(model, max(len(ids) for ids, _ in rows), "the longest text to score")
            for logp, (ids, first) in zip(tree_logps(model, rows), rows, strict=True):
                yield Score(logp=logp, n_tokens=len(ids) - first)
            return
        order = sorted(range(len(rows)), key=lambda i: (len(rows[i][0]), i))
        scores: list[Score | None] = [None] * len(rows)
        if rows:
            within(model, max(len(ids) for ids, _ in rows), "the longest text to score")
        batch_tokens = self.batch_logits // int(model.get_output_embeddings().weight.shape[0])
        batch: list[int] = []
        for i in [*order, None]:
            full = i is None or (len(batch) + 1) * len(rows[i][0]) > batch_tokens
            if batch and full:
                for place, logp in zip(batch, token_logps(model, [rows[j] for j in batch]), strict=True):
                    ids, first = rows[place]
                    scores[place] = Score(logp=logp, n_tokens=len(ids) - first)
                batch = []
            if i is not None:
                batch.append(i)
        for score in scores:
            assert score is not None
            yield score


def continuation(request: ScoreRequest, tokenizer: Any, ends: list[int]) -> tuple[list[int], int]:
    """Token ids of context and continuation, and the place of the continuation's first token."""
    if not isinstance(request.context, str):
        answer = Message(role="assistant", content=request.continuation)
        prompt, said = Chat(tokenizer, ends).encode((*request.context, answer)).split()
        while not request.closed and said and said[-1] in ends:
            said = said[:-1]
        return prompt + said, len(prompt)
    cut = tokenizer(
        request.context + request.continuation,
        add_special_tokens=False,
        return_offsets_mapping=True,
        split_special_tokens=True,
    )
    ids, places = cut["input_ids"], cut["offset_mapping"]
    first = next((i for i, (_, last) in enumerate(places) if last > len(request.context)), len(ids))
    if first == 0 and ids:
        # nothing comes before: the text is scored from its first token on, after the token that opens a text
        opening = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
        return [opening, *ids], 1
    return ids, first


class TransformersRenderer:
    """Renders conversations; needs the tokenizer alone."""

    def __init__(self, folder: Path, runtime: RuntimeConfig) -> None:
        self.folder = folder
        self._chat: Chat | None = None

    def chat(self) -> Chat:
        """The folder's chat template, read once."""
        if self._chat is None:
            tokenizer = load_tokenizer(self.folder)
            self._chat = Chat(tokenizer, [tokenizer.eos_token_id])
        return self._chat

    def render(self, messages: Sequence[Message], *, add_generation_prompt: bool = False) -> str:
        """The text a model reads."""
        return self.chat().render(messages, add_generation_prompt=add_generation_prompt)

    def n_tokens(self, text: str) -> int:
        """How many tokens a plain text has."""
        return len(self.chat().tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])


def inspect(folder: Path) -> str:
    """What a model folder holds, read from its headers alone; ModelError where it would be refused."""
    from align.models.folder import inspect_folder

    return str(inspect_folder(folder))
