"""Stage `rlhf`: the policy learns from what its own answers are worth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path

from align.configs import RLHFConfig, Term
from align.errors import RecipeError, RecordError
from align.evals import rules
from align.ports import Inputs, Mark, Rewarder, Tools
from align.records import Message, Prompt
from align.stages.grading import Rater
from align.store import jsonl
from align.testbed.truth import KINDS, assess

VERSION = 7


def run(config: RLHFConfig, inputs: Inputs, out: Path, tools: Tools) -> None:
    """Tune `model` on the prompts of `data`; `reward` is the recipe's reward model, `watch` a second one."""
    folder = inputs["data"].path
    if not (folder / "prompts.jsonl").exists():
        raise RecordError("data.prompts: stage `rlhf` answers prompts, and there are none")
    prompts = list(jsonl.read(folder / "prompts.jsonl", Prompt))
    refuse_overlap(prompts, folder / "test_prompts.jsonl")
    stage = inputs["reward"].path / "model" if "reward" in inputs else None
    marks = [mark(term, stage, tools) for term in config.rewards]
    cost = mark(config.cost.cost, stage, tools) if config.cost is not None else None
    held_out = judge(config, inputs, prompts, tools)
    model = inputs["model"].path / "model"
    tools.trainer.rlhf(config, model, prompts, marks, out, tools, cost=cost, held_out=held_out)


def refuse_overlap(prompts: Sequence[Prompt], test_prompts: Path) -> None:
    """A policy must not learn on what it will be measured on."""
    if not test_prompts.exists():
        return
    measured = {said(prompt) for prompt in jsonl.read(test_prompts, Prompt)}
    both = [prompt for prompt in prompts if said(prompt) in measured]
    if both:
        raise RecordError(
            f"rlhf: {len(both)} of {len(prompts)} prompts also stand among the test prompts (the first: "
            f"{both[0].source or both[0].id[:12]}), so what is measured would be trained on; take them out"
        )


def said(prompt: Prompt) -> tuple[tuple[str, str], ...]:
    """A conversation, white space and case aside."""
    return tuple((m.role, " ".join(m.content.lower().split())) for m in prompt.messages)


def mark(term: Term, stage: Path | None, tools: Tools) -> Mark:
    """A term of the recipe as something that scores answers."""
    return Mark(term.label, scorer(term, stage, tools), term.weight, term.clip, may_rest=term.rule is not None)


def scorer(
    term: Term, stage: Path | None, tools: Tools
) -> Callable[[Sequence[Prompt], Sequence[str]], Sequence[float]]:
    """What a term asks."""
    if term.model is not None:
        folder = stage if term.model == "stage" else Path(term.model)
        if folder is None:
            raise RecipeError("rlhf.rewards: `model: stage` needs the recipe's reward model (--in reward=…)")
        inner = folder / "model"
        rewarder = tools.rewarder(inner if (inner / "config.json").exists() else folder)
        return partial(by_model, rewarder)
    if term.hub is not None:
        return partial(by_model, tools.rewarder(f"{term.hub}@{term.revision}"))
    if term.url is not None:
        return partial(by_model, tools.rewarder(term.url))
    if term.judge is not None:
        return Rater(term.judge, tools)
    if term.function is not None:
        return partial(by_function, imported(term.function), term.function)
    if term.rule == "length":
        return rules.length(term.words)
    if term.rule == "format":
        assert term.pattern is not None
        return rules.form(term.pattern)
    return rules.refusal()


def by_model(rewarder: Rewarder, prompts: Sequence[Prompt], answers: Sequence[str]) -> list[float]:
    """Through messages, so that the reward model reads them by its own template."""
    return list(
        rewarder.reward(
            [(*p.messages, Message(role="assistant", content=a)) for p, a in zip(prompts, answers, strict=True)]
        )
    )


def by_function(
    function: Callable[[list[dict[str, str]], str], float], name: str, prompts: Sequence[Prompt], answers: Sequence[str]
) -> list[float]:
    """Answer by answer; RecipeError where the function fails."""
    found = []
    for prompt, answer in zip(prompts, answers, strict=True):
        messages = [{"role": m.role, "content": m.content} for m in prompt.messages]
        try:
            found.append(float(function(messages, answer)))
        except Exception as error:
            raise RecipeError(
                f"rlhf.rewards: {name} failed on prompt {prompt.id[:12]}: {type(error).__name__}: {error}"
            ) from error
    return found


def imported(name: str) -> Callable[[list[dict[str, str]], str], float]:
    """The function of that name."""
    module, _, attribute = name.partition(":")
    found = getattr(import_module(module), attribute, None)
    if not callable(found):
        raise RecipeError(f"rlhf.rewards: {module} has no function {attribute}")
    return found  # type: ignore[no-any-return]


def judge(config: RLHFConfig, inputs: Inputs, prompts: Sequence[Prompt], tools: Tools) -> Mark | None:
    """Who watches: the testbed's truth, a second reward model, or nobody, which is said."""
    by, truth = config.watch.by, all(prompt.meta.get("kind") in KINDS for prompt in prompts)
    if by == "testbed" and not truth:
        raise RecipeError("rlhf.watch.by: `testbed` knows the testbed's prompts alone; use second_model")
    if by == "testbed" or (by == "auto" and truth):
        return Mark("truth", lambda some, answers: [assess(p, a).utility for p, a in zip(some, answers, strict=True)])
    if "watch" in inputs:
        return Mark("second_model", partial(by_model, tools.rewarder(inputs["watch"].path / "model")))
    if by == "second_model":
        raise RecipeError("rlhf.watch.by: `second_model` needs a second reward model (--in watch=…)")
    tools.note("nobody judges the held-out reward (rlhf.watch.by), so over-optimisation would not be seen")
    return None
