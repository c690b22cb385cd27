"""Everybody whom a stage may ask."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol

from align.configs import Drawing, JudgeConfig, LabelConfig
from align.ports.judging import Desk, Grader, Harness
from align.ports.models import Renderer, Rewarder, Sampler, Scorer
from align.ports.training import Trainer
from align.ports.workshop import Workshop


class Tools(Workshop, Protocol):
    """The workshop, and who may be asked."""

    def figure(self, name: str, value: Any) -> None:
        """Put a figure in the manifest: a speed, a share, a count; it enters no digest."""
        ...

    def shelf(self, name: str) -> Path:
        """A folder that outlives the artifact: what another run with the same `name` need not make again."""
        ...

    @property
    def trainer(self) -> Trainer: ...

    def sampler(self, model: Path, config: Drawing | None = None) -> Sampler:
        """An engine for a model folder: the one that `config` asks for, or transformers."""
        ...

    def scorer(self, model: Path) -> Scorer: ...

    def rewarder(self, model: Path | str) -> Rewarder:
        """Scores by the reward model in a folder, or by one that is served at a URL."""
        ...

    def renderer(self, model: Path) -> Renderer: ...

    def harness(self) -> Harness: ...

    def grader(self, config: JudgeConfig) -> Grader: ...

    def desk(self, config: LabelConfig) -> Desk:
        """A desk that stands behind a server: people's, or a judge's."""
        ...

    def rows(self, hub: str, revision: str, subset: str | None, split: str) -> Iterable[dict[str, Any]]:
        """The rows of a hub data set at one revision."""
        ...

    def push(self, folder: Path, repo: str, *, private: bool, token: str) -> str:
        """Push a folder to a hub repository; the address of what was pushed."""
        ...
