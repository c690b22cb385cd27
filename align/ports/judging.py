"""Who says what answers are worth: desks of people, served judges, foreign benchmarks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from align.configs import HarnessStep
from align.ports.models import Renderer, Sampler, Scorer
from align.records import Candidate, Comparison, Judgment, Message, Prompt, Source


@dataclass(frozen=True)
class Told:
    """What a desk has to say beside judgments: what it counted, and what it could not take as a judgment."""

    counts: Mapping[str, Any] = field(default_factory=dict)
    """As JSON, for the stage's summary: drafts, discarded, unreadable, …"""
    set_aside: Sequence[Mapping[str, Any]] = ()
    """What was said and is no judgment, whole, each row with its `reason`."""
    closed: frozenset[str] = frozenset()
    """Comparisons of which no further judgment will come, though they have fewer than were asked for."""


class Desk(Protocol):
    """Where comparisons are judged, by people, judges or simulated annotators."""

    def publish(
        self, prompts: Mapping[str, Prompt], candidates: Mapping[str, Candidate], comparisons: Sequence[Comparison]
    ) -> None:
        """Put comparisons up; publishing one again changes nothing."""
        ...

    def pull(self) -> list[Judgment]:
        """Everything that has been said so far."""
        ...

    def where(self) -> str:
        """A line that tells people where to go."""
        ...

    def told(self) -> Told:
        """What it has to say beside judgments, once they have been pulled."""
        ...


class Grader(Protocol):
    """A served model that reads one conversation at a time."""

    def replies(self, chats: Sequence[Sequence[Message] | str]) -> Iterator[str | None]:
        """In the order asked, a text gone on with as it stands; None for one that is refused, or a reply cut off."""
        ...


@dataclass(frozen=True)
class HarnessScore:
    """What a foreign harness's task makes of one item."""

    metric: str
    better: Literal["higher", "lower"]
    item_id: str
    value: float | None
    because: str | None = None
    """Why there is no value."""
    said: str = ""
    """Digest of what the model said or scored."""


class Harness(Protocol):
    """Foreign benchmarks, asked of our own scorer and sampler."""

    def scores(
        self, asked: HarnessStep, scorer: Callable[[], Scorer], sampler: Callable[[], Sampler], renderer: Renderer
    ) -> Iterator[HarnessScore]: ...

    def sources(self, asked: HarnessStep) -> list[Source]:
        """What the scores stand on, with its version."""
        ...
