"""The steps that measure: answers, instruments, people, public benchmarks, audits, the gate, and the export."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any

from align.configs import (
    BenchmarkData,
    BenchmarkStep,
    BestOf,
    EvaluateStep,
    GenerateConfig,
    GenerateStep,
    HarnessConfig,
    HarnessStep,
    LabelStep,
    Recipe,
    SamplingConfig,
)
from align.errors import RecipeError
from align.evals import INSTRUMENTS, instruments, validation
from align.plan.steps import Step, check_desk, measured_models, policy, preference_step

BEST_OF_N = "best_of_n"
"""The part of the policy before tuning, its answers chosen by the reward model."""


def measurement(recipe: Recipe) -> Iterator[Step]:
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
                   "preferences": ("preferences", preference_step(recipe))}  # fmt: skip
        if model == "tuned":
            # the others came from no policy, and must not be measured again when it changes
            sources["reference"] = ("reference", policy(recipe))
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
    lineage = {"data": "prepare", "preferences": preference_step(recipe), "base": "base"}
    if recipe.sft is not None:
        lineage["sft"] = "sft"
    yield Step("export", "export", recipe.export, {"model": recipe.method, "gate": "gate", **lineage, **read})


def _best_of(recipe: Recipe, drawn: GenerateStep) -> Iterator[Step]:
    """The baseline that needs no training: many answers of the policy before it, the reward model's favourite each."""
    if not any(term.model == "stage" for term in recipe.rlhf.models):
        raise RecipeError("rlhf.best_of: chooses by the recipe's reward model, which rlhf.rewards does not name")
    many = drawn.model_copy(update={"samples_per_prompt": recipe.rlhf.best_of})
    yield Step(f"answers/many/{policy(recipe)}", "generate", many, {"model": policy(recipe), "data": "prepare"})
    told = {"candidates": f"answers/many/{policy(recipe)}", "data": "prepare", "reward": "reward"}
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
    pair = asked.model, asked.against or policy(recipe)
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
    check_desk(recipe, desk, "evaluate.people.label" if asked.label else "label")
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


def _benchmarks(recipe: Recipe, models: Mapping[str, str]) -> Iterator[Step]:
    """For each public benchmark its data, and for each model its answers and its measurements."""
    for name, where in recipe.evaluate.benchmarks.items():
        asked = models
        if "rewarder" in instruments.instrument(name).needs:
            if recipe.method != "rlhf" or not any(term.model == "stage" for term in recipe.rlhf.models):
                raise RecipeError(f"evaluate.benchmarks.{name}: measures a reward model, and this recipe makes none")
            asked = {"reward": "reward"}
        came_from = {"tuned": policy(recipe)}
        for step in benchmark_steps(name, where, asked, recipe.evaluate.answers, came_from):
            yield _beside_its_training(step, recipe)


def _beside_its_training(step: Step, recipe: Recipe) -> Step:
    """A measurement of a model that was trained here also reads what it was trained on, to leave out what it saw."""
    model = step.name.split("/")[1]
    if step.stage != "evaluate" or (model == "base" and recipe.model.scratch is None):
        return step
    trained = {"trained": "prepare"}
    if model == "tuned" and preference_step(recipe) != "prepare":
        trained["trained_pairs"] = preference_step(recipe)
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
