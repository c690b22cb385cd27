"""The ways by which a log-probability or a gradient can be had, for comparing them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from align.configs import DPOConfig, RuntimeConfig
from align.models.chat import Chat
from align.models.load import end_ids, load_model, load_tokenizer
from align.ports import Progress
from align.preference.objectives import reward_margin
from align.records import Message, Preference
from align.store import jsonl

Answer = tuple[tuple[int, ...], tuple[int, ...]]
"""Token ids of a prompt and of an answer to it."""
Read = Callable[[Any, Sequence[Answer]], list[list[float]]]
"""Nats of each token of each answer under a model, by some road."""


@dataclass(frozen=True)
class Taken:
    """One step of the `dpo` stage's trainer, up to the optimizer."""

    gradients: dict[str, torch.Tensor]
    loss: float
    margins: list[float]
    """Each pair's reward margin, in nats, worked out one sequence at a time."""


@dataclass(frozen=True)
class Roads:
    """The ways that are compared; a test breaks one and sees its row fail."""

    padded: Read
    packed: Read
    shared: Read
    step: Callable[[Path, Path, int], Taken]
    """Of the model in a folder, on a file of pairs, in micro-batches of so many."""
    encode: Callable[[Chat, Sequence[Message]], tuple[list[int], list[int]]]


def own_roads() -> Roads:
    """The library's own."""
    return Roads(padded, packed, shared, step, lambda chat, messages: chat.encode(messages).split())


def conversations() -> list[tuple[Message, ...]]:
    """Pairs of answers to some prompts, one of several turns, of uneven length."""
    rows = []
    for question, better, worse in QUESTIONS:
        before = tuple(Message(role="user", content=q) for q in question[:1]) + (
            (Message(role="assistant", content=question[1]), Message(role="user", content=question[2]))
            if len(question) == 3
            else ()
        )
        rows += [(*before, Message(role="assistant", content=text)) for text in (better, worse)]
    return rows


QUESTIONS: Sequence[tuple[tuple[str, ...], str, str]] = (
    (("Which is the longest river?",), "The Nile, by most accounts.", "No idea."),
    (("Write a line about rain.",), "Rain on the roof, and nobody awake to hear it.", "Rain is wet water from clouds."),
    (("Add 12 and 30.", "42.", "And 8 more?"), "50.", "That makes forty-nine, I am quite sure of it."),
    (("How do I boil an egg?",), "Seven minutes in boiling water, then cold water.", "Eggs!"),
)


@contextmanager
def pairs() -> Iterator[Path]:
    """The questions as a file of preferences, while it is needed."""
    rows = conversations()
    with tempfile.TemporaryDirectory(prefix="align-conformance-") as folder:
        file = Path(folder) / "pairs.jsonl"
        both = zip(rows[::2], rows[1::2], strict=True)
        jsonl.write(file, (Preference(prompt=a[:-1], chosen=a[-1:], rejected=b[-1:]) for a, b in both))
        yield file


def alone(model: Any, answers: Sequence[Answer]) -> list[list[float]]:
    """One sequence at a time through the model's own forward: what the other roads are held to."""
    found = []
    for prompt, answer in answers:
        ids = torch.tensor([[*prompt, *answer]])
        with torch.no_grad():
            logits_TV = model(input_ids=ids, use_cache=False).logits[0].float()
        logps_TV = torch.log_softmax(logits_TV[len(prompt) - 1 : -1], dim=-1)
        found.append(logps_TV.gather(1, torch.tensor(answer)[:, None])[:, 0].tolist())
    return found


def padded(model: Any, answers: Sequence[Answer]) -> list[list[float]]:
    """One batch, padded on the right to its longest row, as TRL lays preferences out."""
    longest = max(len(prompt) + len(answer) for prompt, answer in answers)
    ids = torch.zeros(len(answers), longest, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for i, (prompt, answer) in enumerate(answers):
        row = [*prompt, *answer]
        ids[i, : len(row)] = torch.tensor(row)
        mask[i, : len(row)] = 1
    with torch.no_grad():
        logps_BTV = torch.log_softmax(model(input_ids=ids, attention_mask=mask, use_cache=False).logits.float(), -1)
    return [
        logps_BTV[i, len(prompt) - 1 : len(prompt) + len(answer) - 1]
        .gather(1, torch.tensor(answer)[:, None])[:, 0]
        .tolist()
        for i, (prompt, answer) in enumerate(answers)
    ]


def packed(model: Any, answers: Sequence[Answer]) -> list[list[float]]:
    """One flat row without padding, each answer with a prompt of its own."""
    return _trees(model, answers, share=1 << 30)


def shared(model: Any, answers: Sequence[Answer]) -> list[list[float]]:
    """One flat row in which both answers of a pair branch from one prompt."""
    return _trees(model, answers, share=1)


def _trees(model: Any, answers: Sequence[Answer], *, share: int) -> list[list[float]]:
    from align.models.trees import Group, answer_logps

    groups = [
        Group(prompt, (answer, other)) for (prompt, answer), (_, other) in zip(answers[::2], answers[1::2], strict=True)
    ]
    return [answer.tolist() for group in answer_logps(model, groups, share=share).tokens for answer in group]


def step(folder: Path, data: Path, micro: int) -> Taken:
    """The policy is moved a little off its reference first, or every loss would be ln 2."""
    from align.training import loop
    from align.training.dpo import Preferring, arguments, table
    from align.training.guards import quiet
    from align.training.head import score_answers_only

    class Captured(Exception):
        """The gradients are there."""

    class Once(Preferring):
        """Takes no step: it stops when the last micro-batch has added its gradient."""

        losses: list[float]

        def training_step(self, *args: Any, **kwargs: Any) -> Any:
            loss = super().training_step(*args, **kwargs)
            self.losses.append(float(loss))
            if len(self.losses) * micro == len(QUESTIONS):
                raise Captured
            return loss

    workshop = Bench(data.parent / f"work-{micro}")
    score_answers_only()
    model, tokenizer = load_model(folder, dtype="float32", attention="sdpa"), load_tokenizer(folder)
    train, _ = table(data, Chat(tokenizer, end_ids(model, tokenizer)), most=1 << 20)
    config = DPOConfig(batch_size=len(QUESTIONS), micro_batch_size=micro, max_grad_norm=1e9)
    args = arguments(config, loop.Pace.of(config, len(train)), workshop, has_held_out=False)
    trainer = Once(workshop=workshop, model=model, args=args, train=train, test=None, tokenizer=tokenizer, adapter=None)
    trainer.losses = []
    quiet(trainer)
    both = [(tuple(r["prompt_ids"]), tuple(r[side])) for r in train for side in ("chosen_ids", "rejected_ids")]
    model.eval()
    before = [sum(row) for row in alone(model, both)]
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in model.parameters():
            p += p.std().nan_to_num() * 0.1 * torch.randn(p.shape, generator=generator)
    now = [sum(row) for row in alone(model, both)]
    margins = [
        reward_margin(now[i], now[i + 1], before[i], before[i + 1], beta=config.beta) for i in range(0, len(now), 2)
    ]
    with suppress(Captured):
        trainer.train()
    found = {n: p.grad.detach().clone() for n, p in model.named_parameters() if p.grad is not None}
    return Taken(found, sum(trainer.losses), margins)


class Silent:
    """Tells nobody."""

    def advance(self, n: int = 1, note: str = "") -> None: ...


class Bench:
    """A `Workshop` that is thrown away."""

    def __init__(self, work: Path) -> None:
        self.seed, self.work = 0, work
        self.runtime = RuntimeConfig(device="cpu", dtype="float32")
        work.mkdir(parents=True, exist_ok=True)

    def progress(self, what: str, total: int | None = None) -> AbstractContextManager[Progress]:
        return nullcontext(Silent())

    def note(self, text: str) -> None: ...
