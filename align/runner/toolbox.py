"""Who stands behind the ports: the one place where stages meet torch, transformers and the hub."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from align.configs import Drawing, JudgeConfig, LabelConfig, RuntimeConfig
from align.errors import BackendError, RecipeError
from align.ports import Desk, Grader, Harness, Progress, Renderer, Rewarder, Sampler, Scorer, Trainer
from align.runner.console import Console
from align.runner.machine import chosen


class Toolbox:
    """`align.ports.Tools` for one step."""

    def __init__(
        self, step: str, *, seed: int, runtime: RuntimeConfig, work: Path, console: Console, kept: Path | None = None,
        shelves: Path | None = None,
    ) -> None:  # fmt: skip
        self.step, self.seed, self.runtime, self.work = step, seed, runtime, work
        self.kept = kept or work
        """Where what outlives even the artifact is written down: a desk's snapshots."""
        self.shelves = shelves or work / "shelves"
        """Where answers are kept that another run need not draw again."""
        self.notes: list[str] = []
        self.figures: dict[str, Any] = {}
        self._console = console
        self._open: list[Sampler | Scorer | Rewarder] = []

    def progress(self, what: str, total: int | None = None) -> AbstractContextManager[Progress]:
        """A bar, or a line now and then."""
        return self._console.progress(self.step, what, total)

    def note(self, text: str) -> None:
        """Put a line in the manifest."""
        if text not in self.notes:
            self.notes.append(text)

    def figure(self, name: str, value: Any) -> None:
        """Put a figure in the manifest."""
        self.figures[name] = value

    def shelf(self, name: str) -> Path:
        """The folder of what was made under this name before, and of what will be."""
        return self.shelves / name[:32]

    @property
    def trainer(self) -> Trainer:
        """TRL and transformers, over our own models room."""
        _need("trl")
        from align.training.trainer import TransformersTrainer

        return TransformersTrainer()

    def sampler(self, model: Path, config: Drawing | None = None) -> Sampler:
        """The engine that the recipe asks for; nothing is loaded or started before it is asked for answers."""
        _need("transformers")
        engine, why = chosen(config)
        if config is not None:
            self.note(f"engine: {engine}{f' ({why})' if why else ''}")
        sampler: Sampler
        if config is None:
            from align.adapters.transformers import TransformersSampler

            sampler = TransformersSampler(model, self.runtime)
        elif self.runtime.ray is not None:
            from align.adapters.cluster import RaySampler

            sampler = RaySampler(engine, model, config, self.runtime, self.runtime.ray)
        else:
            from align.adapters.cluster import engine_of

            sampler = engine_of(engine, model, config, self.runtime)
        if config is not None and engine != "transformers" and (said := _not_promised(config, engine, self.runtime)):
            self.note(said)
        self._open.append(sampler)
        return sampler

    def scorer(self, model: Path) -> Scorer:
        """Log-probabilities by transformers."""
        _need("transformers")
        from align.adapters.transformers import TransformersScorer

        scorer = TransformersScorer(model, self.runtime)
        self._open.append(scorer)
        return scorer

    def rewarder(self, model: Path | str) -> Rewarder:
        """Scores by a reward model: in this process by transformers, from a folder or the hub (`org/name@revision`), or
        by `align score --serve` at a URL.
        """
        if isinstance(model, str) and model.startswith("http"):
            from align.adapters.reward_http import HttpRewarder

            return HttpRewarder(model)
        _need("transformers")
        if isinstance(model, str):
            from align.training.origin import snapshot

            name, _, revision = model.partition("@")
            model = snapshot(name, revision, offline=self.runtime.offline)
        from align.adapters.reward import TransformersRewarder

        rewarder = TransformersRewarder(model, self.runtime)
        self._open.append(rewarder)
        return rewarder

    def renderer(self, model: Path) -> Renderer:
        """The model's own chat template."""
        _need("transformers")
        from align.adapters.transformers import TransformersRenderer

        return TransformersRenderer(model, self.runtime)

    def grader(self, config: JudgeConfig) -> Grader:
        """The endpoint that `judge` names."""
        from align.adapters.judge.grader import JudgeGrader

        return JudgeGrader(config, offline=self.runtime.offline, note=self.note)

    def desk(self, config: LabelConfig) -> Desk:
        """The desk that the recipe names, where it stands behind a server."""
        if config.desk == "argilla":
            from align.adapters.argilla.opening import open_desk

            if self.runtime.offline and config.argilla.url is not None:
                raise BackendError(
                    f"label.argilla.url: {config.argilla.url} is named, and runtime.offline forbids the network; leave "
                    "`url` out for this machine's own Argilla, or leave `offline` out"
                )
            return open_desk(config, kept=self.kept, note=self.note)
        if config.desk == "judge" and config.judge is not None:
            from align.adapters.judge.desk import JudgeDesk

            guideline = Path(config.guideline).read_text(encoding="utf-8") if config.guideline else None
            return JudgeDesk(config.judge, guideline=guideline, seed=self.seed, work=self.work,
                             offline=self.runtime.offline, note=self.note)  # fmt: skip
        raise RecipeError(f"label.desk: `{config.desk}` is not a desk behind a server")

    def harness(self) -> Harness:
        """lm-eval, where the extra `eval` is installed."""
        _need("lm_eval", "pip install 'align-prefs[eval]'")
        from align.adapters.lm_eval import Harness as LmEval

        return LmEval()

    def rows(self, hub: str, revision: str, subset: str | None, split: str) -> Iterable[dict[str, Any]]:
        """The rows of a hub data set."""
        if self.runtime.offline:
            raise BackendError(f"{hub}: runtime.offline forbids the network; give a local file, or leave `offline` out")
        return self._hub_rows(hub, revision, subset, split)

    def _hub_rows(self, hub: str, revision: str, subset: str | None, split: str) -> Iterator[dict[str, Any]]:
        _need("datasets")
        from align.adapters import hub as adapter

        yield from adapter.rows(hub, revision, subset, split)

    def push(self, folder: Path, repo: str, *, private: bool, token: str) -> str:
        """Push a folder to a hub repository; the address of the commit."""
        from align.adapters import hub as adapter

        return adapter.push(folder, repo, private=private, token=token)

    def close(self) -> None:
        """Give back what samplers and scorers hold."""
        for opened in self._open:
            opened.close()


def inspect_model(folder: Path) -> str:
    """What a model folder holds, read from its headers alone; ModelError where it would be refused."""
    from align.adapters.transformers import inspect

    return inspect(folder)


def conformance(folder: Path) -> Iterator[tuple[str, str, str]]:
    """`ok | fail | skip`, what was compared, what was found: a model under these versions of the libraries."""
    _need("trl")
    from align.training.conformance import conform

    for row in conform(folder):
        yield row.state, row.what, row.found


def _need(package: str, how: str = "pip install align-prefs") -> None:
    from importlib.util import find_spec

    if find_spec(package) is None:
        raise BackendError(f"the package {package} is not installed; run: {how}")


def _not_promised(config: Drawing, engine: str, runtime: RuntimeConfig) -> str:
    """What of an engine's answers is not decided by model, settings and seeds."""
    if engine == "server" and not config.server.launch:
        return "not deterministic for certain: the endpoints decide whether seeds fix an answer, and of what precision"
    if runtime.device == "cuda":
        return "not deterministic: on a GPU an answer may depend on the batch it is drawn in; equal lineage, not bytes"
    return ""
