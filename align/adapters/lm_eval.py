"""lm-eval's tasks, asked of our own scorer and sampler, and scored so that what is broken cannot look good.

The harness makes the questions and knows its tasks' metrics; the model is ours, in the chat template and with the
adapter that it was trained with. Three things the harness does are undone: an argmax over NaN, a tie that counts as its
first option, and an item that is missing from its results.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lm_eval.api.model import LM
from lm_eval.evaluator import evaluate
from lm_eval.tasks import TaskManager

from align.configs import HarnessStep, SamplingConfig
from align.errors import BackendError, RecipeError
from align.ports import HarnessScore, Renderer, Sampler, SampleRequest, Scorer, ScoreRequest, Unanswered
from align.records import Message, Source

SEED = 1234
"""The harness's own default for the examples shown before a question."""
EMPTY = "the answer is empty"
NOT_FINITE = "a log-probability is not finite"
NO_RESULT = "the harness gave no result for it"
LENGTHS: Mapping[str, Callable[[str], float]] = {
    "acc": lambda choice: 1.0,
    "acc_norm": lambda choice: float(len(choice)),
    "acc_bytes": lambda choice: float(len(choice.encode("utf-8"))),
}
"""What a choice's log-probability is divided by, for each way of finding the likeliest."""


class NotAsked:
    """Whether a continuation is the greedy one: nobody looked, and whoever asks is told."""

    def __bool__(self) -> bool:
        raise BackendError("this lm-eval task asks which text is the greedy one, and our scorer does not tell")

    def __int__(self) -> int:
        return 0  # the harness makes a number of it whether a metric wants it or not; see `_refuse`


class Model(LM):  # type: ignore[misc]
    """Our scorer and sampler as the harness knows models."""

    tokenizer_name = "align"

    def __init__(
        self, scorer: Callable[[], Scorer], sampler: Callable[[], Sampler], renderer: Renderer, max_tokens: int
    ):
        super().__init__()
        self._scorer, self._sampler, self._renderer, self._max_tokens = scorer, sampler, renderer, max_tokens
        self._said: dict[str, tuple[Message, ...]] = {}

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """The conversation as the model reads it; what is asked after this very text is asked of the conversation."""
        messages = tuple(Message.model_validate({k: turn[k] for k in ("role", "content")}) for turn in chat_history)
        if not add_generation_prompt:
            raise BackendError("this lm-eval task begins the model's answer for it, which our chat form cannot do")
        text = self._renderer.render(messages, add_generation_prompt=True)
        self._said[text] = messages
        return text

    def chat_template(self, chat_template: bool | str = False) -> str:
        """A name is enough: the template is the model's own."""
        return "the model's own"

    def loglikelihood(self, requests: list[Any], **_: Any) -> list[tuple[float, NotAsked]]:
        """Nats of each continuation; in chat form of the whole answer, its end of turn included."""
        asked = [ScoreRequest(self._said.get(one.args[0], one.args[0]), one.args[1]) for one in requests]
        return [(score.logp, NotAsked()) for score in self._scorer().score(asked)]

    def loglikelihood_rolling(self, requests: list[Any], **_: Any) -> list[float]:
        """Nats of each whole text."""
        return [score.logp for score in self._scorer().score([ScoreRequest("", one.args[0]) for one in requests])]

    def generate_until(self, requests: list[Any], **_: Any) -> list[str]:
        """Each request's answer in chat form, cut at the first of the texts that end it."""
        found: list[str] = [""] * len(requests)
        for (temperature, length), places in _by_settings(requests, self._max_tokens).items():
            settings = SamplingConfig(temperature=temperature, max_tokens=length)
            asked = [SampleRequest(str(i), self._conversation(requests[i].args[0]), (SEED + i,)) for i in places]
            for name, samples in self._sampler().sample(asked, settings):
                # what got no answer stays empty, and an empty answer has no score
                text = "" if isinstance(samples, Unanswered) else samples[0].text
                found[int(name)] = cut(text, _until(requests[int(name)]))
        return found

    def _conversation(self, context: str) -> tuple[Message, ...]:
        return self._said.get(context) or (Message(role="user", content=context),)


class Harness:
    """`align.ports.Harness` by lm-eval."""

    def scores(
        self, asked: HarnessStep, scorer: Callable[[], Scorer], sampler: Callable[[], Sampler], renderer: Renderer
    ) -> Iterator[HarnessScore]:
        """A row for each item and metric of each task; RecipeError where there is no such task."""
        logging.getLogger("lm_eval").setLevel(logging.ERROR)
        tasks = load(asked)
        model = Model(scorer, sampler, renderer, asked.max_tokens)
        chat = asked.form == "chat"
        told = evaluate(
            lm=model,
            task_dict={"tasks": tasks, "groups": {}, "group_map": {}},
            limit=asked.max_items,
            bootstrap_iters=0,
            log_samples=True,
            apply_chat_template=chat,
            fewshot_as_multiturn=chat,
        )
        for name, task in tasks.items():
            docs = len(task.eval_docs)
            wanted = docs if asked.max_items is None else min(docs, asked.max_items)
            yield from rows(name, task, told["samples"].get(name, []), wanted)

    def sources(self, asked: HarnessStep) -> list[Source]:
        """Each task with its version and the harness's."""
        return [
            Source(name=f"lm-eval task {name}", revision=f"version {task.VERSION}, lm-eval {version('lm-eval')}")
            for name, task in load(asked).items()
        ]


def load(asked: HarnessStep) -> dict[str, Any]:
    """The tasks by name, as the harness's own entry sets them up."""
    folder = None if asked.folder is None else str(Path(asked.folder))
    manager = TaskManager(include_path=folder, include_defaults=not asked.only_folder)
    try:
        tasks: dict[str, Any] = manager.load(list(asked.tasks))["tasks"]
    except (KeyError, ValueError) as error:
        near = [name for name in manager.all_tasks if name in asked.tasks]
        raise RecipeError(f"lm_eval.tasks: {', '.join(asked.tasks)}: {_line(error)}; known of these: {near}") from error
    except (OSError, ConnectionError) as error:
        raise BackendError(f"lm_eval: the data of {', '.join(asked.tasks)} cannot be had: {_line(error)}") from error
    for name, task in tasks.items():
        _refuse(name, task)
        shots = asked.examples if asked.examples is not None else task.get_config("num_fewshot") or 0
        task.set_config(key="num_fewshot", value=shots)
        task.set_fewshot_seed(seed=SEED)
    return tasks


def rows(name: str, task: Any, samples: Sequence[Mapping[str, Any]], wanted: int) -> Iterator[HarnessScore]:
    """What the harness said of one task, item by item, with what it must not be believed about put right."""
    higher = task.higher_is_better()
    filters = {str(sample["filter"]) for sample in samples}
    seen: dict[str, set[int]] = {}
    for sample in samples:
        why = _broken(task, sample)
        for metric in sample["metrics"]:
            value = number(sample[metric])
            if value is None:
                continue  # a part of a figure over the whole set: no number of this item
            full = f"{name}.{metric}" + (f".{sample['filter']}" if len(filters) > 1 else "")
            seen.setdefault(full, set()).add(int(sample["doc_id"]))
            tied = None if why else shared(task, sample, metric)
            yield HarnessScore(
                metric=full,
                better="higher" if higher.get(metric, True) else "lower",
                item_id=f"{name} {sample['doc_hash'][:32]} {sample['doc_id']}",
                value=None if why else value if tied is None else tied,
                because=why,
                said=hashlib.sha256(repr(sample["resps"]).encode("utf-8", "surrogatepass")).hexdigest(),
            )
    for full, done in seen.items():
        for missing in sorted(set(range(wanted)) - done):
            yield HarnessScore(full, "higher", f"{name} missing {missing}", None, NO_RESULT)
    if not seen:
        raise RecipeError(f"lm_eval.tasks: {name}: none of its metrics is a mean over items, so none has an interval")


def number(value: Any) -> float | None:
    """A number of one item, NumPy's and yes or no included; None for anything else."""
    if hasattr(value, "item") and getattr(value, "size", 1) == 1:
        value = value.item()
    return float(value) if isinstance(value, (bool, int, float)) else None


def shared(task: Any, sample: Mapping[str, Any], metric: str) -> float | None:
    """What a tie for the likeliest choice is worth: its share of the right ones; None where there is no tie."""
    if task.OUTPUT_TYPE != "multiple_choice" or metric not in LENGTHS:
        return None
    choices = task.doc_to_choice(sample["doc"])
    logps = [float(said[0]) for said in sample["filtered_resps"]][: len(choices)]
    if len(logps) != len(choices):
        return None
    values = [logp / LENGTHS[metric](choice) for logp, choice in zip(logps, choices, strict=True)]
    best = [i for i, value in enumerate(values) if value == max(values)]
    if len(best) < 2:
        return None
    target = sample["target"]
    gold = [choices.index(one) if isinstance(one, str) else int(one) for one in _listed(target)]
    return sum(i in gold for i in best) / len(best)


def cut(text: str, until: Sequence[str]) -> str:
    """The text before the first of these."""
    places = [text.find(end) for end in until if end and end in text]
    return text[: min(places)] if places else text


def _broken(task: Any, sample: Mapping[str, Any]) -> str | None:
    said = [one for resps in sample["resps"] for one in resps]
    if task.OUTPUT_TYPE == "generate_until":
        return EMPTY if not all(str(one).strip() for one in said) else None
    numbers = [one[0] if isinstance(one, (tuple, list)) else one for one in said]
    return None if all(math.isfinite(float(number)) for number in numbers) else NOT_FINITE


def _refuse(name: str, task: Any) -> None:
    metrics = set(getattr(task, "_metric_fn_list", {}))
    asks_greedy = {"loglikelihood": {"acc"}, "multiple_choice": {"exact_match"}}.get(task.OUTPUT_TYPE, set())
    if metrics & asks_greedy:
        raise RecipeError(
            f"lm_eval.tasks: {name}: its {', '.join(sorted(metrics & asks_greedy))} asks which text is the greedy one, "
            "and our scorer gives log-probabilities alone; choose another task"
        )
    if getattr(task, "UNSAFE_CODE", False):
        raise RecipeError(f"lm_eval.tasks: {name}: runs code that the model wrote; that is not done here")


def _by_settings(requests: list[Any], most: int) -> dict[tuple[float, int], list[int]]:
    """The requests' places by temperature and longest answer."""
    groups: dict[tuple[float, int], list[int]] = {}
    for i, one in enumerate(requests):
        asked = one.args[1]
        drawn = bool(asked.get("do_sample", False)) and float(asked.get("temperature") or 0) > 0
        temperature = float(asked["temperature"]) if drawn else 0.0
        groups.setdefault((temperature, min(int(asked.get("max_gen_toks", most)), most)), []).append(i)
    return groups


def _until(request: Any) -> list[str]:
    return _listed(request.args[1].get("until") or [])


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).strip().splitlines()[0][:200]
