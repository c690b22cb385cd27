"""Where people judge in a browser: an Argilla server, and what they are shown there."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from align.configs.base import Config, LocalPath, Secret
from align.records import Provenance

ADDRESS = r"^(\$\{env:[A-Za-z_][A-Za-z0-9_]*\}|https?://[^\s@]+)$"


class ImportMapping(Config):
    """What the parts of a data set that we did not make mean; `align argilla import` reads it by this."""

    prompt: str
    """The field with the question, as text or as a chat."""
    answers: tuple[str, ...] = Field(min_length=1)
    """The fields with the answers, in the order in which people saw them."""
    question: str | None = None
    """The label, rating or ranking question that compares the answers, or judges the only one."""
    ratings: dict[str, str] = {}
    """Where each answer has a rating question of its own: answer field → question."""
    choices: dict[str, str] = {}
    """What an option means: a field of `answers`, `tie` or `both_bad`; `good` or `bad` where there is one answer.
    Options that are named as the fields are need not stand here."""
    strengths: dict[str, int] = {}
    """How strong a preference an option means, 1 to 3: for scales from one answer to the other."""
    strength: str | None = None
    """A rating question of 1 to 3: how strong the preference is."""
    rationale: str | None = None
    """A text question: why."""
    correction: str | None = None
    """A text question: the answer that should have been given."""
    models: dict[str, str] = {}
    """Answer field → the metadata property that names the model; without one the field's name stands for it."""

    @model_validator(mode="after")
    def _one_way_to_judge(self) -> Self:
        if (self.question is None) == (not self.ratings):
            raise ValueError("question: give either one question, or `ratings` with one for each answer")
        for name, known in (("ratings", self.ratings), ("models", self.models)):
            if stray := sorted(set(known) - set(self.answers)):
                raise ValueError(f"{name}: {stray[0]} is not among answers ({', '.join(self.answers)})")
        meanings = {*self.answers, *(("tie", "both_bad") if len(self.answers) > 1 else ("good", "bad"))}
        if stray := sorted(set(self.choices.values()) - meanings):
            raise ValueError(f"choices: {stray[0]!r} found, expected one of {', '.join(sorted(meanings))}")
        if any(not 1 <= n <= 3 for n in self.strengths.values()):
            raise ValueError("strengths: expected numbers from 1 to 3")
        return self


class ArgillaConfig(Config):
    """For `desk: argilla`: the server, the data set on it, and the page that people see."""

    unkeyed: ClassVar[frozenset[str]] = frozenset({"key", "home", "timeout_s", "mapping"})

    url: str | None = Field(None, pattern=ADDRESS)
    """`https://…` or `${env:NAME}`. Left out, it is the server that `align argilla up` runs on this machine."""
    key: Secret | None = None
    """The API key of an owner or admin account, as `${env:NAME}`; the local server's is found by itself."""
    home: LocalPath | None = None
    """The local server's folder, where it is not the usual one."""
    workspace: str = Field("align", pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", max_length=100)
    """Annotators see the data sets of the workspaces that they belong to."""
    dataset: str = Field("comparisons", pattern=r"^[A-Za-z0-9][A-Za-z0-9._ -]*$", max_length=150)
    """What it is called there; eight digits that stand for its settings are added."""
    layout: Literal["pair", "plain"] = "pair"
    """`pair` shows the answers side by side, rendered, raw or as a difference; `plain` shows three fields of exact text
    and needs nothing of the server but Argilla itself."""
    thinking: Literal["fold", "hide", "show"] = "fold"
    """What people see of a model's thinking (`<think>…</think>` before its answer)."""
    kinds: dict[str, Provenance] = {}
    """What accounts of somebody else's server count as, by user name; who is not named is `human`. Accounts of the
    local server were given their kind when they were made, and keep it."""
    vanished: Literal["stop", "keep", "drop"] = "stop"
    """Answers that were pulled before and are gone from the server, with their annotator's account for instance: stop
    and say so, use them as they were pulled, or do without them."""
    mapping: ImportMapping | None = None
    """For `align argilla import` alone: what the parts of somebody else's data set mean."""
    timeout_s: float = Field(60.0, gt=0, le=3600)
    """Longest wait for one reply; a busy server is asked again."""

    @model_validator(mode="after")
    def _a_foreign_server_has_a_key(self) -> Self:
        if self.url is not None and self.key is None:
            raise ValueError("key: missing; a server named by `url` needs the API key of an owner or admin account")
        return self
