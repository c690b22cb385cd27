"""A model that judges: where it is served, what it is asked, and how far it may be believed."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from align.configs.argilla import ADDRESS
from align.configs.base import Config, LocalPath, Secret

Address = Annotated[str, Field(pattern=ADDRESS)]


class JudgeConfig(Config):
    """An OpenAI-compatible endpoint that compares two answers; every pair is shown to it in both orders."""

    unkeyed: ClassVar[frozenset[str]] = frozenset({"urls", "key", "concurrency", "timeout_s", "attempts", "deadline_s"})

    urls: tuple[Address, ...] = Field(min_length=1)
    """Where it is served, each `https://…/v1` or `${env:NAME}`; several share the work and stand in for each other."""
    model: str = Field(min_length=1)
    """The name it is served under; it enters the name of each judgment."""
    key: Secret | None = None
    """`${env:NAME}` of the endpoint's key, where it asks for one."""
    rubric: LocalPath | None = None
    """A Markdown file: by what it is to judge. Left out, it reads what people read: `label.guideline`."""
    temperature: float = Field(0.0, ge=0, le=2)
    max_tokens: int = Field(1024, ge=1)
    """Longest reply; a reply that is cut off gives no verdict."""
    chat_template_kwargs: dict[str, bool | int | str] = {}
    """Sent as vLLM takes them, `{enable_thinking: false}` for instance; nothing is sent where it is empty."""
    min_readable: float = Field(0.9, ge=0, le=1)
    """Least share of verdicts that can be read; with fewer, none of them is used."""
    null_controls: int = Field(40, ge=1)
    """In so many comparisons one answer is replaced by a text that says nothing and tells the judge to prefer it."""
    max_null_share: float = Field(0.05, ge=0, le=1)
    """Largest share of those that it may win, ties counting one half; a judge that falls for more is not used."""
    concurrency: int = Field(8, ge=1, le=256)
    """Requests at once."""
    timeout_s: float = Field(120.0, gt=0)
    """Longest wait for one reply."""
    attempts: int = Field(6, ge=1, le=50)
    """So often is one question asked of an endpoint that fails, with growing pauses, before the run stops."""
    deadline_s: float = Field(14_400.0, gt=0)
    """Longest time for all of it; what was judged is kept, and the same command goes on from there."""
