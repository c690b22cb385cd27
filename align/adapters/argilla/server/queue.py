"""Argilla's background jobs on the server's own event loop, in place of a Redis and a worker process.

Jobs end with the process. The one whose loss would show, the recomputing of records' statuses, is made up for at every
start (`database.settle`); a webhook's delivery that was under way is lost, as it is with a worker that is killed.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from types import ModuleType
from typing import Any
from uuid import uuid4

from rq.exceptions import NoSuchJobError

REMEMBERED = 1000
"""Jobs whose state can still be asked for."""
LOG = logging.getLogger("align.jobs")


class Job:
    """One call of a job's function, and how it went: queued, started, finished or failed."""

    remembered: OrderedDict[str, Job] = OrderedDict()

    def __init__(self, name: str) -> None:
        self.id = str(uuid4())
        self.name = name
        self.status = "queued"
        self.remembered[self.id] = self
        while len(self.remembered) > REMEMBERED:
            self.remembered.popitem(last=False)

    @classmethod
    def fetch(cls, job_id: str, connection: Any = None) -> Job:
        """The job of that id; NoSuchJobError where there is none any more."""
        try:
            return cls.remembered[job_id]
        except KeyError:
            raise NoSuchJobError(job_id) from None

    def get_status(self, refresh: bool = True) -> str:
        return self.status


class Queue:
    """What argilla_server asks of an rq queue: `enqueue_call`.

    Calls about one thing (their first argument: a webhook, a data set) share `at_once` places, so that a receiver that
    does not answer keeps nobody else's messages waiting.
    """

    def __init__(self, *, at_once: int) -> None:
        self._rooms: defaultdict[str, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(at_once))
        self._tasks: set[asyncio.Task[None]] = set()

    def enqueue_call(
        self, func: Callable[..., Any], args: Any = None, kwargs: Any = None, retry: Any = None, **_: Any
    ) -> Job:
        """Begin the call as soon as there is room; `retry` is rq's: `max` more tries after `intervals` seconds."""
        job = Job(func.__name__)
        pauses = retry.intervals if retry else [0]
        waits = [float(pauses[min(n, len(pauses) - 1)]) for n in range(retry.max if retry else 0)]
        task = asyncio.get_running_loop().create_task(self._run(job, func, args or (), kwargs or {}, waits))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return job

    async def _run(self, job: Job, func: Callable[..., Any], args: Any, kwargs: Any, waits: list[float]) -> None:
        room = self._rooms[str(args[0]) if args else func.__name__]
        for wait in [*waits, None]:
            try:
                async with room:
                    job.status = "started"
                    await func(*args, **kwargs)
                job.status = "finished"
                return
            except Exception as error:
                LOG.warning("%s: %s: %s", job.name, type(error).__name__, error)
                job.status = "failed" if wait is None else "scheduled"
                await asyncio.sleep(wait or 0)


class NoRedis:
    """There is none, and none is missed."""

    def ping(self) -> bool:
        return True


def module() -> ModuleType:
    """What stands in for `argilla_server.jobs.queues`."""
    made = ModuleType("argilla_server.jobs.queues")
    made.__dict__.update(
        REDIS_CONNECTION=NoRedis(),
        DEFAULT_QUEUE=Queue(at_once=1),
        HIGH_QUEUE=Queue(at_once=2),
        JOB_TIMEOUT_DISABLED=-1,
    )
    return made
