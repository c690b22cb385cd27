"""A stage's own place while it runs, and the sealed results that it reads."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from align.configs import RuntimeConfig


@dataclass(frozen=True)
class Artifact:
    """A sealed result that a stage reads."""

    path: Path
    key: str
    digest: str
    manifest: Mapping[str, Any] = field(default_factory=dict)


Inputs = Mapping[str, Artifact]


class Progress(Protocol):
    """Tells how far long work is."""

    def advance(self, n: int = 1, note: str = "") -> None: ...


class Workshop(Protocol):
    """A stage's own place while it runs: how it reports, and what of its work outlives a kill."""

    seed: int
    runtime: RuntimeConfig
    """With every `auto` resolved."""
    work: Path
    """A folder that survives a kill and is not part of the artifact: journals, checkpoints."""

    def progress(self, what: str, total: int | None = None) -> AbstractContextManager[Progress]: ...

    def note(self, text: str) -> None:
        """Put a line in the manifest: what is not deterministic, what was taken and why."""
        ...
