"""The conformance table: a sound model passes it, and each row fails when what it looks at is broken."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from align.cli import main
from align.models.chat import Chat
from align.records import Message
from align.training import conformance
from align.training.conformance import Finding, conform
from align.training.roads import Answer, Roads, Taken, own_roads, padded, shared, step
from tests.training.tiny import World

TAKEN: dict[tuple[Path, int], Taken] = {}


def once(folder: Path, data: Path, micro: int) -> Taken:
    """The trainer's own step, taken once for all the tests of this file: the pairs are the same."""
    if (folder, micro) not in TAKEN:
        TAKEN[folder, micro] = step(folder, data, micro)
    return TAKEN[folder, micro]


OWN = replace(own_roads(), step=once)


def states(world: World, roads: Roads = OWN) -> dict[str, Finding]:
    return {row.what: row for row in conform(world.model, roads)}


@pytest.fixture(scope="module")
def sound(world: World) -> dict[str, Finding]:
    return states(world)


def test_a_sound_model_passes_every_row(sound: dict[str, Finding]) -> None:
    assert {row.state for row in sound.values()} == {"ok"}, sound
    assert len(sound) == 11


def late(model: Any, answers: Sequence[Answer]) -> list[list[float]]:
    """Forgets the first token of each answer."""
    return [row[1:] for row in padded(model, answers)]


def leaking(model: Any, answers: Sequence[Answer]) -> list[list[float]]:
    """What a missing mask does: rows depend on how long the longest is."""
    longest = max(len(p) + len(a) for p, a in answers)
    return [
        [x + 1e-3 * (longest - len(p) - len(a)) for x in row]
        for row, (p, a) in zip(padded(model, answers), answers, strict=True)
    ]


def placed(model: Any, answers: Sequence[Answer]) -> list[list[float]]:
    """Depends on the place in the batch."""
    return [[x + 1e-3 * i for x in row] for i, row in enumerate(padded(model, answers))]


def seeing_its_sibling(model: Any, answers: Sequence[Answer]) -> list[list[float]]:
    """The second answer of a pair reads the first."""
    found = shared(model, answers)
    seen = padded(model, [((*p, *a), b) for (p, a), (_, b) in zip(answers[::2], answers[1::2], strict=True)])
    return [row if i % 2 == 0 else seen[i // 2] for i, row in enumerate(found)]


def endless(chat: Chat, messages: Sequence[Message]) -> tuple[list[int], list[int]]:
    prompt, answer = chat.encode(messages).split()
    return prompt, answer[:-1]


def doubled(chat: Chat, messages: Sequence[Message]) -> tuple[list[int], list[int]]:
    prompt, answer = chat.encode(messages).split()
    return [chat.tokenizer.bos_token_id] * 2 + prompt, answer


def unscaled(folder: Path, data: Path, micro: int) -> Taken:
    """Gradients added up over micro-batches and not divided by their number."""
    taken = once(folder, data, micro)
    return replace(taken, gradients={name: g * (4 / micro) for name, g in taken.gradients.items()})


def wrong_beta(folder: Path, data: Path, micro: int) -> Taken:
    taken = once(folder, data, micro)
    return replace(taken, margins=[2 * z for z in taken.margins])


@pytest.mark.parametrize(("broken", "row"), [
    (replace(OWN, padded=late), "first answer token"),
    (replace(OWN, padded=late), "padding"),
    (replace(OWN, padded=leaking), "padding"),
    (replace(OWN, padded=leaking), "split of a batch"),
    (replace(OWN, padded=placed), "order of a batch"),
    (replace(OWN, packed=seeing_its_sibling), "packing"),
    (replace(OWN, shared=seeing_its_sibling), "shared prompts"),
    (replace(OWN, encode=endless), "begin and end of text"),
    (replace(OWN, encode=doubled), "begin and end of text"),
    (replace(OWN, step=unscaled), "accumulated gradients"),
    (replace(OWN, step=wrong_beta), "loss by the formula"),
], ids=lambda x: x if isinstance(x, str) else "")  # fmt: skip
def test_each_row_can_fail(broken: Roads, row: str, world: World) -> None:
    assert states(world, broken)[row].state == "fail"


@pytest.mark.parametrize(("spoil", "row"), [
    (lambda peft: [p.data.zero_() for n, p in peft.named_parameters() if "lora_B" in n], "adapter and merged"),
    (lambda peft: peft.get_base_model().lm_head.weight.data.mul_(1.01), "adapter off"),
], ids=["not applied", "base moved"])  # fmt: skip
def test_an_adapter_that_does_nothing_or_too_much_fails(
    spoil: Callable[[Any], object], row: str, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = conformance.with_adapter

    def spoilt(model: Any) -> Any:
        adapted = made(model)
        with torch.no_grad():
            spoil(adapted)
        return adapted

    monkeypatch.setattr(conformance, "with_adapter", spoilt)
    assert states(world)[row].state == "fail"


def test_the_table_is_a_command(world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--conformance", str(world.base)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 11
    assert all(line.startswith("ok ") for line in said)
    assert main(["check", "--conformance", str(tmp_path / "none")]) == 2
    assert "no such folder" in capsys.readouterr().err
