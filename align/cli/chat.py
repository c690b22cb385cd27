"""`align chat A [B]`: talk to a model, or to two side by side."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from align import recipe as recipes
from align.cli.show import find
from align.configs import RuntimeConfig, SamplingConfig
from align.errors import UsageError
from align.ports import Sampler, SampleRequest, Unanswered
from align.records import Message
from align.runner.console import Console
from align.runner.machine import resolved
from align.runner.toolbox import Toolbox
from align.store.artifacts import Store
from align.store.fingerprint import seed_for


def chat(arguments: argparse.Namespace) -> int:
    """Ask each line that is typed; an empty line begins a new conversation, end of input stops."""
    if len(arguments.models) > 2:
        raise UsageError(f"{len(arguments.models)} models given; chat talks to one, or to two side by side")
    asked = {"temperature": arguments.temperature, "max_tokens": arguments.max_tokens}
    settings = recipes.checked(SamplingConfig, asked, {}, where="chat", folder=Path.cwd())
    folders = {name: model_folder(Store(arguments.store), name) for name in arguments.models}
    if len({folder.resolve() for folder in folders.values()}) < len(arguments.models):
        raise UsageError(f"{arguments.models[1]}: the same model as {arguments.models[0]}; name another, or one alone")
    with tempfile.TemporaryDirectory() as work:
        tools = Toolbox(
            "chat", seed=arguments.seed, runtime=resolved(RuntimeConfig()), work=Path(work), console=Console(quiet=True)
        )
        samplers = {name: tools.sampler(folder) for name, folder in folders.items()}
        talks: dict[str, list[Message]] = {name: [] for name in samplers}
        for turn, line in enumerate(arguments.prompt or _typed()):
            if not line.strip():
                talks = {name: [] for name in samplers}
                continue
            for name, sampler in samplers.items():
                talks[name].append(Message(role="user", content=line))
                said = _answer(sampler, talks[name], settings, seed_for(arguments.seed, turn))
                talks[name].append(Message(role="assistant", content=said))
                head = f"{name}: " if len(samplers) > 1 else ""
                print(f"{head}{said}", flush=True)
            if arguments.prompt:
                talks = {name: [] for name in samplers}
        tools.close()
    return 0


def _answer(sampler: Sampler, talk: list[Message], settings: SamplingConfig, seed: int) -> str:
    request = SampleRequest("chat", tuple(talk), (seed,))
    said = next(iter(sampler.sample([request], settings)))[1]
    if isinstance(said, Unanswered):
        raise UsageError(f"chat: {said.detail}; begin anew with an empty line, or say less")
    return said[0].text


def _typed() -> Iterator[str]:
    if sys.stdin.isatty():
        print("an empty line begins anew, Ctrl-D stops")
    while True:
        try:
            yield input("> " if sys.stdin.isatty() else "")
        except EOFError:
            return


def model_folder(store: Store, what: str) -> Path:
    """The model folder of an artifact, or the folder itself; UsageError where there is no model."""
    folder = Path(what)
    if (folder / "config.json").exists():
        return folder
    artifact = find(store, what) if store.root.is_dir() or folder.is_dir() else None
    if artifact is not None and (artifact.path / "model" / "config.json").exists():
        return artifact.path / "model"
    raise UsageError(
        f"{what}: no model there; give a model folder, or an artifact that holds one, as `align show` lists it"
    )
