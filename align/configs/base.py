"""What every group of knobs is: frozen, closed to unknown names, without NaN, each knob documented under itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo, field_validator


class Located(str):
    """An absolute path of this machine. Keys and manifests hold what stands there, never the path."""

    written: str
    """As the recipe has it."""


def _locate(value: str, info: ValidationInfo) -> Located:
    folder = (info.context or {}).get("folder")
    if not value or "\0" in value:
        raise ValueError(f"{value!r} found, expected the path of a file or folder")
    try:
        located = Located(Path(folder or ".").resolve() / Path(value).expanduser())
    except RuntimeError as error:
        raise ValueError(f"{value!r} found, expected a path; there is no such home folder") from error
    located.written = getattr(value, "written", value)
    return located


LocalPath = Annotated[str, AfterValidator(_locate)]
"""A file or folder, relative to the recipe that names it."""

Secret = Annotated[str, Field(pattern=r"^\$\{env:[A-Za-z_][A-Za-z0-9_]*\}$")]
"""`${env:NAME}` and nothing else: the recipe names the variable, and its value is written nowhere."""


_NUMBERS = (int, float, int | None, float | None)


class Config(BaseModel):
    """Knobs that belong together."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)

    unkeyed: ClassVar[frozenset[str]] = frozenset()
    """Knobs that change no result and therefore enter no key."""

    @field_validator("*", mode="before")
    @classmethod
    def _yes_is_no_number(cls, value: object, info: ValidationInfo) -> object:
        if isinstance(value, bool) and cls.model_fields[str(info.field_name)].annotation in _NUMBERS:
            raise ValueError(f"{str(value).lower()} found, expected a number")
        return value

    def keyed(self) -> dict[str, Any]:
        """The knobs that name a result, defaults included; files stand as `Located` strings."""
        return {name: _keyed(value) for name, value in self if name not in self.unkeyed}


def _keyed(value: object) -> Any:
    if isinstance(value, Config):
        return value.keyed()
    if isinstance(value, (tuple, list)):
        return [_keyed(item) for item in value]
    if isinstance(value, dict):
        return {key: _keyed(item) for key, item in value.items()}
    return value


class StageConfig(Config):
    """The knobs of a stage that can also be given its result ready-made."""

    ready: LocalPath | None = None
    """A file or folder to take instead of running this stage: an artifact, a model folder, a JSONL of records."""
