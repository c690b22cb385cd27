"""Argilla's way to and from a model hub, which is not there: it takes 360 MB of packages and a network."""

from __future__ import annotations

from types import ModuleType
from typing import Any

NO_HUB = "data sets cannot be fetched from a hub or put there by this server; read them through its API"


def module() -> ModuleType:
    """What stands in for `argilla_server.contexts.hub`; its classes are only ever named."""
    made = ModuleType("argilla_server.contexts.hub")
    made.__dict__.update(HubDataset=object, HubDatasetExporter=object)
    return made


def refuse() -> None:
    """Say so at once, where Argilla would promise a job."""
    from argilla_server.errors.future import UnprocessableEntityError
    from argilla_server.jobs import hub_jobs

    def no(*_: Any, **__: Any) -> None:
        raise UnprocessableEntityError(NO_HUB)

    hub_jobs.import_dataset_from_hub_job.delay = hub_jobs.export_dataset_to_hub_job.delay = no
