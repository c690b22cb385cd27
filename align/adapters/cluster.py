"""Candidates over Ray: plain actors, each with an engine or endpoints of its own, fed a few prompts at a time.

No scheduling of our own: Ray's `ActorPool` hands a task to whoever is free, restarts a worker that died, and does again
the one task that died with it. Which worker draws an answer decides nothing in it: prompt, settings and seed do.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from align.configs import Drawing, Engine, RayConfig, RuntimeConfig, SamplingConfig, Writer
from align.errors import BackendError
from align.ports import Sample, Sampler, SampleRequest, Unanswered

Said = list[Sample] | Unanswered


def engine_of(engine: Engine, folder: Path, config: Drawing, runtime: RuntimeConfig) -> Sampler:
    """An engine in this process; nothing is loaded or started before it is asked."""
    if engine == "vllm":
        from align.adapters.vllm.offline import VllmSampler

        return VllmSampler(folder, config, runtime)
    if engine == "server":
        from align.adapters.server import ServerSampler

        return ServerSampler(folder, config, runtime)
    from align.adapters.transformers import TransformersSampler

    return TransformersSampler(folder, runtime)


class Drawer:
    """What stands behind a worker: one engine, kept from task to task."""

    def __init__(self, engine: Engine, folder: str, config: Drawing, runtime: RuntimeConfig) -> None:
        self.sampler = engine_of(engine, Path(folder), config, runtime)

    def draw(
        self, requests: list[SampleRequest], settings: SamplingConfig, writer: Writer | None
    ) -> tuple[list[tuple[str, Said]], dict[str, Any], int]:
        """Answers, what the worker's work came to so far, and which process it is."""
        return list(self.sampler.sample(requests, settings, writer)), dict(self.sampler.figures()), os.getpid()


class RaySampler:
    """Draws answers on several workers, on this machine or a cluster; the model's folder must stand on each machine."""

    def __init__(self, engine: Engine, folder: Path, config: Drawing, runtime: RuntimeConfig, ray: RayConfig) -> None:
        self.engine, self.folder, self.config, self.ray = engine, folder, config, ray
        self.runtime = runtime.model_copy(update={"ray": None})
        near = engine_of(engine, folder, config, self.runtime)
        self.consecutive, self.made_with = near.consecutive, near.made_with
        self._actors: list[Any] = []
        self._ours = False
        self._by_worker: dict[int, dict[str, Any]] = {}

    def sample(
        self, requests: Iterable[SampleRequest], settings: SamplingConfig, writer: Writer | None = None
    ) -> Iterator[tuple[str, Said]]:
        """Each prompt's id and its samples, a task's together as it is finished."""
        import ray
        from ray.util import ActorPool

        pool = ActorPool(self._workers())
        queue = iter(requests)
        try:
            while True:
                while pool.has_free() and (task := list(islice(queue, self.ray.prompts_per_task))):
                    pool.submit(lambda worker, asked: worker.draw.remote(asked, settings, writer), task)
                if not pool.has_next():
                    return
                answers, figures, process = pool.get_next_unordered()
                self._by_worker[process] = figures
                yield from answers
        except ray.exceptions.RayTaskError as error:
            raise BackendError(f"a worker of the Ray cluster: {error.cause or error}"[:600]) from error
        except ray.exceptions.RayError as error:
            raise BackendError(
                f"the Ray cluster failed: {type(error).__name__}: {str(error).splitlines()[0][:300]}; what is finished "
                "is kept: run again to go on"
            ) from error

    def _workers(self) -> list[Any]:
        if self._actors:
            return self._actors
        try:
            import ray
        except ImportError as error:
            raise BackendError("ray is not installed; run: pip install 'align-prefs[ray]'") from error
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # workers are the work itself, and at Ray's own niceness of 15 they stand still on a busy machine
        os.environ.setdefault("RAY_worker_niceness", "0")
        if not ray.is_initialized():
            cpus = max(1, round(self.ray.workers * self.ray.cpus_per_worker))
            local = {"num_cpus": cpus, "object_store_memory": 100 * 2**20} if self.ray.address is None else {}
            if self.ray.address is not None:
                _reached(self.ray.address)
            try:
                ray.init(address=self.ray.address, include_dashboard=False, log_to_driver=False, **local)
            except (ConnectionError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
                raise BackendError(
                    f"runtime.ray.address: no Ray cluster answers at {self.ray.address}: {str(error)[:200]}"
                ) from error
            self._ours = True
        remote = ray.remote(Drawer).options(
            num_cpus=self.ray.cpus_per_worker, num_gpus=self.ray.gpus_per_worker, max_restarts=-1, max_task_retries=3
        )
        given = self.engine, str(self.folder), self.config, self.runtime
        self._actors = [remote.remote(*given) for _ in range(self.ray.workers)]
        return self._actors

    def figures(self) -> Mapping[str, Any]:
        """Sums over the workers; of several starts the longest."""
        found: dict[str, Any] = {**self.made_with, "workers": self.ray.workers, "workers_seen": len(self._by_worker)}
        for name in ("prompt_tokens", "cached_tokens", "retries"):
            told = [figures[name] for figures in self._by_worker.values() if name in figures]
            if told:
                found[name] = sum(told)
        starts = [figures.get("engine_start_s", 0.0) for figures in self._by_worker.values()]
        return found | ({"engine_start_s": max(starts)} if any(starts) else {})

    def close(self) -> None:
        """Give the workers back, and stop the cluster where it is ours."""
        if not self._actors:
            return
        import ray

        for actor in self._actors:
            ray.kill(actor)
        self._actors = []
        if self._ours:
            ray.shutdown()


def _reached(address: str) -> None:
    """BackendError where nothing listens at HOST:PORT: Ray itself would wait for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        return  # `auto`: Ray says at once that it knows of none
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except OSError as error:
        raise BackendError(f"runtime.ray.address: no Ray cluster answers at {address}: {error}") from error
