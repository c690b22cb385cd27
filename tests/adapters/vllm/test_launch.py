"""vLLM's server, really started here: adapters beside their base, loopback alone, a key, and gone when we are."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from align.adapters.server import ServerSampler
from align.adapters.transformers import TransformersSampler
from align.adapters.vllm.launch import flags
from align.configs import GenerateStep, SamplingConfig, Writer
from align.errors import BackendError, ModelError
from align.ports import Sample
from tests.adapters.vllm.conftest import RUNTIME, Models, asked, heavy

GREEDY = SamplingConfig(temperature=0, max_tokens=24, logprobs=True)
WARM = SamplingConfig(temperature=1, max_tokens=24)


def config(models: Models) -> GenerateStep:
    writers = (Writer(name="base"), Writer(name="tuned", adapter=str(models.adapter)))
    return GenerateStep.model_validate({"engine": "server", "server": {"launch": True}, "writers": writers})


@pytest.fixture(scope="module")
def sampler(models: Models) -> Iterator[ServerSampler]:
    engine = ServerSampler(models.base, config(models), RUNTIME)
    with heavy():
        engine.open()
        yield engine
        engine.close()


def drawn(
    sampler: ServerSampler, settings: SamplingConfig, writer: str = "base", n: int = 24
) -> dict[str, list[Sample]]:
    writers = {one.name: one for one in sampler.config.writers}
    found = dict(sampler.sample(asked(n, samples=4 if settings.temperature else 1), settings, writers[writer]))
    return {name: said for name, said in found.items() if isinstance(said, list)}


def test_greedy_answers_are_those_of_transformers_and_an_adapters_are_its_own(
    sampler: ServerSampler, models: Models
) -> None:
    ours = dict(TransformersSampler(models.base, RUNTIME).sample(asked(24), GREEDY))
    theirs, tuned = drawn(sampler, GREEDY), drawn(sampler, GREEDY, "tuned")
    for name, said in ours.items():
        assert isinstance(said, list)
        assert (theirs[name][0].text, theirs[name][0].n_tokens) == (said[0].text, said[0].n_tokens)
        assert theirs[name][0].logp == pytest.approx(said[0].logp, abs=1e-3)
    assert sum(tuned[name][0].text != theirs[name][0].text for name in tuned) > 12


def test_a_sample_depends_on_its_prompt_and_seed_alone(sampler: ServerSampler) -> None:
    first, again = drawn(sampler, WARM), drawn(sampler, WARM, n=12)
    assert len(first) == 24
    assert all(len(own) == 4 for own in first.values())
    assert {name: [one.text for one in first[name]] for name in again} == {
        name: [one.text for one in own] for name, own in again.items()
    }


def test_answers_stop_at_the_same_texts_and_tokens_as_with_transformers(sampler: ServerSampler, models: Models) -> None:
    settings = GREEDY.model_copy(update={"stop": ("in", "es"), "stop_tokens": ("o",)})
    ours = dict(TransformersSampler(models.base, RUNTIME).sample(asked(24), settings))
    theirs = drawn(sampler, settings)
    assert {name: (said[0].text, said[0].n_tokens) for name, said in theirs.items()} == {
        name: (said[0].text, said[0].n_tokens) for name, said in ours.items()
    }
    assert ours != dict(TransformersSampler(models.base, RUNTIME).sample(asked(24), GREEDY))


def test_it_listens_on_loopback_alone_and_wants_its_key_which_stands_in_no_command_line(sampler: ServerSampler) -> None:
    assert sampler._launched is not None
    family = [psutil.Process(sampler._launched.pid), *psutil.Process(sampler._launched.pid).children(recursive=True)]
    listening = [c.laddr.ip for one in family for c in one.net_connections("inet") if c.status == psutil.CONN_LISTEN]
    assert listening
    assert set(listening) <= {"127.0.0.1", "::1"}
    assert not any(sampler._launched.key in " ".join(one.cmdline()) for one in family)
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"{sampler._launched.url}/v1/models", timeout=10)


@pytest.fixture
def beside(sampler: ServerSampler, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., ServerSampler]]:
    """Another client of the same server, which believes that it serves another folder."""
    assert sampler._launched is not None
    monkeypatch.setenv("ITS_KEY", sampler._launched.key)
    url = sampler._launched.url
    opened: list[ServerSampler] = []

    def make(folder: Path, **knobs: Any) -> ServerSampler:
        server = {"urls": [url], "key": "${env:ITS_KEY}", "model": "model"} | knobs.pop("server", {})
        asked_for = GenerateStep.model_validate({"engine": "server", "server": server} | knobs)
        opened.append(ServerSampler(folder, asked_for, RUNTIME))
        return opened[-1]

    yield make
    for one in opened:
        one.close()


def test_the_right_model_passes_and_what_was_compared_is_told(
    beside: Callable[..., ServerSampler], models: Models
) -> None:
    engine = beside(models.base, writers=[{"name": "tuned", "adapter": str(models.adapter)}])
    assert len(list(engine.sample(asked(3), GREEDY))) == 3
    said = engine.figures()["preflight"]
    assert "token ids of 3 conversations equal" in said
    assert "1 adapters change the log-probabilities" in said
    assert len(re.findall(r"within \de-0[5-9] nats a token of transformers|within \d\.\de-0[5-9] nats", said)) == 2, (
        said
    )


def test_another_model_than_the_recipes_is_found_out(beside: Callable[..., ServerSampler], models: Models) -> None:
    with pytest.raises(
        BackendError, match=r"the model that the engine serves is not the one in model: .* nats a token"
    ):
        list(beside(models.tuned).sample(asked(1), GREEDY))


def test_a_base_served_in_place_of_an_adapter_is_found_out(
    beside: Callable[..., ServerSampler], models: Models
) -> None:
    engine = beside(models.base, writers=[{"name": "tuned", "served": "model", "adapter": str(models.adapter)}])
    with pytest.raises(BackendError, match="the adapter `model` gives exactly the log-probabilities of its base"):
        list(engine.sample(asked(1), GREEDY))


def test_another_template_and_a_missing_one_are_found_out(
    beside: Callable[..., ServerSampler], models: Models, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(models.base, folder)
    template = folder / "chat_template.jinja"
    template.write_text(template.read_text() + "{% if add_generation_prompt %} {% endif %}")
    with pytest.raises(BackendError, match=r"other token ids .* \(sha256 [0-9a-f]{12}\): from token \d+ on"):
        list(beside(folder).sample(asked(1), GREEDY))
    template.unlink()
    with pytest.raises(ModelError, match="no chat template"):
        list(beside(folder).sample(asked(1), GREEDY))


def test_it_is_gone_when_it_is_closed(sampler: ServerSampler) -> None:
    assert sampler._launched is not None
    family = [psutil.Process(sampler._launched.pid), *psutil.Process(sampler._launched.pid).children(recursive=True)]
    sampler.close()
    _, alive = psutil.wait_procs(family, timeout=10)
    assert not alive


def test_it_is_started_so_that_a_seeded_request_cannot_end_it(models: Models) -> None:
    said = flags(models.base, config(models), RUNTIME)
    assert "--no-enable-chunked-prefill" in said
    assert said[said.index("--host") + 1] == "127.0.0.1"
    assert "--trust-remote-code" not in said


STARTS = """
import sys
from pathlib import Path
from align.adapters.vllm.launch import Launched
from align.configs import GenerateStep
from tests.adapters.vllm.conftest import RUNTIME
it = Launched(sys.argv[2], Path(sys.argv[1]), GenerateStep(engine="server", server={"launch": True}), RUNTIME)
print(it.pid, flush=True)
input()
"""


@pytest.mark.slow
def test_it_dies_with_whoever_started_it(models: Models) -> None:
    from align.adapters.vllm import environment

    python = environment.find(GenerateStep().vllm).python
    with heavy():
        command = [sys.executable, "-c", STARTS, str(models.base), python]
        starter = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3]
        )
        assert starter.stdout is not None
        server = psutil.Process(int(starter.stdout.readline()))
        family = [server, *server.children(recursive=True)]
        os.kill(starter.pid, signal.SIGKILL)
        starter.wait()
        _, alive = psutil.wait_procs(family, timeout=30)
        assert not alive
