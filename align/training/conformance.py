"""A model and these versions of torch, transformers, TRL and PEFT, put through what preference training takes for
granted. Each row compares two ways to one number and can fail; nothing here trains a model for use.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from align.configs import LoRA
from align.errors import AlignError
from align.models.chat import Chat
from align.models.load import end_ids, load_model, load_tokenizer
from align.models.peft import lora_config
from align.preference.objectives import dpo_loss
from align.training.roads import QUESTIONS, Answer, Read, Roads, Taken, alone, conversations, own_roads, pairs

Nats = Sequence[Sequence[float]]
"""Of each token of each answer."""
FLOAT32 = 2e-4
"""What float32 leaves of a sum over some tokens, relative (or in nats, where that is larger)."""


@dataclass(frozen=True)
class Finding:
    """One row of the table."""

    state: Literal["ok", "fail", "skip"]
    what: str
    found: str


def conform(folder: Path, roads: Roads | None = None) -> Iterator[Finding]:
    """Every row for the model in a folder, in float32 on the CPU; one that raises is a row that failed."""
    roads = roads or own_roads()
    model = load_model(folder, dtype="float32", attention="sdpa").eval()
    tokenizer = load_tokenizer(folder)
    chat = Chat(tokenizer, end_ids(model, tokenizer))
    answers = []
    for row in conversations():
        prompt, answer = roads.encode(chat, row)
        answers.append((tuple(prompt), tuple(answer)))
    plain = alone(model, answers)
    rows: list[tuple[str, Callable[[], Finding]]] = [
        ("begin and end of text", lambda: ends(chat, answers)),
        ("first answer token", lambda: first_token(model, roads.padded, answers)),
        ("padding", lambda: same("padding", roads.padded(model, answers), plain)),
        ("order of a batch", lambda: order(model, roads.padded, answers)),
        ("split of a batch", lambda: split(model, roads.padded, answers)),
        ("packing", lambda: trees("packing", roads.packed, model, answers, plain)),
        ("shared prompts", lambda: trees("shared prompts", roads.shared, model, answers, plain)),
        ("adapter and merged", lambda: merged(model, answers, plain)),
        ("adapter off", lambda: off(model, answers, plain)),
    ]
    for what, look in rows:
        try:
            yield look()
        except AlignError as error:
            yield Finding("fail", what, str(error))
    try:
        with pairs() as file:
            whole, parts = (roads.step(folder, file, micro) for micro in (len(QUESTIONS), 1))
        yield accumulation(whole, parts)
        yield formula(whole)
    except AlignError as error:
        yield Finding("fail", "a step of the trainer", str(error))


def ends(chat: Chat, answers: Sequence[Any]) -> Finding:
    """No begin-of-text twice over; each answer closed by a token that generation stops at."""
    what = "begin and end of text"
    begin = chat.tokenizer.bos_token_id
    for prompt, answer in answers:
        if begin is not None and list(prompt[:2]) == [begin, begin]:
            return Finding("fail", what, "a conversation begins with two begin-of-text tokens: template and tokenizer")
        if not set(answer[-1:]) & chat.ends:
            return Finding("fail", what, f"an answer's last token is {answer[-1]}, expected one of {sorted(chat.ends)}")
    return Finding("ok", what, f"each of {len(answers)} answers learns to stop, by token {answers[0][1][-1]}")


def first_token(model: Any, read: Read, answers: Sequence[Answer]) -> Finding:
    """The first token of an answer counts, predicted from the prompt's last."""
    worst = 0.0
    for (prompt, answer), found in zip(answers, read(model, answers), strict=True):
        if len(found) != len(answer):
            return Finding("fail", "first answer token", f"{len(found)} tokens scored of an answer of {len(answer)}")
        worst = max(worst, abs(found[0] - alone(model, [(prompt, answer[:1])])[0][0]))
    return verdict("first answer token", worst, "nats at the first token, against the same pass cut there")


def same(what: str, found: Nats, plain: Nats) -> Finding:
    """Two roads to each token's log-probability."""
    return verdict(what, furthest(found, plain), "nats a token at most, against one sequence at a time")


def trees(what: str, road: Read, model: Any, answers: Sequence[Answer], plain: Nats) -> Finding:
    """A packed road, where the family goes it."""
    from align.models.trees import why_unsupported

    fault = why_unsupported(model)
    if fault is not None:
        return Finding("skip", what, f"this family goes TRL's padded way: {fault}")
    return same(what, road(model, answers), plain)


def order(model: Any, read: Read, answers: Sequence[Answer]) -> Finding:
    """A batch and the same batch from its end."""
    worst = furthest(read(model, answers), read(model, answers[::-1])[::-1])
    return verdict("order of a batch", worst, "nats a token at most, between two orders")


def split(model: Any, read: Read, answers: Sequence[Answer]) -> Finding:
    """A batch and its two halves."""
    half = len(answers) // 2
    worst = furthest(read(model, answers), read(model, answers[:half]) + read(model, answers[half:]))
    return verdict("split of a batch", worst, "nats a token at most, between a batch and its halves")


def with_adapter(model: Any) -> Any:
    """A copy of the model under an adapter whose every matrix is drawn at random, as no fresh one's is."""
    from peft import get_peft_model

    torch.manual_seed(0)
    adapted = get_peft_model(copy.deepcopy(model), lora_config(LoRA(rank=4, alpha=8), model, "CAUSAL_LM")).eval()
    for name, p in adapted.named_parameters():
        if "lora_" in name:
            p.data.normal_(std=0.02)
    return adapted


def merged(model: Any, answers: Sequence[Answer], plain: Nats) -> Finding:
    """The adapter as layers, and folded into the weights."""
    what, adapted = "adapter and merged", with_adapter(model)
    through = alone(adapted, answers)
    if furthest(through, plain) < 10 * FLOAT32:
        return Finding("fail", what, "an adapter of random weights changes nothing: it is not applied")
    worst = furthest(through, alone(adapted.merge_and_unload(), answers))
    return verdict(what, worst, "nats a token at most, between adapter and merged weights")


def off(model: Any, answers: Sequence[Answer], plain: Nats) -> Finding:
    """The model beneath the adapter is the model it was put on: the reference of a LoRA run."""
    adapted = with_adapter(model)
    with adapted.disable_adapter():
        worst = furthest(alone(adapted, answers), plain)
    return verdict("adapter off", worst, "nats a token at most, between adapter off and the base")


def accumulation(whole: Taken, parts: Taken) -> Finding:
    """The gradient of one optimizer step, taken at once and in single pairs."""
    names = whole.gradients.keys() | parts.gradients.keys()
    apart = norm = 0.0
    for name in names:
        if name not in whole.gradients or name not in parts.gradients:
            return Finding("fail", "accumulated gradients", f"{name} has a gradient in one of the two only")
        apart += float((whole.gradients[name] - parts.gradients[name]).double().norm() ** 2)
        norm += float(whole.gradients[name].double().norm() ** 2)
    if not norm > 0:
        return Finding("fail", "accumulated gradients", "the gradient of a step is 0")
    n = len(QUESTIONS)
    return verdict("accumulated gradients", math.sqrt(apart / norm), f"of the gradient, between one batch and {n}")


def formula(taken: Taken) -> Finding:
    """The trainer's loss, of a policy that is not its reference, against DPO's formula in float64."""
    expected = sum(map(dpo_loss, taken.margins)) / len(taken.margins)
    if max(map(abs, taken.margins)) < 0.01:
        return Finding("fail", "loss by the formula", "policy and reference did not differ, so nothing was compared")
    return verdict("loss by the formula", abs(taken.loss - expected) / expected, f"of the loss {expected:.4f}")


def verdict(what: str, worst: float, of: str) -> Finding:
    """`ok` within float32's own error, which is said either way."""
    good = math.isfinite(worst) and worst <= FLOAT32
    return Finding(
        "ok" if good else "fail", what, f"{worst:.1e} {of}{'' if good else f', expected at most {FLOAT32:g}'}"
    )


def furthest(one: Nats, other: Nats) -> float:
    """The largest difference of two tokens' numbers; infinite where their counts differ."""
    if [len(row) for row in one] != [len(row) for row in other]:
        return math.inf
    apart = [abs(a - b) for row, row2 in zip(one, other, strict=True) for a, b in zip(row, row2, strict=True)]
    return math.inf if any(map(math.isnan, apart)) else max(apart)
