"""What a step is, and what the runner must know of each stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import ModuleType

from align.configs import (
    AuditConfig,
    EvaluateStep,
    GenerateStep,
    LabelConfig,
    ModelConfig,
    Recipe,
    RewardConfig,
)
from align.configs.base import Config
from align.errors import RecipeError
from align.evals import instruments
from align.stages import (
    audit,
    base,
    benchmark,
    best_of,
    dpo,
    evaluate,
    export,
    gate,
    generate,
    harness,
    kto,
    label,
    pair,
    prepare,
    ready,
    reward,
    rlhf,
    sft,
)


@dataclass(frozen=True)
class Stage:
    """What the runner must know of a stage: its code, and what beside its knobs and inputs decides its result."""

    module: ModuleType
    seeded: bool = False
    """Draws random numbers."""
    computes: bool = False
    """Computes with a model, so that the number format decides the last digits."""
    needs: Mapping[str, str] = field(default_factory=dict)
    """What it cannot do without, by the name it knows it under, and what that is."""
    takes: Mapping[str, str] = field(default_factory=dict)
    """What it reads beside these where it is given."""


MEASURED = "evaluate/MODEL/INSTRUMENT"


AUDITED = "audit/MODEL"


STAGES: Mapping[str, Stage] = {
    "prepare": Stage(prepare, seeded=True, takes={"data": "a result of `prepare`, whose test prompts stay held out"}),
    "base": Stage(base, seeded=True, computes=True, takes={"data": "the text that a scratch model learns from"}),
    "sft": Stage(sft, seeded=True, computes=True,
                 needs={"model": "the model to tune", "data": "the demonstrations, as `prepare` makes them"}),
    "generate": Stage(generate, seeded=True, computes=True,
                      needs={"model": "the model to ask", "data": "the prompts, as `prepare` makes them"},
                      takes={"base": "the model before fine-tuning, where a writer names it",
                             "sft": "the policy before tuning, where a writer names it"}),
    "label": Stage(label, seeded=True,
                   needs={"candidates": "the answers to compare, as `generate` makes them", "data": "their prompts"},
                   takes={"against": "another model's answers, where two models are compared",
                          "label": "what was judged before, where some of it is to be judged again"}),
    "pair": Stage(pair, needs={"label": "the judgments, as `label` makes them", "candidates": "the answers judged",
                               "data": "their prompts"},
                  takes={"judge": "a judge's judgments of the same answers, to be held against people's",
                         "again": "judgments of some of them a second time, to learn how often a label is wrong"}),
    "dpo": Stage(dpo, seeded=True, computes=True,
                 needs={"model": "the model to tune", "data": "the preferences, as `pair` or `prepare` makes them"},
                 takes={"kept": "demonstrations to hold on to, as `prepare` makes them"}),
    "reward": Stage(reward, seeded=True, computes=True,
                    needs={"model": "the model to begin as", "data": "the pairs, as `pair` or `prepare` makes them"}),
    "benchmark": Stage(benchmark),
    "kto": Stage(kto, seeded=True, computes=True, needs={"model": "the model to tune"},
                 takes={"data": "preferences, which are taken apart", "kept": "demonstrations to hold on to"}),
    "rlhf": Stage(rlhf, seeded=True, computes=True,
                  needs={"model": "the model to tune", "data": "the prompts, as `prepare` makes them"},
                  takes={"reward": "the reward model, as `reward` makes it",
                         "watch": "a second one, from other pairs, that watches"}),
    "best_of": Stage(best_of,
                     needs={"candidates": "the answers to choose from, as `generate` makes them",
                            "data": "their prompts", "reward": "the reward model, as `reward` makes it"}),
    "evaluate": Stage(evaluate, computes=True, needs={"data": "the items and prompts, as `prepare` makes them"},
                      takes={"model": "the model to measure", "answers": "its answers, as `generate` makes them",
                             "preferences": "held-out pairs", "reference": "the policy before dpo",
                             "people": "judgments of its answers beside another model's, as `label` makes them",
                             "against": "the other model's answers",
                             "reward": "the reward model to measure, as `reward` makes it",
                             "trained": "what it was trained on, as `prepare` makes it",
                             "trained_pairs": "the pairs it was tuned on, as `pair` makes them"}),
    "harness": Stage(harness, computes=True, needs={"model": "the model to measure"}),
    "audit": Stage(audit, takes={"answers": "the answers to read, as `generate` makes them", "data": "their prompts"}),
    "gate": Stage(gate, takes={MEASURED: "the measurements of one model by one instrument",
                               AUDITED: "what people said of one model's refusals, as `audit` makes it"}),
    "export": Stage(export, needs={"model": "the model to export"},
                    takes={"gate": "the verdict on it", "data": "its prompts", "preferences": "its preferences",
                           "base": "the model it began as", "sft": "the policy before dpo",
                           MEASURED: "the measurements of one model by one instrument"}),
    "ready": Stage(ready, takes={"data": "a result of `prepare`, whose test prompts stay held out"}),
}  # fmt: skip


READS = {"scorer": "model", "answers": "answers", "preferences": "preferences", "people": "people",
         "rewarder": "reward"}  # fmt: skip
"""The input in which an instrument finds what it cannot do without."""


@dataclass(frozen=True)
class Step:
    """One artifact to be made: a stage, its knobs, and the steps it reads, by the name it knows them under."""

    name: str
    stage: str
    config: Config
    inputs: Mapping[str, str]


def needed(stage: str, config: Config) -> dict[str, str]:
    """What a stage with these knobs cannot do without, and what each is."""
    known = STAGES[stage]
    names: set[str] = set()
    if isinstance(config, RewardConfig) and config.ready is not None:
        return {}
    if isinstance(config, ModelConfig) and config.scratch is not None:
        names = {"data"}
    elif isinstance(config, AuditConfig) and config.published is None:
        names = {"answers", "data"}
    elif isinstance(config, GenerateStep):
        names = {writer.model for writer in config.writers if writer.model is not None}
    elif isinstance(config, EvaluateStep):
        names = {READS[need] for need in instruments.instrument(config.instrument).needs if need in READS}
    return {**known.needs, **{name: what for name, what in known.takes.items() if name in names}}


def measured_models(recipe: Recipe) -> dict[str, str]:
    """The parts that models play in this recipe, and the step that makes each."""
    return {"base": "base", **({"sft": "sft"} if recipe.sft else {}), "tuned": recipe.method}


def policy(recipe: Recipe) -> str:
    return "sft" if recipe.sft else "base"


def preference_step(recipe: Recipe) -> str:
    data = recipe.data
    if recipe.pair.ready:
        return "pair"
    if data.preferences:
        return "prepare"
    if data.testbed or data.prompts or data.ready or recipe.generate.ready:
        return "pair"
    raise RecipeError(
        "dpo: there are no preferences; give data.preferences, pair.ready, or data.prompts to draw candidates for"
    )


def check_desk(recipe: Recipe, label: LabelConfig, where: str) -> None:
    if label.desk == "simulated" and recipe.data.testbed is None:
        raise RecipeError(f"{where}.desk: `simulated` annotators know the testbed's truth only; use desk: file")
    if label.desk == "file" and label.judgments is None:
        raise RecipeError(
            f"{where}.judgments: missing; `desk: file` needs the JSONL that people's judgments are written to"
        )
