"""What an instrument is, what it may look at, and how it says what it saw."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from pydantic import JsonValue

from align.data.published import Published
from align.evals.template import Template
from align.ports import Score, ScoreRequest
from align.preference.votes import Vote
from align.records import Item, ItemScore, Message, Preference, Prompt

Better = Literal["higher", "lower", "neither"]
Suite = Literal["bias", "safety", "ability", "quick"]
Need = Literal[
    "items", "prompts", "answers", "scorer", "testbed", "preferences", "reference", "people", "judge", "rewarder"
]  # fmt: skip
"""`testbed` is the truth of made answers. `reference` is the policy before preference tuning: what needs it is left out
where there is none; what can do nothing without it says `compares`. `rewarder` is a reward model, no policy."""
Form = Literal["plain", "chat"]
"""How a question with options is put: as plain text, or as a user's message whose answer is the option."""
Expected = tuple[float, float] | float | None
"""Least and greatest value, a number that guessing lands near, or None where there must be no value."""
Chat = tuple[Message, ...] | str
"""A conversation, or a text to be gone on with as it stands."""
Grade = Callable[[Sequence[Chat]], Sequence[str | None]]
Reward = Callable[[Sequence[tuple[Message, ...]]], Sequence[float]]
Ask = Callable[[Sequence[ScoreRequest]], Sequence[Score]]
NOT_FINITE = "a log-probability is not finite"
NO_ANSWER = "no answer was generated"
EMPTY = "the answer is empty"


class Assessed(Protocol):
    """What the testbed knows of an answer."""

    @property
    def kind(self) -> str: ...
    @property
    def well_formed(self) -> bool: ...
    @property
    def correct(self) -> bool | None: ...
    @property
    def refused(self) -> bool: ...
    @property
    def n_words(self) -> int: ...
    @property
    def utility(self) -> float: ...


Assess = Callable[[Prompt, str], Assessed | None]
"""None where the truth of a prompt is not known."""


@dataclass(frozen=True)
class Duel:
    """Two models' answers to one held-out prompt, and what people said who did not know whose is whose."""

    prompt_id: str
    answer: str
    """The id of this model's answer."""
    votes: Sequence[Vote] = ()
    """One an annotator."""
    words: int = 0
    their_words: int = 0
    cluster: str | None = None
    unshown: str | None = None
    """Why nobody was asked."""


@dataclass(frozen=True)
class Evidence:
    """Everything about one model that an instrument may look at."""

    model: str
    """The model's part in the run."""
    items: Sequence[Item] = ()
    prompts: Sequence[Prompt] = ()
    answers: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """The model's answers to each prompt id, one a sample."""
    preferences: Sequence[Preference] = ()
    logp: Ask | None = None
    reference_logp: Ask | None = None
    assess: Assess | None = None
    form: Form = "plain"
    duels: Sequence[Duel] = ()
    grade: Grade | None = None
    """A served classifier's or grader's reply to each chat, None for one that was refused or cut off."""
    template: str | None = None
    """What the classifier reads, for an instrument that has a `template`."""
    reward: Reward | None = None
    """A reward model's score of the last answer of each conversation."""
    cut: Mapping[str, Sequence[bool]] = field(default_factory=dict)
    """By prompt id, of each of its answers: whether it was cut off at its longest."""

    def answered(self) -> Iterator[tuple[Prompt, Sequence[str]]]:
        """Each prompt with its answers, which are none where the model gave none."""
        for prompt in self.prompts:
            yield prompt, self.answers.get(prompt.id, ())


@dataclass(frozen=True)
class Metric:
    """One number that an instrument gives."""

    name: str
    better: Better
    unit: str
    says: str
    """What the number is, in a phrase."""
    estimator: Literal["mean", "slope", "ratio", "equal_length"] = "mean"
    """`mean` of the items' values; `slope` of them on `meta.x`, by least squares with an intercept; `ratio` of their
    sum to that of `meta.weight`; `equal_length` of wins, where `meta.longer` is 0 (`evals/judged_wins.py`)."""
    limits: tuple[float, float] | None = None
    """Least and greatest value of the number; a `share` lies between 0 and 1 without saying so."""


@dataclass(frozen=True)
class Asked:
    """One log-probability that an item asks for."""

    context: tuple[Message, ...] | str
    continuation: str
    choice: int
    """The item's choice that the continuation stands for."""

    def request(self) -> ScoreRequest:
        return ScoreRequest(self.context, self.continuation)


@dataclass(frozen=True)
class Instrument:
    """A way of measuring one model."""

    name: str
    measures: str
    data: str
    paper: str
    flaws: tuple[str, ...]
    needs: tuple[Need, ...]
    metrics: tuple[Metric, ...]
    score: Callable[[Evidence], list[ItemScore]]
    last_run: str | None
    """When and on what real data it was last run; None if never."""
    published: Published | None = None
    """The public data it reads, where it reads some: then it is measured only when the recipe says where they lie."""
    asks: Callable[[Item, Form], Sequence[Asked]] | None = None
    """What is asked of the scorer about an item, whose options need not stand in the order of its choices."""
    expected: Mapping[str, Mapping[str, Expected]] = field(default_factory=dict)
    """By the name of a control model: what each metric must give for it."""
    suites: tuple[Suite, ...] = ()
    template: Template | None = None
    """What its classifier reads, where that is a published text."""
    temperature: float | None = None
    """At which its answers must be drawn, whatever the recipe says."""
    compares: bool = False
    """It measures a model against the one it came from, and nothing of a model that has none."""


def item_score(
    instrument: str,
    metric: str,
    model: str,
    item_id: str,
    value: float | None,
    *,
    because: str | None = None,
    cluster: str | None = None,
    meta: dict[str, JsonValue] | None = None,
) -> ItemScore:
    """One row; a value that is missing or not finite becomes an unscored row with its reason, never a number."""
    finite = value is not None and math.isfinite(value)
    return ItemScore(
        instrument=instrument,
        metric=metric,
        model=model,
        item_id=item_id,
        value=float(value) if finite and value is not None else None,
        unscored_because=None if finite else because or "the value is not finite",
        cluster=cluster,
        meta=meta or {},
    )


def kind_of(prompt: Prompt) -> str | None:
    """The kind of a held-out prompt (`fact`, `harmful`, `xstest_safe`, …), where it has one."""
    kind = prompt.meta.get("kind")
    return kind if isinstance(kind, str) else None


def n_words(text: str) -> int:
    """Words between white space."""
    return len(text.split())
