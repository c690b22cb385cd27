"""What rows come in, from where, and how they are split."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from align.configs.base import Config, LocalPath, StageConfig

Format = Literal["auto", "records", "messages", "prompt_completion", "preference", "hh", "text", "prompts"]


class DataFile(Config):
    """One file or hub data set of rows."""

    path: LocalPath | None = None
    """JSONL, `.jsonl.gz`, Parquet, or `.txt`; relative to the recipe's folder."""
    hub: str | None = None
    """A hub data set id; needs `revision`."""
    revision: str | None = Field(None, pattern=r"^[0-9a-f]{40}$")
    subset: str | None = None
    split: str = "train"
    format: Format = "auto"
    """`auto` looks at the columns of the first row.

    It knows our records, chat `messages`, TRL's `prompt/chosen/rejected` in both forms, and hh-rlhf's transcripts.
    """
    limit: int | None = Field(None, ge=1)
    """Take so many rows, chosen by the hash of each row's prompt and not by its place in the file."""
    max_words: int | None = Field(None, ge=1)
    """Leave out rows whose longest side (prompt and answer together) has more words."""
    role: Literal["train", "test", "split"] = "split"
    """`split` lets `data.test_share` decide by prompt; the others put the whole file on one side."""
    licence: str | None = None
    """SPDX name, as its publisher declares it; it travels into the model card."""

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if (self.path is None) == (self.hub is None):
            raise ValueError("give exactly one of path, hub")
        if self.hub is not None and self.revision is None:
            raise ValueError("hub: a hub data set needs `revision` (40 hex digits), so that the run can be repeated")
        return self


class Testbed(Config):
    """A small made world whose truth is known; see `align/testbed`."""

    world_seed: int = 0
    pronoun_skew: float = Field(1.0, ge=0, le=1)
    """Planted strength of the tie between occupations and pronouns."""
    demonstrations: int = Field(2000, ge=1)
    prompts: int = Field(400, ge=1)
    """Prompts for candidates."""
    test_prompts: int = Field(300, ge=1)
    test_items: int = Field(300, ge=1)


class DataConfig(StageConfig):
    """Stage `prepare`."""

    testbed: Testbed | None = None
    text: tuple[DataFile, ...] = ()
    """Plain text to pretrain a `scratch` model on."""
    demonstrations: tuple[DataFile, ...] = ()
    prompts: tuple[DataFile, ...] = ()
    preferences: tuple[DataFile, ...] = ()
    rankings: tuple[DataFile, ...] = ()
    """Several answers a prompt with their order: our records, or `prompt` and `completions` with `scores` or `ranks`.
    Stage `reward` learns from them."""
    xstest: LocalPath | None = None
    """The file `xstest_prompts.csv`, as published (Röttger et al. 2024): its prompts join the held-out ones."""
    test_share: float = Field(0.1, ge=0, lt=1)
    """Share of prompts held out, by the hash of the prompt: one prompt never stands on two sides."""
    split_by: Literal["opening", "prompt"] = "opening"
    """`opening` keeps conversations that begin alike on one side; `prompt` looks at the whole prompt."""
    max_equal_share: float = Field(0.05, ge=0, le=1)
    """Pairs whose answers are equal are dropped and counted; more than this share is an error."""

    personal: Literal["report", "redact", "drop"] = "report"
    """What to do with e-mail addresses, telephone numbers, bank accounts, payment cards, machine addresses and keys in
    rows of files: count them and say where, put `[kind]` in their place, or leave the row out. What is found is never
    shown whole."""
    alike: Literal["report", "drop"] = "report"
    """What to do with rows for training that ask nearly what a held-out row asks, or are nearly another row (Jaccard
    similarity of five-word runs of 0.8 or more): count them, or leave them out."""

    @model_validator(mode="after")
    def _has_data(self) -> Self:
        given = self.ready or self.testbed or self.text or self.demonstrations or self.prompts or self.preferences
        given = given or self.rankings
        if not given:
            raise ValueError("no data: give testbed, or files under text, demonstrations, prompts or preferences")
        return self
