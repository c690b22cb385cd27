"""A small workshop for tests: the real ports with nothing heavy behind them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from random import Random
from typing import Any

from align.configs import Drawing, LabelConfig, RuntimeConfig, SamplingConfig, Writer
from align.ports import (
    Artifact,
    Desk,
    Harness,
    Progress,
    Renderer,
    Rewarder,
    Sample,
    Sampler,
    SampleRequest,
    Scorer,
    Trainer,
    Unanswered,
)


class Silent:
    """Progress that tells nobody, and counts."""

    def __init__(self) -> None:
        self.done = 0

    def advance(self, n: int = 1, note: str = "") -> None:
        self.done += n


class Urn:
    """A sampler that draws each answer from a list, by the sample's seed alone."""

    consecutive = False
    made_with: Mapping[str, Any] = {"engine": "urn"}

    def __init__(
        self,
        answers: Sequence[str],
        *,
        stop_after: int | None = None,
        refuses: Mapping[str, Unanswered] | None = None,
        at_most: int | None = None,
    ) -> None:
        self.answers = answers
        self.stop_after, self.at_most = stop_after, at_most
        self.refuses = refuses or {}
        self.asked: list[str] = []
        self.temperatures: list[float] = []
        self.n_drawn = 0
        self.closed = False

    def sample(
        self, requests: Iterable[SampleRequest], settings: SamplingConfig, writer: Writer | None = None
    ) -> Iterator[tuple[str, list[Sample] | Unanswered]]:
        self.temperatures.append(settings.temperature)
        for request in reversed(list(requests)):
            if self.stop_after is not None and len(self.asked) >= self.stop_after:
                raise KeyboardInterrupt
            self.asked.append(request.prompt_id)
            if request.prompt_id in self.refuses:
                yield request.prompt_id, self.refuses[request.prompt_id]
                continue
            drawn = [Random(seed).choice(self.answers) for seed in request.seeds[: self.at_most]]
            self.n_drawn += len(drawn)
            yield request.prompt_id, [Sample(text, len(text.split()), "stop") for text in drawn]

    def figures(self) -> Mapping[str, Any]:
        return self.made_with

    def close(self) -> None:
        self.closed = True


class TestTools:
    """`align.ports.Tools` over a folder; what a test does not give cannot be asked for."""

    __test__ = False

    def __init__(
        self,
        work: Path,
        *,
        seed: int = 0,
        sampler: Sampler | None = None,
        scorer: Scorer | None = None,
        renderer: Renderer | None = None,
        rewarder: Rewarder | None = None,
        trainer: Trainer | None = None,
        harness: Harness | None = None,
        hub: Mapping[str, Sequence[dict[str, Any]]] | None = None,
        desk: Callable[[LabelConfig], Desk] | None = None,
    ) -> None:
        self.seed = seed
        self.runtime = RuntimeConfig(device="cpu", dtype="float32", threads=1)
        self.work = work
        self.work.mkdir(parents=True, exist_ok=True)
        self.notes: list[str] = []
        self.figures: dict[str, Any] = {}
        self._sampler, self._scorer, self._renderer, self._trainer = sampler, scorer, renderer, trainer
        self._rewarder, self._harness = rewarder, harness
        self._hub = hub or {}
        self._desk = desk

    @property
    def trainer(self) -> Trainer:
        assert self._trainer is not None
        return self._trainer

    def progress(self, what: str, total: int | None = None) -> AbstractContextManager[Progress]:
        return nullcontext(Silent())

    def note(self, text: str) -> None:
        self.notes.append(text)

    def figure(self, name: str, value: Any) -> None:
        self.figures[name] = value

    def shelf(self, name: str) -> Path:
        return self.work / name[:32]

    def sampler(self, model: Path, config: Drawing | None = None) -> Sampler:
        assert self._sampler is not None
        return self._sampler

    def scorer(self, model: Path) -> Scorer:
        assert self._scorer is not None
        return self._scorer

    def rewarder(self, model: Path | str) -> Rewarder:
        assert self._rewarder is not None
        return self._rewarder

    def harness(self) -> Harness:
        assert self._harness is not None
        return self._harness

    def renderer(self, model: Path) -> Renderer:
        assert self._renderer is not None
        return self._renderer

    def desk(self, config: LabelConfig) -> Desk:
        assert self._desk is not None
        return self._desk(config)

    def rows(self, hub: str, revision: str, subset: str | None, split: str) -> Iterable[dict[str, Any]]:
        return self._hub[f"{hub}@{revision}/{split}"]


def artifact(path: Path, digest: str = "0" * 64) -> Artifact:
    """A folder as a stage is given it."""
    return Artifact(path=path, key=digest, digest=digest)
