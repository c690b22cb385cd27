"""Many records put at once: Argilla's own way through, without the work whose result nobody reads."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from argilla_server.bulk import records_bulk
from argilla_server.contexts import distribution
from argilla_server.models import MetadataProperty
from argilla_server.validators.records import RecordCreateValidator
from fastapi.responses import JSONResponse

SHORT: ContextVar[bool] = ContextVar("short", default=False)
"""Was `Prefer: return=minimal` asked for (RFC 7240)? Then the reply does not repeat every record that was sent."""


def apply(application: Any) -> None:
    """All of it."""
    application.add_middleware(Preferences)
    validate_without_a_record_to_throw_away()
    settings_read_once()
    statuses_only_with_answers()
    short_replies()


class Preferences:
    """Reads the header for what runs inside."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        SHORT.set((b"prefer", b"return=minimal") in scope.get("headers", ()))
        await self.app(scope, receive, send)


def validate_without_a_record_to_throw_away() -> None:
    """Argilla makes a row for each record only to check suggestions and answers, and ties it to its data set."""
    stock = RecordCreateValidator.validate

    async def validate(record: Any, dataset: Any) -> None:
        if record.suggestions or record.responses:
            await stock(record, dataset)
            return
        RecordCreateValidator._validate_fields(record.fields, dataset)
        RecordCreateValidator._validate_metadata(record.metadata, dataset)
        RecordCreateValidator._validate_vectors(record.vectors, dataset)

    RecordCreateValidator.validate = validate


def settings_read_once() -> None:
    """A property's settings are parsed for every value that is checked against them; a row lives for one request."""
    stock = MetadataProperty.parsed_settings.fget

    def parsed_settings(self: Any) -> Any:
        if "_align_parsed" not in self.__dict__:
            self.__dict__["_align_parsed"] = stock(self)
        return self.__dict__["_align_parsed"]

    MetadataProperty.parsed_settings = property(parsed_settings)


def statuses_only_with_answers() -> None:
    """A record's status follows from its answers: where none were sent, none is to be computed."""
    upsert, update = (
        records_bulk.CreateRecordsBulk._upsert_records_relationships,
        distribution.unsafe_update_records_status,
    )

    async def upsert_relationships(self: Any, records: Any, sent: Any) -> None:
        self._db.info["align_answers"] = any(one.responses for one in sent)
        await upsert(self, records, sent)

    async def update_statuses(session: Any, records: Any) -> None:
        if session.info.pop("align_answers", True):
            await update(session, records)

    records_bulk.CreateRecordsBulk._upsert_records_relationships = upsert_relationships
    distribution.unsafe_update_records_status = update_statuses


def short_replies() -> None:
    """To whoever prefers them: each record's two names, not its fields."""
    preload, whole = (
        records_bulk._preload_records_relationships_before_index,
        records_bulk.RecordsBulkWithUpdatedItemIds,
    )

    async def preload_for_a_long_reply(session: Any, records: Any) -> None:
        if not SHORT.get():
            await preload(session, records)

    def reply(*, items: Any, updated_item_ids: Any) -> Any:
        if not SHORT.get():
            return whole(items=items, updated_item_ids=updated_item_ids)
        named = [{"id": str(one.id), "external_id": one.external_id} for one in items]
        return JSONResponse({"items": named}, headers={"Preference-Applied": "return=minimal"})

    records_bulk._preload_records_relationships_before_index = preload_for_a_long_reply
    records_bulk.RecordsBulkWithUpdatedItemIds = reply
