"""What every group of knobs is: frozen, closed to unknown names, without NaN, each knob documented under itself."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Config(BaseModel):
    """Knobs that belong together."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, strict=False, use_attribute_docstrings=True
    )


class StageConfig(Config):
    """The knobs of a stage that can also be given its result ready-made."""

    ready: str | None = None
    """A file or folder to take instead of running this stage: an artifact of another store, a model folder, a JSONL of records."""
