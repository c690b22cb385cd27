"""A local Ray cluster: as many workers as there are, the same bytes; a killed worker costs its own task."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from align.adapters.cluster import RaySampler
from align.configs import GenerateStep, RayConfig, RuntimeConfig, SamplingConfig
from align.errors import BackendError
from align.ports import Sample
from tests.adapters.vllm.conftest import Models, asked, heavy

RUNTIME = RuntimeConfig(device="cpu", dtype="float32", threads=1)
WARM = SamplingConfig(temperature=1, max_tokens=24)
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def _alone() -> Iterator[None]:
    with heavy():
        yield


def sampler(models: Models, workers: int, engine: str = "vllm") -> RaySampler:
    config = GenerateStep.model_validate({"engine": engine, "preflight": "off"})
    return RaySampler(engine, models.base, config, RUNTIME, RayConfig(workers=workers, prompts_per_task=8))


def texts(found: dict[str, object]) -> dict[str, list[tuple[str, int | None]]]:
    return {name: [(one.text, one.n_tokens) for one in said] for name, said in found.items() if isinstance(said, list)}


@pytest.mark.parametrize("engine", ["transformers", "vllm"])
def test_one_worker_and_two_give_the_same_and_a_killed_one_costs_nothing_but_its_task(
    models: Models, engine: str
) -> None:
    import ray

    requests = asked(64, samples=2)
    one = sampler(models, 1, engine)
    alone = texts(dict(one.sample(requests, WARM)))
    one.close()
    assert len(alone) == 64
    two = sampler(models, 2, engine)
    found: dict[str, list[Sample]] = {}
    for n_drawn, (prompt_id, said) in enumerate(two.sample(requests, WARM), 1):
        assert prompt_id not in found
        assert isinstance(said, list)
        found[prompt_id] = said
        if n_drawn == 20:
            os.kill(next(iter(two._by_worker)), signal.SIGKILL)
    assert two.figures()["workers_seen"] >= 2
    two.close()
    assert texts(found) == alone
    assert not ray.is_initialized()


def test_a_cluster_that_is_not_there_is_named(models: Models) -> None:
    config = GenerateStep.model_validate({"engine": "transformers"})
    ray = RayConfig(address="127.0.0.1:1", workers=1)
    engine = RaySampler("transformers", Path(models.base), config, RUNTIME, ray)
    begun = time.monotonic()
    with pytest.raises(BackendError, match=r"no Ray cluster answers at 127\.0\.0\.1:1"):
        list(engine.sample(asked(1), WARM))
    assert time.monotonic() - begun < 30, "Ray alone would wait for minutes"
