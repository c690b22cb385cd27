"""What a stage may ask of the world. Stages know these shapes only; the runner introduces who stands behind them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from align.configs import (
    DPOConfig,
    Drawing,
    ExportConfig,
    HarnessStep,
    JudgeConfig,
    KTOConfig,
    LabelConfig,
    ModelConfig,
    RewardConfig,
    RLHFConfig,
    RuntimeConfig,
    SamplingConfig,
    SFTConfig,
    Writer,
)
from align.records import Candidate, Comparison, Judgment, Message, Prompt, Source


@dataclass(frozen=True)
class Artifact:
    """A sealed result that a stage reads."""

    path: Path
    key: str
    digest: str
    manifest: Mapping[str, Any] = field(default_factory=dict)


Inputs = Mapping[str, Artifact]


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


@dataclass(frozen=True)
class Mark:
    """What an answer is worth, from one point of view."""

    name: str
    score: Callable[[Sequence[Prompt], Sequence[str]], Sequence[float]]
    """A number for each prompt's answer; NaN where there is none."""
    weight: float = 1.0
    clip: tuple[float, float] | None = None
    may_rest: bool = False
    """Whether one score for every answer is no fault: a rule that all answers keep says nothing more."""


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


class Grader(Protocol):
    """A served model that reads one conversation at a time."""

    def replies(self, chats: Sequence[Sequence[Message] | str]) -> Iterator[str | None]:
        """In the order asked, a text gone on with as it stands; None for one that is refused, or a reply cut off."""
        ...


class Harness(Protocol):
    """Foreign benchmarks, asked of our own scorer and sampler."""

    def scores(
        self, asked: HarnessStep, scorer: Callable[[], Scorer], sampler: Callable[[], Sampler], renderer: Renderer
    ) -> Iterator[HarnessScore]: ...

    def sources(self, asked: HarnessStep) -> list[Source]:
        """What the scores stand on, with its version."""
        ...


class Renderer(Protocol):
    """Turns a conversation into the text that a model reads."""

    def render(self, messages: Sequence[Message], *, add_generation_prompt: bool = False) -> str: ...

    def n_tokens(self, text: str) -> int: ...


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


class Progress(Protocol):
    """Tells how far long work is."""

    def advance(self, n: int = 1, note: str = "") -> None: ...


class Workshop(Protocol):
    """A stage's own place while it runs: how it reports, and what of its work outlives a kill."""

    seed: int
    runtime: RuntimeConfig
    """With every `auto` resolved."""
    work: Path
    """A folder that survives a kill and is not part of the artifact: journals, checkpoints."""

    def progress(self, what: str, total: int | None = None) -> AbstractContextManager[Progress]: ...

    def note(self, text: str) -> None:
        """Put a line in the manifest: what is not deterministic, what was taken and why."""
        ...


@dataclass(frozen=True)
class Kept:
    """Rows of what a model did well before it is tuned: demonstrations, or `{"text": …}`."""

    rows: Path | None = None
    """To hold on to, where the recipe asks for it."""
    probe: Path | None = None
    """Held out, to say what tuning cost; by default every tenth of `rows`."""


NOTHING_KEPT = Kept()


class Trainer(Protocol):
    """Makes models.

    Each method writes `model/` (a folder transformers loads) and `log.jsonl` into `out`; with LoRA also `adapter/`.

    Given the same `workshop.work` after a kill, each goes on from its last whole checkpoint.
    """

    def base(self, config: ModelConfig, text: Path | None, out: Path, workshop: Workshop) -> None: ...

    def sft(
        self,
        config: SFTConfig,
        model: Path,
        data: Path,
        held_out: Path | None,
        out: Path,
        workshop: Workshop,
        kept: Kept = NOTHING_KEPT,
    ) -> None: ...

    def dpo(
        self,
        config: DPOConfig,
        model: Path,
        data: Path,
        held_out: Path | None,
        out: Path,
        workshop: Workshop,
        kept: Kept = NOTHING_KEPT,
    ) -> None: ...

    def kto(
        self,
        config: KTOConfig,
        model: Path,
        data: Path | None,
        held_out: Path | None,
        out: Path,
        workshop: Workshop,
        kept: Kept = NOTHING_KEPT,
    ) -> None: ...

    def reward(
        self,
        config: RewardConfig,
        model: Path | None,
        train: Mapping[str, Path | None],
        test: Mapping[str, Path | None],
        out: Path,
        workshop: Workshop,
    ) -> None:
        """`train` and `test` name files of `preferences` and `rankings`; `model/` is a one-label classifier."""
        ...

    def rlhf(
        self,
        config: RLHFConfig,
        model: Path,
        prompts: Sequence[Prompt],
        marks: Sequence[Mark],
        out: Path,
        workshop: Workshop,
        *,
        cost: Mark | None = None,
        held_out: Mark | None = None,
    ) -> None:
        """Tune on the marks of the model's own answers. Beside `model/` there are `looks.jsonl` (answers on the way to
        some of the prompts, which `held_out` judges and nothing learns from) and `rollouts.parquet`."""
        ...

    def export(self, config: ExportConfig, model: Path, out: Path, workshop: Workshop) -> None: ...


class Tools(Workshop, Protocol):
    """The workshop, and who may be asked."""

    def figure(self, name: str, value: Any) -> None:
        """Put a figure in the manifest: a speed, a share, a count; it enters no digest."""
        ...

    def shelf(self, name: str) -> Path:
        """A folder that outlives the artifact: what another run with the same `name` need not make again."""
        ...

    @property
    def trainer(self) -> Trainer: ...

    def sampler(self, model: Path, config: Drawing | None = None) -> Sampler:
        """An engine for a model folder: the one that `config` asks for, or transformers."""
        ...

    def scorer(self, model: Path) -> Scorer: ...

    def rewarder(self, model: Path | str) -> Rewarder:
        """Scores by the reward model in a folder, or by one that is served at a URL."""
        ...

    def renderer(self, model: Path) -> Renderer: ...

    def harness(self) -> Harness: ...

    def grader(self, config: JudgeConfig) -> Grader: ...

    def desk(self, config: LabelConfig) -> Desk:
        """A desk that stands behind a server: people's, or a judge's."""
        ...

    def rows(self, hub: str, revision: str, subset: str | None, split: str) -> Iterable[dict[str, Any]]:
        """The rows of a hub data set at one revision."""
        ...

    def push(self, folder: Path, repo: str, *, private: bool, token: str) -> str:
        """Push a folder to a hub repository; the address of what was pushed."""
        ...
