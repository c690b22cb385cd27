"""The pipeline on one page: which steps a recipe asks for, and what each of them reads.

data files ─► prepare ─┬─ demonstrations ─► sft ─► policy₀ ─┬─► generate ─► label ─► pair ─► preferences
model ─► base ─────────┴────────────────────┘               │
policy₀ + preferences ─► dpo, or kto ─► tuned
policy₀ + preferences ─► reward;  policy₀ + reward + prompts ─► rlhf ─► tuned
base, policy₀, tuned ─► answers ─► evaluate ─► gate ─► export
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from align.configs import (
    DataConfig,
    DataFile,
    GenerateStep,
    LabelConfig,
    LabelStep,
    ModelConfig,
    Recipe,
    RelabelConfig,
    RewardConfig,
    SimulatedPeople,
)
from align.configs.base import Config
from align.errors import RecipeError
from align.plan.measurement import benchmark_steps, drawn_for_any, harness_steps, measurement
from align.plan.steps import (
    AUDITED,
    MEASURED,
    STAGES,
    Stage,
    Step,
    check_desk,
    measured_models,
    needed,
    policy,
    preference_step,
)
from align.stages import (
    ready,
)

__all__ = [
    "AUDITED",
    "MEASURED",
    "STAGES",
    "Stage",
    "Step",
    "benchmark_steps",
    "drawn_for_any",
    "harness_steps",
    "measured_models",
    "needed",
    "plan",
]


def plan(recipe: Recipe) -> tuple[Step, ...]:
    """Every step, each after what it reads; RecipeError where an input cannot be met."""
    steps = (*_models_and_data(recipe), *_preferences(recipe), *_tuning(recipe), *measurement(recipe))
    known: set[str] = set()
    for step in steps:
        for name in step.inputs.values():
            if name not in known:
                raise RecipeError(f"{step.name}: needs `{name}`, which this recipe does not make")
        known.add(step.name)
    return steps


def _models_and_data(recipe: Recipe) -> Iterator[Step]:
    data = recipe.data
    if data.ready:
        yield Step("prepare", "ready", ready.Ready(path=data.ready, holds="data", split_by=data.split_by), {})
    else:
        yield Step("prepare", "prepare", data, {})
    if recipe.model.served is not None:
        raise RecipeError("model.served: a served model cannot be tuned; measure it by `align evaluate URL#NAME`")
    scratch = recipe.model.scratch is not None
    if scratch and not (data.testbed or data.text or data.ready):
        raise RecipeError("model.scratch: there is no text to pretrain on; give data.text, or data.testbed")
    yield Step("base", "base", recipe.model, {"data": "prepare"} if scratch else {})
    if recipe.sft is None:
        return
    if recipe.sft.ready:
        yield Step("sft", "base", _given(recipe.sft.ready), {})
    elif _demonstrates(data):
        yield Step("sft", "sft", recipe.sft, {"model": "base", "data": "prepare"})
    else:
        raise RecipeError("sft: there are no demonstrations; give data.demonstrations, or leave `sft` out")


def _demonstrates(data: DataConfig) -> bool:
    return bool(data.testbed or data.demonstrations or data.ready)


def _given(ready: str) -> ModelConfig:
    """A ready model: a model folder, or an artifact that holds one."""
    inner = Path(ready) / "model"
    return ModelConfig(folder=str(inner) if (inner / "config.json").exists() else ready)


def _preferences(recipe: Recipe) -> Iterator[Step]:
    if preference_step(recipe) != "pair":
        return
    if recipe.pair.ready:
        yield Step("pair", *_given_pairs(recipe, recipe.pair.ready), {"data": "prepare"})
        return
    if recipe.generate.ready:
        yield Step("generate", "ready", ready.Ready(path=recipe.generate.ready, holds="candidates"), {})
    else:
        asked = GenerateStep(**{k: v for k, v in recipe.generate if k in GenerateStep.model_fields})
        earlier = {str(writer.model): str(writer.model) for writer in asked.writers if writer.model is not None}
        yield Step("generate", "generate", asked, {"model": policy(recipe), "data": "prepare", **earlier})
    told = {"candidates": "generate", "data": "prepare"}
    if recipe.label.ready:
        yield Step("label", "ready", ready.Ready(path=recipe.label.ready, holds="judgments"), {})
    else:
        check_desk(recipe, recipe.label, "label")
        yield Step("label", "label", LabelStep.of(recipe.label), told)
    read = {"label": "label", **told}
    if recipe.label.judge is not None and recipe.label.desk != "judge":
        # it judges while people do, and keeps nobody waiting
        # what concerns people alone is left out, so that it asks the judge nothing again
        own = {"judgments": None, "repeat_share": 0.0, "annotators_per_comparison": 1, "people": SimulatedPeople()}
        beside = LabelStep.of(recipe.label, ready=None, desk="judge", gold=None, relabel=None, **own)
        yield Step("label/judge", "label", beside, told)
        read["judge"] = "label/judge"
    if recipe.label.relabel is not None:
        yield Step("label/again", "label", _once_more(recipe.label, recipe.label.relabel), {"label": "label", **told})
        read["again"] = "label/again"
    yield Step("pair", "pair", recipe.pair, read)


def _once_more(label: LabelConfig, again: RelabelConfig) -> LabelStep:
    """The second judgments of some pairs, at the same desk but in a place of their own."""
    if label.desk == "file" and (again.judgments is None or again.judgments == label.judgments):
        raise RecipeError("label.relabel.judgments: missing; second judgments go to a file of their own")
    argilla = label.argilla.model_copy(update={"dataset": f"{label.argilla.dataset}-again"})
    own = {"judgments": again.judgments, "argilla": argilla, "share": again.share, "at_least": again.at_least}
    return LabelStep.of(label, ready=None, relabel=None, gold=None, repeat_share=0.0, asks="again", **own)


def _given_pairs(recipe: Recipe, path: str) -> tuple[str, Config]:
    """Ready pairs: an artifact that holds preferences, or a file of rows such as `data.preferences` takes."""
    by = recipe.data.split_by
    if Path(path).is_dir():
        return "ready", ready.Ready(path=path, holds="preferences", split_by=by)
    share = recipe.pair.test_share
    return "prepare", DataConfig(preferences=(DataFile(path=path),), test_share=share, split_by=by)


def _rewarded(recipe: Recipe) -> Iterator[Step]:
    """The reward model, another that watches where nobody else can, and the policy that learns from the first."""
    told = {"model": policy(recipe), "data": preference_step(recipe)}
    watches = recipe.rlhf.watch.by == "second_model" or (recipe.rlhf.watch.by == "auto" and not recipe.data.testbed)
    inputs = {"model": policy(recipe), "data": "prepare"}
    if recipe.data.preferences and not recipe.data.prompts:
        raise RecipeError("method: rlhf answers prompts; give data.prompts")
    if any(term.model == "stage" for term in recipe.rlhf.models):
        inputs["reward"] = "reward"
        if recipe.reward.ready:
            yield Step("reward", "reward", RewardConfig(ready=recipe.reward.ready), {})
        else:
            own = recipe.reward.model_copy(update={"part": "first"}) if watches else recipe.reward
            yield Step("reward", "reward", own, told)
    if watches:
        inputs["watch"] = "watch"
        yield Step("watch", "reward", recipe.reward.model_copy(update={"part": "second", "ready": None}), told)
    yield Step("rlhf", "rlhf", recipe.rlhf, inputs)


def _tuning(recipe: Recipe) -> Iterator[Step]:
    if recipe.method == "rlhf":
        yield from _rewarded(recipe)
    elif recipe.method == "kto":
        kept = {"kept": "prepare"} if _demonstrates(recipe.data) else {}
        told = {"model": policy(recipe), "data": preference_step(recipe), **kept}
        yield Step("kto", "kto", recipe.kto, told)
    elif recipe.dpo.ready:
        yield Step("dpo", "base", _given(recipe.dpo.ready), {})
    else:
        kept = {"kept": "prepare"} if _demonstrates(recipe.data) else {}
        told = {"model": policy(recipe), "data": preference_step(recipe), **kept}
        yield Step("dpo", "dpo", recipe.dpo, told)
