"""What every record is: frozen, closed, and named by the sha256 of its identity."""

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

Role = Literal["system", "user", "assistant", "tool"]
Provenance = Literal["human", "judge", "rule", "simulated"]
"""What a judgment comes from, fixed when the annotator is created: a script is never `human`."""
Share = Annotated[float, Field(ge=0, le=1)]
Meta = dict[str, JsonValue]


_encode = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


def canonical(value: object) -> str:
    """JSON with sorted keys, no spaces, no NaN: equal values, equal text (RFC 8785, with floats as Python has them)."""
    return _encode(value)


class Part(BaseModel):
    """A piece of a record that has no name of its own."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    @model_serializer(mode="wrap")
    def _said(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {name: value for name, value in handler(self).items() if value is not None}


class Record(Part):
    """A row of a data file. `id` is written with it, and checked when it is read back."""

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)
    identity: ClassVar[tuple[str, ...]]

    schema_: Literal[1] = Field(1, alias="schema")

    @model_validator(mode="wrap")
    @classmethod
    def _id_matches(cls, data: Any, handler: Any) -> Self:
        claimed = data.get("id") if isinstance(data, dict) else None
        if claimed is not None:
            data = {key: value for key, value in data.items() if key != "id"}
        record: Self = handler(data)
        if claimed is not None and claimed != record.id:
            raise ValueError(
                f"id: {str(claimed)[:12]}… is not the name of this content ({record.id[:12]}…); "
                "was the row edited? remove `id` to give it a new name"
            )
        return record

    @model_serializer(mode="wrap")
    def _said(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {"id": self.id, **{name: value for name, value in handler(self).items() if value is not None}}

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Another record with some fields changed, under its own name."""
        copied = super().model_copy(update=update, deep=deep)
        for name in ("id", "pair_id"):
            if name not in type(self).model_fields:
                copied.__dict__.pop(name, None)
        return copied

    @cached_property
    def id(self) -> str:
        """64 hex digits: the sha256 of the record's kind, schema and identity fields."""
        named = {name: _plain(getattr(self, name)) for name in self.identity}
        text = canonical({"record": type(self).__name__, "schema": self.schema_, **named})
        return hashlib.sha256(text.encode("utf-8")).hexdigest()


def _plain(value: object) -> object:
    if isinstance(value, BaseModel):
        return {k: _plain(v) for k, v in value if v is not None}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value
