"""What each of several training processes runs: the stage's own code, over its share of every step.

$ torchrun --nproc-per-node 2 -m align.training.one_of_many job.json        # started by `launch`, never by hand
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from align import configs
from align.configs import RuntimeConfig
from align.errors import TrainingError
from align.ports import Kept, Progress
from align.training import launch, ranks


class Part:
    """A `Workshop` in one of several processes; the first speaks for all."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.seed: int = job["seed"]
        self.runtime = RuntimeConfig.model_validate(job["runtime"])
        self.work = Path(job["work"])

    @contextmanager
    def progress(self, what: str, total: int | None = None) -> Iterator[Progress]:
        yield Told(what, total)

    def note(self, text: str) -> None:
        if ranks.writes():
            launch.tell(note=text)


class Told:
    """Progress that the launching process shows."""

    def __init__(self, what: str, total: int | None) -> None:
        self.what, self.total = what, total
        if ranks.writes():
            launch.tell(what=what, total=total)

    def advance(self, n: int = 1, note: str = "") -> None:
        if ranks.writes():
            launch.tell(what=self.what, total=self.total, advance=n, note_beside=note)


def run(job: dict[str, Any]) -> None:
    """Train; TrainingError where there are not as many processes as were asked for."""
    part = Part(job)
    if ranks.world() != part.runtime.processes:
        raise TrainingError(
            f"runtime.processes: {part.runtime.processes} were asked for and {ranks.world()} are there; "
            "nothing is trained"
        )
    paths = {name: None if path is None else Path(path) for name, path in job["paths"].items()}
    kept = Kept(**{name: None if path is None else Path(path) for name, path in job["kept"].items()})
    config = getattr(configs, job["config_class"]).model_validate(job["config"])
    method = getattr(import_module(f"align.training.{job['method']}"), job["method"])
    method(config, paths["model"], paths["data"], paths["held_out"], paths["out"], part, kept)


def know_numbered_cpus() -> None:
    """Let torch read a checkpoint's optimizer to `cpu:1`, as transformers asks of a CPU process; torch knows `cpu`."""
    import torch

    torch.serialization.register_package(
        5, lambda storage: None, lambda storage, place: storage if place.startswith("cpu:") else None
    )


if __name__ == "__main__":
    launch.die_with_parent()
    know_numbered_cpus()
    raise SystemExit(launch.told(lambda: run(json.loads(Path(sys.argv[1]).read_text("utf-8")))))
