"""Stage `harness`: one model under lm-eval's tasks, asked through our own scorer and sampler."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

from align.configs import HarnessStep, SamplingConfig
from align.evals import harness
from align.ports import Inputs, Sample, Sampler, SampleRequest, Score, Scorer, ScoreRequest, Tools
from align.records import Source, canonical
from align.store import jsonl

VERSION = 1


def run(config: HarnessStep, inputs: Inputs, out: Path, tools: Tools) -> None:
    """Write `scores.jsonl`, a row an item and metric, and `measurements.jsonl`, a row a metric."""
    model = inputs["model"]
    heard = _Heard(model.path / "model", tools)
    foreign = tools.harness()
    with closing(heard):
        found = list(foreign.scores(config, heard.scorer, heard.sampler, tools.renderer(model.path / "model")))
    rows = harness.item_scores(config.model, found)
    made = harness.measurements(
        config.model,
        found,
        rows,
        sources=(Source(name="model", digest=model.digest), *foreign.sources(config)),
        meta={"outputs": heard.digest()},
    )
    rows.sort(key=lambda row: (row.metric, row.item_id))
    jsonl.write(out / "scores.jsonl", rows)
    jsonl.write(out / "measurements.jsonl", made)


class _Heard:
    """The model's scorer and sampler, opened when first asked for; all that they say goes into one digest."""

    def __init__(self, model: Path, tools: Tools) -> None:
        self._model, self._tools, self._hash = model, tools, hashlib.sha256()
        self._scorer: Scorer | None = None
        self._sampler: Sampler | None = None

    def scorer(self) -> Scorer:
        self._scorer = self._scorer or self._tools.scorer(self._model)
        return _HeardScorer(self._scorer, self.hear)

    def sampler(self) -> Sampler:
        self._sampler = self._sampler or self._tools.sampler(self._model)
        return _HeardSampler(self._sampler, self.hear)

    def hear(self, said: object) -> None:
        self._hash.update(canonical(said).encode("utf-8", "surrogatepass") + b"\n")

    def digest(self) -> str:
        return self._hash.hexdigest()

    def close(self) -> None:
        for opened in (self._scorer, self._sampler):
            if opened is not None:
                opened.close()


class _HeardScorer:
    def __init__(self, scorer: Scorer, hear: Callable[[object], None]) -> None:
        self._scorer, self._hear, self.close = scorer, hear, scorer.close

    def score(self, requests: Sequence[ScoreRequest]) -> Iterator[Score]:
        for score in self._scorer.score(requests):
            self._hear(score.logp.hex())
            yield score


class _HeardSampler:
    def __init__(self, sampler: Sampler, hear: Callable[[object], None]) -> None:
        self._sampler, self._hear, self.close = sampler, hear, sampler.close

    def sample(self, requests: Sequence[SampleRequest], settings: SamplingConfig) -> Iterator[tuple[str, list[Sample]]]:
        finished = dict(self._sampler.sample(requests, settings))
        for request in requests:
            self._hear([sample.text for sample in finished[request.prompt_id]])
            yield request.prompt_id, finished[request.prompt_id]
