"""The offline engine, really run: equal to transformers where it must be, with adapters, and heard when it dies."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from align.adapters.transformers import TransformersSampler
from align.adapters.vllm.offline import VllmSampler
from align.configs import GenerateStep, SamplingConfig, VLLMConfig, Writer
from align.errors import BackendError, ModelError
from align.ports import Sample, SampleRequest, Unanswered
from align.records import Message
from tests.adapters.vllm.conftest import RUNTIME, Models, asked, heavy

GREEDY = SamplingConfig(temperature=0, max_tokens=24, logprobs=True)
WARM = SamplingConfig(temperature=1, max_tokens=24)


@pytest.fixture(scope="module")
def sampler(models: Models) -> Iterator[VllmSampler]:
    config = GenerateStep(
        engine="vllm", writers=(Writer(name="base"), Writer(name="tuned", adapter=str(models.adapter)))
    )
    engine = VllmSampler(models.base, config, RUNTIME)
    with heavy():
        engine.child()
        yield engine
        engine.close()


def texts(found: dict[str, list[Sample] | Unanswered]) -> dict[str, list[tuple[str, int | None, str]]]:
    return {
        name: [(one.text, one.n_tokens, one.finish_reason) for one in samples]
        for name, samples in found.items()
        if isinstance(samples, list)
    }


def test_greedy_answers_and_their_log_probabilities_are_those_of_transformers(
    sampler: VllmSampler, models: Models
) -> None:
    requests = asked(24)
    ours, theirs = (dict(s.sample(requests, GREEDY)) for s in (TransformersSampler(models.base, RUNTIME), sampler))
    assert texts(ours) == texts(theirs)
    for name, (one,) in ours.items():
        assert theirs[name][0].logp == pytest.approx(one.logp, abs=1e-3)


def test_answers_stop_at_the_same_texts_and_tokens_as_with_transformers(sampler: VllmSampler, models: Models) -> None:
    requests = asked(24)
    whole = dict(TransformersSampler(models.base, RUNTIME).sample(requests, GREEDY))
    stop = sorted({said[0].text[3:5] for said in whole.values() if isinstance(said, list) and said[0].text[3:5]})[:3]
    for knobs in ({"stop": tuple(stop)}, {"stop_tokens": ("e", "a")}):
        settings = GREEDY.model_copy(update=knobs)
        ours = dict(TransformersSampler(models.base, RUNTIME).sample(requests, settings))
        theirs = dict(sampler.sample(requests, settings))
        assert texts(ours) == texts(theirs)
        assert texts(ours) != texts(whole)
        for name, (one,) in ours.items():
            assert theirs[name][0].logp == pytest.approx(one.logp, abs=1e-3)


def test_an_adapter_answers_as_its_merged_model_does_and_not_as_the_base(sampler: VllmSampler, models: Models) -> None:
    requests = asked(24)
    writers = {writer.name: writer for writer in sampler.config.writers}
    base, tuned = (texts(dict(sampler.sample(requests, GREEDY, writers[name]))) for name in ("base", "tuned"))
    merged = texts(dict(TransformersSampler(models.tuned, RUNTIME).sample(requests, GREEDY)))
    assert sum(tuned[name] == merged[name] for name in merged) >= 23
    assert sum(tuned[name] != base[name] for name in base) > 12


def test_a_sample_depends_on_its_prompt_and_seed_alone(sampler: VllmSampler) -> None:
    requests = asked(16, samples=4)
    together = texts(dict(sampler.sample(requests, WARM)))
    backwards = texts(dict(sampler.sample(requests[::-1], WARM)))
    assert together == backwards
    third = SampleRequest("p5", requests[5].messages, requests[5].seeds[2:3])
    assert texts(dict(sampler.sample([third], WARM)))["p5"] == together["p5"][2:3], (
        "more samples need only the new ones"
    )
    assert len({one for own in together.values() for one in own}) > 40


def test_a_prompt_longer_than_the_context_is_told_and_a_long_one_gets_the_room_there_is(sampler: VllmSampler) -> None:
    long = SampleRequest("long", (Message(role="user", content="Where " * 400),), (1,))
    near = SampleRequest("near", (Message(role="user", content="e" * 250),), (1,))
    found = dict(sampler.sample([*asked(3), long, near], WARM))
    assert isinstance(found["long"], Unanswered)
    assert found["long"].reason == "too_long"
    assert isinstance(found["near"], list)
    assert len(found) == 5


def test_what_is_no_adapter_is_refused_before_the_engine_is_started(models: Models, tmp_path: Path) -> None:
    config = GenerateStep(engine="vllm", writers=(Writer(name="x", adapter=str(tmp_path)),))
    with pytest.raises(ModelError, match="no LoRA adapter"):
        next(VllmSampler(models.base, config, RUNTIME).sample(asked(1), WARM))


def test_a_python_without_vllm_is_named(tmp_path: Path, models: Models) -> None:
    config = GenerateStep(engine="vllm", vllm=VLLMConfig(python=str(tmp_path / "python")))
    with pytest.raises(BackendError, match=r"generate\.vllm.python: .* cannot be run as a Python"):
        VllmSampler(models.base, config, RUNTIME)


def test_a_killed_engine_is_an_error_and_not_a_hang(sampler: VllmSampler) -> None:
    answers = sampler.sample(asked(200), WARM)
    next(answers)
    os.kill(sampler.child().pid, signal.SIGKILL)
    with pytest.raises(BackendError, match=r"killed by signal 9 \(SIGKILL\).*run again to go on"):
        list(answers)
