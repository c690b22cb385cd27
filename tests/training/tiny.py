"""A tiny made world to train on, and workshops that can be killed."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from align.configs import RuntimeConfig, Scratch
from align.ports import Progress
from align.records import Demonstration, Message, Preference
from align.store import jsonl

LIVES = {"Ada": "Paris", "Bob": "Rome", "Cleo": "Oslo", "Dan": "Lima", "Eve": "Cairo", "Finn": "Quito"}
TINY = Scratch(vocabulary=340, layers=2, width=32, heads=2, context=128, steps=12, batch_size=4, sequence_length=32)


def turn(role: str, content: str) -> Message:
    return Message.model_validate({"role": role, "content": content})


def question(name: str) -> Message:
    return turn("user", f"Where does {name} live?")


def write_world(folder: Path) -> None:
    """text.jsonl, demonstrations.jsonl, preferences.jsonl."""
    texts = [f"{a} lives in {LIVES[a]}. {b} lives in {LIVES[b]}." for a in LIVES for b in LIVES for _ in range(4)]
    jsonl.write(folder / "text.jsonl", ({"text": text} for text in texts))
    jsonl.write(
        folder / "demonstrations.jsonl",
        (
            Demonstration(messages=(question(name), turn("assistant", f"{name} lives in {town}{end}")))
            for name, town in LIVES.items()
            for end in (".", "!", ", I think.")
        ),
    )
    jsonl.write(
        folder / "preferences.jsonl",
        (
            Preference(
                prompt=(question(name),),
                chosen=(turn("assistant", f"{name} lives in {town}, I think{end}"),),
                rejected=(turn("assistant", f"{name} lives in {town}{end}"),),
            )
            for name, town in LIVES.items()
            for end in (".", "!")
        ),
    )


@dataclass(frozen=True)
class World:
    """Files to train on and a tiny base model."""

    folder: Path
    model: Path
    base: Path

    @property
    def demonstrations(self) -> Path:
        return self.folder / "demonstrations.jsonl"

    @property
    def preferences(self) -> Path:
        return self.folder / "preferences.jsonl"


class Deadly:
    """Progress that kills its own process, by SIGKILL, once so many steps are done."""

    def __init__(self, after: int | None) -> None:
        self.after = after
        self.done = 0

    def advance(self, n: int = 1, note: str = "") -> None:
        self.done += n
        if self.after is not None and self.done >= self.after:
            os.kill(os.getpid(), signal.SIGKILL)


class Place:
    """A `Workshop` in a folder."""

    def __init__(
        self, work: Path, *, dtype: str = "float32", seed: int = 0, dies: tuple[str, int] | None = None
    ) -> None:
        self.seed = seed
        self.runtime = RuntimeConfig.model_validate({"device": "cpu", "dtype": dtype, "threads": 1})
        self.work = work
        work.mkdir(parents=True, exist_ok=True)
        self.notes: list[str] = []
        self.dies = dies

    def progress(self, what: str, total: int | None = None) -> AbstractContextManager[Progress]:
        dies_here = self.dies is not None and what.startswith(self.dies[0])
        return nullcontext(Deadly(self.dies[1] if self.dies is not None and dies_here else None))

    def note(self, text: str) -> None:
        self.notes.append(text)


def killed(job: Callable[[], None]) -> bool:
    """Run `job` in a forked process; whether it died by SIGKILL."""
    process = multiprocessing.get_context("fork").Process(target=job)
    process.start()
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL), f"the child ended with {process.exitcode}"
    return process.exitcode == -signal.SIGKILL


def digests(folder: Path) -> dict[str, str]:
    """sha256 of every file under a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
