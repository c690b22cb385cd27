"""What may be asked of a model: answers, log-probabilities, scores, and the text that it reads."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from align.configs import SamplingConfig, Writer
from align.records import Message


@dataclass(frozen=True)
class SampleRequest:
    """One prompt to answer; one seed a sample, so that neither order nor batch decides what is drawn.

    Where the sampler's seeds are `consecutive`, each is one more than the one before it.
    """

    prompt_id: str
    messages: tuple[Message, ...]
    seeds: tuple[int, ...]
    tools: tuple[dict[str, Any], ...] | None = None


@dataclass(frozen=True)
class Sample:
    """One answer."""

    text: str
    n_tokens: int | None
    """Where the engine tells it."""
    finish_reason: Literal["stop", "length"]
    logp: float | None = None
    """Nats, summed over the answer's tokens before temperature and top_p, where it was asked for."""
    thinking: str | None = None
    """What the engine itself has set apart as thought."""


@dataclass(frozen=True)
class Unanswered:
    """A prompt that got no answer, or fewer than it should, and why; `samples` are those that came."""

    reason: Literal["too_long", "refused", "too_few"]
    detail: str
    samples: tuple[Sample, ...] = ()


@dataclass(frozen=True)
class ScoreRequest:
    """Something whose log-probability is asked for: `continuation` after `context`.

    `context` as messages is rendered by the model's chat template and the continuation is the assistant's answer,
    closed by the end of turn; as plain text, both are taken as they are and nothing is added.
    """

    context: tuple[Message, ...] | str
    continuation: str
    closed: bool = True
    """False for an answer that was cut off: no end of turn is scored after it."""


@dataclass(frozen=True)
class Score:
    """`logp` in nats, summed over the continuation's `n_tokens` tokens."""

    logp: float
    n_tokens: int


class Sampler(Protocol):
    """Draws answers from one model, or from adapters on it."""

    consecutive: bool
    """Whether the samples of one prompt take seeds that follow one another."""
    made_with: Mapping[str, Any]
    """What, beside model, settings and seeds, decides an answer: the engine and its version."""

    def sample(
        self, requests: Iterable[SampleRequest], settings: SamplingConfig, writer: Writer | None = None
    ) -> Iterator[tuple[str, list[Sample] | Unanswered]]:
        """Each prompt's id and its samples, as they are finished; `requests` is read as it is needed."""
        ...

    def figures(self) -> Mapping[str, Any]:
        """What the work so far came to: versions, seconds of start, tokens read, shared and written."""
        ...

    def close(self) -> None: ...


class Scorer(Protocol):
    """Gives log-probabilities under one model."""

    def score(self, requests: Sequence[ScoreRequest]) -> Iterator[Score]:
        """In the order asked."""
        ...

    def close(self) -> None: ...


class Rewarder(Protocol):
    """Scores answers by one reward model: for best-of-n, for reinforcement learning, for a file."""

    def reward(self, conversations: Sequence[Sequence[Message]]) -> Iterator[float]:
        """The score of each conversation's last answer, in the order asked; the same in whatever company it stands."""
        ...

    def close(self) -> None: ...


class Renderer(Protocol):
    """Turns a conversation into the text that a model reads."""

    def render(self, messages: Sequence[Message], *, add_generation_prompt: bool = False) -> str: ...

    def n_tokens(self, text: str) -> int: ...
