"""What is changed in the running Argilla, each with its reason; the files of its environment stay as they are."""

from __future__ import annotations

import asyncio
from typing import Any

from . import bulk, hub, walls
from .search import NO_VECTORS


def apply(application: Any) -> None:
    """All of them."""
    application.add_middleware(walls.Walls)
    bulk.apply(application)
    hub.refuse()
    types_once()
    webhooks_only_where_there_are_some()
    no_vectors()
    say_what_the_disk_says(application)


def types_once() -> None:
    """Argilla builds a pydantic TypeAdapter for every property of every record pushed: three quarters of a push."""
    from argilla_server.models import database
    from pydantic import TypeAdapter

    made: dict[int, Any] = {}

    def adapter(kind: Any) -> Any:
        if id(kind) not in made:
            made[id(kind)] = (TypeAdapter(kind), kind)  # kept, so that its id stays its own
        return made[id(kind)][0]

    database.TypeAdapter = adapter


def webhooks_only_where_there_are_some() -> None:
    """An event is built by six queries for each record pushed, webhook or none; and delivered by a blocking call."""
    from argilla_server.bulk import records_bulk
    from argilla_server.contexts import distribution, webhooks
    from argilla_server.database import AsyncSessionLocal
    from argilla_server.jobs import webhook_jobs
    from argilla_server.jobs.queues import HIGH_QUEUE
    from argilla_server.models import Webhook
    from argilla_server.webhooks.v1.records import notify_record_event
    from rq import Retry
    from rq.decorators import job

    async def notify(session: Any, event: Any, record: Any) -> list[Any]:
        if "align_webhooks" not in session.info:
            session.info["align_webhooks"] = bool(await webhooks.list_enabled_webhooks(session))
        if not session.info["align_webhooks"]:
            return []
        told: list[Any] = await notify_record_event(session, event, record)
        return told

    records_bulk.notify_record_event_v1 = distribution.notify_record_event_v1 = notify

    @job(HIGH_QUEUE, retry=Retry(max=3, interval=[10, 60, 180]))
    async def notify_event_job(webhook_id: Any, event: str, timestamp: Any, data: Any) -> None:
        async with AsyncSessionLocal() as session:
            webhook = await Webhook.get_or_raise(session, webhook_id)
        # a receiver that does not answer would hold up everybody's page for 20 seconds
        response = await asyncio.to_thread(webhook_jobs.notify_event, webhook, event, timestamp, data)
        response.raise_for_status()

    webhook_jobs.notify_event_job = notify_event_job


def no_vectors() -> None:
    """Refused when they are set up, not when somebody asks for neighbours."""
    from argilla_server.contexts import datasets
    from argilla_server.errors.future import UnprocessableEntityError

    async def refuse(*_: Any, **__: Any) -> None:
        raise UnprocessableEntityError(NO_VECTORS)

    datasets.create_vector_settings = refuse


def say_what_the_disk_says(application: Any) -> None:
    """A full disk is 507, a busy database 503, two answers of one person at once 409: no bugs, nothing half saved."""
    from argilla_server.api.routes import api_v1
    from fastapi.responses import JSONResponse
    from sqlalchemy.exc import IntegrityError, OperationalError, TimeoutError

    async def say(_request: Any, error: Exception) -> Any:
        told = str(getattr(error, "orig", error))
        if "disk is full" in told or "disk I/O error" in told:
            return JSONResponse({"detail": f"the server's disk: {told}; nothing was saved"}, status_code=507)
        if "locked" in told or isinstance(error, TimeoutError):
            busy = {"detail": "the server is busy; nothing was saved, send it again"}
            return JSONResponse(busy, status_code=503, headers={"Retry-After": "1"})
        if isinstance(error, IntegrityError) and "UNIQUE" in told:
            return JSONResponse({"detail": "another request has just made it; look at that one"}, status_code=409)
        raise error

    for one in (application, api_v1):
        for kind in (OperationalError, IntegrityError, TimeoutError):
            one.add_exception_handler(kind, say)
