"""Whether an engine is what the recipe says it is, found out before it writes thousands of answers.

The same fixed conversations are put to the engine and to our own tokenizer and transformers: token ids must be equal,
log-probabilities of fixed answers must agree, and an adapter must change them.
"""

from __future__ import annotations

import hashlib
import multiprocessing
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, Protocol

from align.adapters.turns import Turns
from align.configs import Drawing, RuntimeConfig
from align.errors import BackendError
from align.records import Message

PROBES: tuple[tuple[Message, ...], ...] = (
    (Message(role="user", content="What is the capital of France?"),),
    (Message(role="user", content="Zeile eins\n\n  naïve café — 数字 12,345 🙂"),),
    (
        Message(role="user", content="Where does Ada live?"),
        Message(role="assistant", content="In Rome."),
        Message(role="user", content="And Bob?"),
    ),
)
ANSWER = "I am not sure, but I would say Paris."
TOLERANCE = {"float32": 0.02, "bfloat16": 0.25, "float16": 0.1}
"""Largest accepted difference of a log-probability, nats a token, by the engine's number format: another order of sums
gives 1e-5 in float32; another template, model or adapter gives tenths."""
CHANGED = 1e-4
"""An adapter that moves no token's log-probability by so much is not applied."""
LIGHT_BYTES = 2 * 2**30


class Examined(Protocol):
    """What an engine must be able to show. None where it cannot."""

    def rendered(self, messages: Sequence[Message], kwargs: Mapping[str, Any]) -> list[int] | None:
        """The token ids that the engine makes of a conversation."""
        ...

    def logps(self, ids: Sequence[int], writer: str | None) -> list[float | None] | None:
        """The log-probability of each token given those before it."""
        ...


def preflight(
    engine: Examined,
    turns: Turns,
    folder: Path,
    config: Drawing,
    runtime: RuntimeConfig,
    adapters: Mapping[str, Path | None],
) -> str:
    """What was compared and how it agreed; BackendError names what does not.

    `adapters` gives each adapter that the engine serves beside the model, with its folder where that is known.
    """
    if config.preflight == "off":
        return "off"
    said = [_token_ids(engine, turns)]
    weights = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    full = config.preflight == "full" or (config.preflight == "auto" and weights <= LIGHT_BYTES)
    prompts = [turns.chat.prompt(probe) for probe in PROBES]
    answer = turns.tokenizer(ANSWER, add_special_tokens=False)["input_ids"]
    rows = [[*prompt, *answer] for prompt in prompts]
    firsts = [len(prompt) for prompt in prompts]
    base = _answer_logps(engine, rows, firsts, None)
    if base is None:
        return "; ".join([*said, "log-probabilities: the engine shows none"])
    told = {name: _answer_logps(engine, rows, firsts, name) for name in adapters}
    for name, logps in told.items():
        assert logps is not None
        if max(abs(a - b) for x, y in zip(logps, base, strict=True) for a, b in zip(x, y, strict=True)) < CHANGED:
            raise BackendError(
                f"the adapter `{name}` gives exactly the log-probabilities of its base: the engine serves the base in "
                "its place, or the adapter was never trained; check its folder and the name it is served under"
            )
    if told:
        said.append(f"{len(told)} adapters change the log-probabilities")
    if not full:
        return "; ".join(said)
    known = {name: path for name, path in adapters.items() if path is not None}
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as apart:
        # in a process of its own: the weights must not stay in this one
        expected = apart.submit(reference, folder, runtime, rows, firsts, known).result()
    dtype = runtime.dtype if runtime.device == "cuda" else "float32"
    for served, ours in expected.items():
        theirs = base if served is None else told[served]
        assert theirs is not None
        off = max(abs(sum(x) - y) / len(x) for x, y in zip(theirs, ours, strict=True))
        if not off <= TOLERANCE[dtype]:
            what = f"the adapter `{served}`" if served else "the model"
            raise BackendError(
                f"{what} that the engine serves is not the one in {folder.name}: the log-probability of a fixed answer "
                f"is off by {off:.3g} nats a token (at most {TOLERANCE[dtype]:g} expected); serve the folder that the "
                "recipe names, in the same number format"
            )
        said.append(f"{served or 'model'}: within {off:.1e} nats a token of transformers")
    return "; ".join(said)


def _token_ids(engine: Examined, turns: Turns) -> str:
    for probe in PROBES:
        theirs = engine.rendered(probe, turns.chat.template_kwargs)
        if theirs is None:
            return "token ids: the engine shows none"
        ours = turns.chat.prompt(probe)
        if ours != theirs:
            at = next(
                (i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), min(len(ours), len(theirs))
            )
            template = hashlib.sha256(str(turns.tokenizer.chat_template).encode()).hexdigest()[:12]
            raise BackendError(
                "the engine makes other token ids of a conversation than the model's own tokenizer and chat template "
                f"(sha256 {template}): from token {at} on, {theirs[at : at + 3]} where {ours[at : at + 3]} is "
                "expected; serve the folder that the recipe names, with its template"
            )
    return f"token ids of {len(PROBES)} conversations equal"


def _answer_logps(
    engine: Examined, rows: Sequence[list[int]], firsts: Sequence[int], writer: str | None
) -> list[list[float]] | None:
    found = []
    for row, first in zip(rows, firsts, strict=True):
        logps = engine.logps(row, writer)
        if logps is None:
            return None
        found.append([float(one) for one in logps[first:] if one is not None])
    return found


def reference(
    folder: Path, runtime: RuntimeConfig, rows: list[list[int]], firsts: list[int], adapters: Mapping[str, Path]
) -> dict[str | None, list[float]]:
    """The same log-probabilities by transformers and PEFT, summed over each answer; runs in a process of its own."""
    from align.models.load import load_model
    from align.models.logp import token_logps
    from align.models.machine import ready

    ready(runtime)
    dtype = runtime.dtype if runtime.device == "cuda" else "float32"
    pairs = list(zip(rows, firsts, strict=True))
    model = load_model(folder, dtype=dtype, device=runtime.device)
    found: dict[str | None, list[float]] = {None: token_logps(model, pairs)}
    for name, adapter in adapters.items():
        from peft import PeftModel

        adapted = PeftModel.from_pretrained(load_model(folder, dtype=dtype, device=runtime.device), str(adapter)).eval()
        found[name] = token_logps(adapted, pairs)
    return found
