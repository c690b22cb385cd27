"""lm-eval's tasks through our scorer and sampler: real tasks of one's own, a real model, and what must not pass."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from align.adapters.lm_eval import Harness, Model, cut
from align.adapters.transformers import TransformersRenderer, TransformersSampler, TransformersScorer
from align.configs import HarnessStep, RuntimeConfig, SamplingConfig
from align.errors import RecipeError
from align.ports import HarnessScore, Sample, SampleRequest, Score, ScoreRequest
from align.records import ItemScore, Measurement
from align.stages import harness
from align.store import jsonl
from tests.models.conftest import folder
from tests.workshop import TestTools, artifact

__all__ = ["folder"]

RUNTIME = RuntimeConfig(device="cpu", dtype="float32", threads=1)
CHOICES = ["Paris", "Rome", "a village by the sea"]
CHOOSE = """\
task: choose
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "Where does {{{{who}}}} live?"
doc_to_choice: choices
doc_to_target: gold
metric_list: [{{metric: acc, higher_is_better: true}}, {{metric: acc_norm, higher_is_better: true}}]
metadata: {{version: 3}}
"""
WRITE = """\
task: write
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: generate_until
doc_to_text: "Where does {{{{who}}}} live?"
doc_to_target: "{{{{choices[gold]}}}}"
generation_kwargs: {{until: ["."], max_gen_toks: 8}}
metric_list: [{{metric: exact_match, higher_is_better: true}}]
metadata: {{version: 1}}
"""
GREEDY = """\
task: greedy
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: loglikelihood
doc_to_text: "{{{{who}}}} lives in"
doc_to_target: " {{{{choices[gold]}}}}"
metric_list: [{{metric: acc, higher_is_better: true}}]
"""


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("tasks")
    data = place / "who.jsonl"
    rows = [{"who": f"Person {i}", "choices": CHOICES, "gold": i % 3} for i in range(30)]
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name, text in (("choose", CHOOSE), ("write", WRITE), ("greedy", GREEDY)):
        (place / f"{name}.yaml").write_text(text.format(data=data))
    return place


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


def step(tasks: Path, *names: str, **knobs: object) -> HarnessStep:
    return HarnessStep.model_validate({"tasks": names, "folder": str(tasks), "only_folder": True, **knobs})


class Made:
    """A scorer and a sampler that say what a test wants, and keep what they were asked."""

    def __init__(self, logp: Callable[[ScoreRequest], float], answer: str = "") -> None:
        self.logp, self.answer = logp, answer
        self.scored: list[ScoreRequest] = []
        self.sampled: list[SampleRequest] = []

    def score(self, requests: Sequence[ScoreRequest]) -> Iterator[Score]:
        self.scored += requests
        return (Score(self.logp(request), 1) for request in requests)

    def sample(self, requests: Sequence[SampleRequest], settings: SamplingConfig) -> Iterator[tuple[str, list[Sample]]]:
        self.sampled += requests
        return ((request.prompt_id, [Sample(self.answer, 1, "stop")]) for request in requests)

    def close(self) -> None: ...


def told(made: Made, asked: HarnessStep, folder: Path) -> list[HarnessScore]:
    return list(Harness().scores(asked, lambda: made, lambda: made, TransformersRenderer(folder, RUNTIME)))


def mean(found: list[HarnessScore], metric: str) -> float:
    values = [one.value for one in found if one.metric == metric]
    assert values
    assert None not in values
    return sum(v for v in values if v is not None) / len(values)


def test_a_task_of_ones_own_is_measured_with_a_real_model_and_its_numbers_are_its_own(
    tasks: Path, folder: Path, tmp_path: Path
) -> None:
    """The stage, with the scorer and sampler that the runner gives: the accuracy is that of scoring by hand."""
    scorer = TransformersScorer(folder, RUNTIME)
    tools = TestTools(
        tmp_path / "work",
        scorer=scorer,
        sampler=TransformersSampler(folder, RUNTIME),
        renderer=TransformersRenderer(folder, RUNTIME),
        harness=Harness(),
    )
    model = tmp_path / "model"
    model.mkdir()
    out = tmp_path / "out"
    out.mkdir()
    harness.run(step(tasks, "choose", "write", form="plain"), {"model": artifact(model)}, out, tools)
    found = {m.metric: m for m in jsonl.read(out / "measurements.jsonl", Measurement)}
    assert set(found) == {"choose.acc", "choose.acc_norm", "write.exact_match"}
    right = 0
    for i in range(30):
        requests = [ScoreRequest(f"Where does Person {i} live?", f" {choice}") for choice in CHOICES]
        logps = [score.logp for score in scorer.score(requests)]
        right += logps.index(max(logps)) == i % 3
    assert found["choose.acc"].value == pytest.approx(right / 30)
    assert found["choose.acc"].n == 30
    assert found["choose.acc"].low is not None
    assert any("lm-eval" in str(source.revision) for source in found["choose.acc"].sources)
    rows = list(jsonl.read(out / "scores.jsonl", ItemScore))
    assert {row.instrument for row in rows} == {"lm_eval"}


def test_in_chat_form_the_conversation_is_asked_and_not_its_text(tasks: Path, folder: Path) -> None:
    made = Made(lambda _: -1.0)
    told(made, step(tasks, "choose", form="chat"), folder)
    contexts = {request.context for request in made.scored}
    assert len(contexts) == 30
    (message,) = next(context for context in contexts if not isinstance(context, str))
    assert (message.role, message.content[:18]) == ("user", "Where does Person ")
    assert all(not isinstance(context, str) for context in contexts)


def test_answers_are_drawn_in_the_chat_template_and_cut_where_the_task_says(tasks: Path, folder: Path) -> None:
    made = Made(lambda _: 0.0, answer="Paris. And more")
    found = told(made, step(tasks, "write"), folder)
    assert mean(found, "write.exact_match") == pytest.approx(1 / 3)
    assert {request.messages[-1].role for request in made.sampled} == {"user"}
    assert cut("a.b;c", [";", "."]) == "a"


@pytest.mark.parametrize("broken", [math.nan, -math.inf])
def test_a_model_of_nan_has_no_score_where_the_harness_alone_finds_the_first_option(
    tasks: Path, folder: Path, broken: float
) -> None:
    found = told(Made(lambda _: broken), step(tasks, "choose"), folder)
    assert {one.value for one in found} == {None}
    assert {one.because for one in found} == {"a log-probability is not finite"}


def test_one_nan_among_a_questions_options_is_enough(tasks: Path, folder: Path) -> None:
    made = Made(lambda request: math.nan if "Rome" in request.continuation else -1.0)
    assert {one.value for one in told(made, step(tasks, "choose"), folder)} == {None}


def test_a_tie_is_worth_its_share_and_not_the_first_option(tasks: Path, folder: Path) -> None:
    found = told(Made(lambda _: -6.0), step(tasks, "choose"), folder)
    assert {one.value for one in found if one.metric == "choose.acc"} == {1 / 3}
    longest = [one.value for one in found if one.metric == "choose.acc_norm"]
    assert sorted(set(longest)) == [0.0, 1.0], "divided by its length the longest option alone is the likeliest"


def test_an_empty_answer_is_no_wrong_answer(tasks: Path, folder: Path) -> None:
    found = told(Made(lambda _: 0.0, answer="  "), step(tasks, "write"), folder)
    assert {one.because for one in found} == {"the answer is empty"}


def test_an_item_that_the_harness_loses_is_counted(tasks: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from align.adapters import lm_eval

    def loses(**asked: object) -> dict[str, object]:
        found = whole(**asked)
        found["samples"]["choose"] = [s for s in found["samples"]["choose"] if s["doc_id"] != 7]
        return found

    whole = lm_eval.evaluate
    monkeypatch.setattr(lm_eval, "evaluate", loses)
    found = told(Made(lambda _: -6.0), step(tasks, "choose"), folder)
    lost = [one for one in found if one.value is None]
    assert {one.because for one in lost} == {"the harness gave no result for it"}
    assert len(lost) == 2, "one a metric"


def test_a_task_that_asks_for_the_greedy_text_is_refused(tasks: Path, folder: Path) -> None:
    with pytest.raises(RecipeError, match="greedy: its acc asks which text is the greedy one"):
        told(Made(lambda _: 0.0), step(tasks, "greedy"), folder)


def test_a_task_that_is_not_there_is_named(tasks: Path, folder: Path) -> None:
    with pytest.raises(RecipeError, match="no_such_task"):
        told(Made(lambda _: 0.0), step(tasks, "no_such_task"), folder)


def test_at_most_so_many_items(tasks: Path, folder: Path) -> None:
    found = told(Made(lambda _: -6.0), step(tasks, "choose", max_items=4), folder)
    assert len({one.item_id for one in found}) == 4


def test_nobody_is_told_whether_a_text_is_the_greedy_one() -> None:
    from align.errors import BackendError

    made = Made(lambda _: -1.0)
    model = Model(lambda: made, lambda: made, TransformersRenderer(Path("nowhere"), RUNTIME), 8)
    ((_, greedy),) = model.loglikelihood([type("Asked", (), {"args": ("a", " b")})()])
    with pytest.raises(BackendError, match="greedy"):
        bool(greedy)
