"""The pipeline on one page: which steps a recipe asks for, and what each of them reads.

data files ─► prepare ─┬─ demonstrations ─► sft ─► policy₀ ─┬─► generate ─► label ─► pair ─► preferences
model ─► base ─────────┴────────────────────┘               │
policy₀ + preferences ─► dpo, or kto ─► tuned
policy₀ + preferences ─► reward;  policy₀ + reward + prompts ─► rlhf ─► tuned
base, policy₀, tuned ─► answers ─► evaluate ─► gate ─► export
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from align.configs import (
    AuditConfig,
    BenchmarkData,
    BenchmarkStep,
    BestOf,
    DataConfig,
    DataFile,
    EvaluateStep,
    GenerateConfig,
    GenerateStep,
    HarnessConfig,
    HarnessStep,
    LabelConfig,
    LabelStep,
    ModelConfig,
    Recipe,
    RelabelConfig,
    RewardConfig,
    SamplingConfig,
    SimulatedPeople,
)
from align.configs.base import Config
from align.errors import RecipeError
from align.evals import INSTRUMENTS, instruments, validation
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


BEST_OF_N = "best_of_n"
"""The part of the policy before tuning, its answers chosen by the reward model."""
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


def plan(recipe: Recipe) -> tuple[Step, ...]:
    """Every step, each after what it reads; RecipeError where an input cannot be met."""
    steps = (*_models_and_data(recipe), *_preferences(recipe), *_tuning(recipe), *_measurement(recipe))
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
    if _preference_step(recipe) != "pair":
        return
    if recipe.pair.ready:
        yield Step("pair", *_given_pairs(recipe, recipe.pair.ready), {"data": "prepare"})
        return
    if recipe.generate.ready:
        yield Step("generate", "ready", ready.Ready(path=recipe.generate.ready, holds="candidates"), {})
    else:
        asked = GenerateStep(**{k: v for k, v in recipe.generate if k in GenerateStep.model_fields})
        earlier = {str(writer.model): str(writer.model) for writer in asked.writers if writer.model is not None}
        yield Step("generate", "generate", asked, {"model": _policy(recipe), "data": "prepare", **earlier})
    told = {"candidates": "generate", "data": "prepare"}
    if recipe.label.ready:
        yield Step("label", "ready", ready.Ready(path=recipe.label.ready, holds="judgments"), {})
    else:
        _check_desk(recipe, recipe.label, "label")
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
    told = {"model": _policy(recipe), "data": _preference_step(recipe)}
    watches = recipe.rlhf.watch.by == "second_model" or (recipe.rlhf.watch.by == "auto" and not recipe.data.testbed)
    inputs = {"model": _policy(recipe), "data": "prepare"}
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
        told = {"model": _policy(recipe), "data": _preference_step(recipe), **kept}
        yield Step("kto", "kto", recipe.kto, told)
    elif recipe.dpo.ready:
        yield Step("dpo", "base", _given(recipe.dpo.ready), {})
    else:
        kept = {"kept": "prepare"} if _demonstrates(recipe.data) else {}
        told = {"model": _policy(recipe), "data": _preference_step(recipe), **kept}
        yield Step("dpo", "dpo", recipe.dpo, told)


def _measurement(recipe: Recipe) -> Iterator[Step]:
    models = {name: step for name, step in measured_models(recipe).items() if name in recipe.evaluate.models}
    chosen = recipe.evaluate.instruments
    _check_measures(recipe)
    answering = models if any("answers" in INSTRUMENTS[name].needs for name in chosen) else {}
    people = _people(recipe)
    if answering or people:
        drawn = drawn_for_any(recipe)
        for model, step in measured_models(recipe).items():
            if model in answering or model in people:
                yield Step(f"answers/{model}", "generate", drawn, {"model": step, "data": "prepare"})
    measured = []
    for model, step in models.items():
        sources = {"scorer": ("model", step), "answers": ("answers", f"answers/{model}"),
                   "preferences": ("preferences", _preference_step(recipe))}  # fmt: skip
        if model == "tuned":
            # the others came from no policy, and must not be measured again when it changes
            sources["reference"] = ("reference", _policy(recipe))
        for name in chosen:
            inputs = {"data": "prepare"} | dict(sources[need] for need in sources if need in INSTRUMENTS[name].needs)
            asked = EvaluateStep(instrument=name, model=model, max_items=recipe.evaluate.max_items)
            measured.append(Step(f"evaluate/{model}/{name}", "evaluate", asked, inputs))
    yield from measured
    if recipe.method == "rlhf" and recipe.rlhf.best_of:
        chosen_best = [*_best_of(recipe, drawn_for_any(recipe))]
        yield from chosen_best
        measured += [step for step in chosen_best if step.stage == "evaluate"]
    if people:
        judged = [*_judged_by_people(recipe, *people)]
        yield from judged
        measured += [step for step in judged if step.stage == "evaluate"]
    public = [*_benchmarks(recipe, {str(name): step for name, step in models.items()})]
    yield from public
    measured += [step for step in public if step.stage == "evaluate"]
    if recipe.evaluate.lm_eval is not None:
        foreign = list(harness_steps(recipe.evaluate.lm_eval, {str(name): step for name, step in models.items()}))
        yield from foreign
        measured += foreign
    read = {step.name: step.name for step in measured}
    audits = list(_audits(recipe, models))
    yield from audits
    yield Step("gate", "gate", recipe.gate, read | {step.name: step.name for step in audits})
    lineage = {"data": "prepare", "preferences": _preference_step(recipe), "base": "base"}
    if recipe.sft is not None:
        lineage["sft"] = "sft"
    yield Step("export", "export", recipe.export, {"model": recipe.method, "gate": "gate", **lineage, **read})


def _best_of(recipe: Recipe, drawn: GenerateStep) -> Iterator[Step]:
    """The baseline that needs no training: many answers of the policy before it, the reward model's favourite each."""
    if not any(term.model == "stage" for term in recipe.rlhf.models):
        raise RecipeError("rlhf.best_of: chooses by the recipe's reward model, which rlhf.rewards does not name")
    many = drawn.model_copy(update={"samples_per_prompt": recipe.rlhf.best_of})
    yield Step(f"answers/many/{_policy(recipe)}", "generate", many, {"model": _policy(recipe), "data": "prepare"})
    told = {"candidates": f"answers/many/{_policy(recipe)}", "data": "prepare", "reward": "reward"}
    yield Step(f"answers/{BEST_OF_N}", "best_of", BestOf(), told)
    for name in recipe.evaluate.instruments:
        needs = set(INSTRUMENTS[name].needs)
        if "answers" in needs and not needs & {"scorer", "preferences"}:
            asked = EvaluateStep(instrument=name, model=BEST_OF_N, max_items=recipe.evaluate.max_items)
            inputs = {"data": "prepare", "answers": f"answers/{BEST_OF_N}"}
            yield Step(f"evaluate/{BEST_OF_N}/{name}", "evaluate", asked, inputs)


def drawn_for_any(recipe: Recipe) -> GenerateStep:
    """How models answer the held-out prompts."""
    return GenerateStep(
        of="test_prompts", samples_per_prompt=recipe.evaluate.samples_per_prompt, **dict(recipe.evaluate.answers),
        **_engine_for_any_model(recipe.generate),
    )  # fmt: skip


def _people(recipe: Recipe) -> tuple[str, ...]:
    """The two models whose answers people are to compare; none where they are not asked."""
    asked = recipe.evaluate.people
    if asked is None:
        return ()
    pair = asked.model, asked.against or _policy(recipe)
    for model in pair:
        if model not in measured_models(recipe):
            raise RecipeError(f"evaluate.people: this recipe has no model `{model}`")
    if pair[0] == pair[1]:
        raise RecipeError(f"evaluate.people: {pair[0]} against itself; name another model")
    return pair


def _judged_by_people(recipe: Recipe, model: str, against: str) -> Iterator[Step]:
    """Both models' answers at the desk, and what people's judgments come to."""
    asked = recipe.evaluate.people
    assert asked is not None
    desk = asked.label or recipe.label
    _check_desk(recipe, desk, "evaluate.people.label" if asked.label else "label")
    if desk.desk == "file" and (desk.judgments == recipe.label.judgments or asked.label is None):
        raise RecipeError(
            "evaluate.people.label.judgments: missing; the models' answers are judged in a file of their own"
        )
    own: dict[str, object] = {}
    if asked.label is None:
        argilla = desk.argilla.model_copy(update={"dataset": f"{desk.argilla.dataset}-models"})
        own = {"gold": None, "repeat_share": 0.0, "argilla": argilla}
    step = LabelStep.of(desk, ready=None, asks="models", max_prompts=asked.prompts, **own)
    answers = {"answers": f"answers/{model}", "against": f"answers/{against}"}
    told = {"candidates": answers["answers"], "against": answers["against"], "data": "prepare"}
    yield Step("label/people", "label", step, told)
    yield Step(
        f"evaluate/{model}/people_win_rate",
        "evaluate",
        EvaluateStep(instrument="people_win_rate", model=model, against=against),
        {"people": "label/people", **answers, "data": "prepare"},
    )


def _check_desk(recipe: Recipe, label: LabelConfig, where: str) -> None:
    if label.desk == "simulated" and recipe.data.testbed is None:
        raise RecipeError(f"{where}.desk: `simulated` annotators know the testbed's truth only; use desk: file")
    if label.desk == "file" and label.judgments is None:
        raise RecipeError(
            f"{where}.judgments: missing; `desk: file` needs the JSONL that people's judgments are written to"
        )


def _benchmarks(recipe: Recipe, models: Mapping[str, str]) -> Iterator[Step]:
    """For each public benchmark its data, and for each model its answers and its measurements."""
    for name, where in recipe.evaluate.benchmarks.items():
        asked = models
        if "rewarder" in instruments.instrument(name).needs:
            if recipe.method != "rlhf" or not any(term.model == "stage" for term in recipe.rlhf.models):
                raise RecipeError(f"evaluate.benchmarks.{name}: measures a reward model, and this recipe makes none")
            asked = {"reward": "reward"}
        came_from = {"tuned": _policy(recipe)}
        for step in benchmark_steps(name, where, asked, recipe.evaluate.answers, came_from):
            yield _beside_its_training(step, recipe)


def _beside_its_training(step: Step, recipe: Recipe) -> Step:
    """A measurement of a model that was trained here also reads what it was trained on, to leave out what it saw."""
    model = step.name.split("/")[1]
    if step.stage != "evaluate" or (model == "base" and recipe.model.scratch is None):
        return step
    trained = {"trained": "prepare"}
    if model == "tuned" and _preference_step(recipe) != "prepare":
        trained["trained_pairs"] = _preference_step(recipe)
    return replace(step, inputs={**step.inputs, **trained})


def harness_steps(asked: HarnessConfig, models: Mapping[str, str]) -> Iterator[Step]:
    """The steps that measure `models` on what lm-eval has, one a model."""
    for model, step in models.items():
        yield Step(f"evaluate/{model}/lm_eval", "harness", HarnessStep(model=model, **dict(asked)), {"model": step})


def benchmark_steps(
    name: str,
    where: BenchmarkData,
    models: Mapping[str, str],
    answers: SamplingConfig,
    came_from: Mapping[str, str],
) -> Iterator[Step]:
    """The steps that measure `models` (by part, the step or input that holds each) on one public benchmark.

    `came_from` names, of those models that have one, the step that holds the model each was tuned from.
    """
    instrument = instruments.instrument(name)
    if instrument.published is None:
        raise RecipeError(f"evaluate.benchmarks: {name} reads no public data; name it in evaluate.instruments")
    if "judge" in instrument.needs and where.judge is None:
        raise RecipeError(
            f"evaluate.benchmarks.{name}: needs a served model; say under `judge` where it is served (urls and model)"
        )
    if instrument.template is not None and where.template is None:
        raise RecipeError(
            f"evaluate.benchmarks.{name}: needs a `template`: a file with the text that its classifier reads, which "
            f"stands on {instrument.template.published}"
        )
    data = f"benchmark/{name}"
    asked = {key: value for key, value in where if key in BenchmarkStep.model_fields}
    yield Step(data, "benchmark", BenchmarkStep(instrument=name, **asked), {})
    written = "answers" in instrument.needs
    drawn = dict(answers) | {"max_tokens": where.max_tokens or instrument.published.max_tokens}
    if instrument.temperature is not None:
        drawn |= {"temperature": instrument.temperature, "top_p": 1.0}
    for model, step in models.items():
        if instrument.compares and model not in came_from:
            continue
        inputs = {"data": data}
        if written:
            inputs["answers"] = f"answers/{model}/{name}"
            yield Step(
                inputs["answers"], "generate", GenerateStep(of="test_prompts", **drawn), {"model": step, "data": data}
            )
        if "scorer" in instrument.needs:
            inputs["model"] = step
        if "reference" in instrument.needs:
            inputs["reference"] = came_from[model]
        if "rewarder" in instrument.needs:
            inputs["reward"] = step
        asked_of = EvaluateStep(
            instrument=name, model=model, form=where.form, judge=where.judge, template=where.template
        )
        yield Step(f"evaluate/{model}/{name}", "evaluate", asked_of, inputs)


def _audits(recipe: Recipe, models: Collection[str]) -> Iterator[Step]:
    """One of each model whose refusals the gate asks about; none by the truth of a world that was not made."""
    asked = {line.model for line in recipe.gate.margins if validation.rule_of(line.metric)}
    own = [name for name in recipe.evaluate.instruments if validation.rule_of(name)]
    public = [name for name in recipe.evaluate.benchmarks if validation.rule_of(name)]
    for model in sorted(set(models) & (asked if recipe.gate.margins else {"tuned"})):
        if recipe.audit.published is not None:
            told: dict[str, str] | None = {}
        elif own and (recipe.audit.desk != "simulated" or recipe.data.testbed is not None):
            told = {"answers": f"answers/{model}", "data": "prepare"}
        elif public and recipe.audit.desk != "simulated":
            told = {"answers": f"answers/{model}/{public[0]}", "data": f"benchmark/{public[0]}"}
        else:
            told = None
        if told is not None and (own or public):
            yield Step(f"audit/{model}", "audit", recipe.audit, told)


def _engine_for_any_model(config: GenerateConfig) -> dict[str, Any]:
    """The recipe's engine where it can serve whichever model is measured; endpoints that run serve one of their own."""
    if config.engine == "server" and not config.server.launch:
        return {}
    return {"engine": config.engine, "server": config.server, "vllm": config.vllm, "preflight": config.preflight}


def measured_models(recipe: Recipe) -> dict[str, str]:
    """The parts that models play in this recipe, and the step that makes each."""
    return {"base": "base", **({"sft": "sft"} if recipe.sft else {}), "tuned": recipe.method}


def _policy(recipe: Recipe) -> str:
    return "sft" if recipe.sft else "base"


def _preference_step(recipe: Recipe) -> str:
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


def _check_measures(recipe: Recipe) -> None:
    for name in recipe.evaluate.instruments:
        if "people" in instruments.instrument(name).needs:
            raise RecipeError(f"evaluate.instruments: `{name}` needs people; say who judges in evaluate.people")
        if instruments.instrument(name).published is not None:
            raise RecipeError(
                f"evaluate.instruments: `{name}` reads public data; say where they lie in evaluate.benchmarks"
            )
        needs = instruments.instrument(name).needs
        if {"testbed", "items"} & set(needs) and not (recipe.data.testbed or recipe.data.ready):
            raise RecipeError(f"evaluate.instruments: `{name}` reads the testbed's truth, and there is no data.testbed")
    for margin in recipe.gate.margins:
        instruments.metric(margin.metric)
        source = instruments.made_from(margin.metric)
        asked = ("people_win_rate",) if recipe.evaluate.people else ()
        foreign = ("lm_eval",) if recipe.evaluate.lm_eval else ()
        if source not in (*recipe.evaluate.instruments, *recipe.evaluate.benchmarks, *asked, *foreign):
            raise RecipeError(
                f"gate.margins: {margin.metric} needs `{source}` among evaluate.instruments or benchmarks"
            )
        if margin.opponent == "previous" and not recipe.gate.previous:
            raise RecipeError(f"gate.margins: {margin.metric}: against `previous`, and gate.previous names no release")
        for model in (margin.model, margin.opponent):
            if model not in (None, "previous") and model not in measured_models(recipe):
                raise RecipeError(f"gate.margins: {margin.metric}: this recipe has no model `{model}`")
