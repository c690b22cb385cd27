"""Endpoints that go wrong in every way that was thought of: nothing is lost, nothing twice, and nothing hangs."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from align.adapters.server import ServerSampler
from align.configs import GenerateStep, RuntimeConfig, SamplingConfig, Scratch
from align.errors import BackendError, RecipeError, UsageError
from align.models.load import save
from align.models.scratch import new_model, train_tokenizer
from align.ports import Sample, SampleRequest, Unanswered
from align.records import Message
from tests.adapters.faulty import Faulty, sometimes

RUNTIME = RuntimeConfig(device="cpu", dtype="float32", threads=1)
WARM = SamplingConfig(temperature=1, max_tokens=16)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = Scratch(vocabulary=330, layers=1, width=16, heads=1, context=128)
    tokenizer = train_tokenizer(["Where does Ada live?", "In Rome."] * 20, vocabulary=330, context=128)
    place = tmp_path_factory.mktemp("models") / "model"
    save(new_model(config, tokenizer, attention="sdpa", seed=0), tokenizer, place)
    return place


def asked(n: int, *, samples: int = 1) -> list[SampleRequest]:
    return [
        SampleRequest(f"p{i}", (Message(role="user", content=f"Where {i}?"),), tuple(range(100 * i, 100 * i + samples)))
        for i in range(n)
    ]


def drawn(
    folder: Path, *urls: str, n: int = 12, samples: int = 2, settings: SamplingConfig = WARM, **server: Any
) -> dict[str, list[Sample] | Unanswered]:
    knobs = {"urls": urls, "deadline_s": 1.0, "patience_s": 5.0, **server}
    sampler = ServerSampler(folder, GenerateStep.model_validate({"engine": "server", "server": knobs}), RUNTIME)
    found: dict[str, list[Sample] | Unanswered] = {}
    try:
        for prompt_id, said in sampler.sample(asked(n, samples=samples), settings):
            assert prompt_id not in found, "a prompt is answered once"
            found[prompt_id] = said
    finally:
        sampler.close()
    return found


def texts(found: dict[str, list[Sample] | Unanswered]) -> dict[str, list[str]]:
    return {name: [one.text for one in said] for name, said in found.items() if isinstance(said, list)}


@pytest.mark.parametrize("api", ["tokens", "chat"])
def test_what_comes_of_endpoints_that_fail_is_what_comes_of_one_that_does_not(folder: Path, api: str) -> None:
    with Faulty() as sound, Faulty(sometimes(0.4)) as one, Faulty(sometimes(0.4)) as other:
        settings = WARM.model_copy(update={"logprobs": True})
        expected = drawn(folder, sound.url, n=60, samples=4, settings=settings, api=api)
        found = drawn(folder, one.url, other.url, n=60, samples=4, settings=settings, api=api, deadline_s=0.3)
        assert texts(found) == texts(expected)
        assert len(expected) == 60
        assert all(len(said) == 4 and said[0].logp == -0.75 for said in expected.values() if isinstance(said, list))
        assert {body["n"] for body in sound.bodies} == {4}, "samples of one prompt are asked for together"


def test_a_storm_of_503_is_waited_out(folder: Path) -> None:
    begun = time.monotonic()
    with Faulty(lambda number, body: "503" if time.monotonic() - begun < 2 else None) as endpoint:
        assert len(texts(drawn(folder, endpoint.url, n=30))) == 30
        assert len(endpoint.bodies) < 30 * 8, "an endpoint that fails is left alone for a while"


def test_an_endpoint_that_dies_gives_its_work_to_the_others(folder: Path) -> None:
    with Faulty(lambda number, body: "hang" if number > 3 else None) as dying, Faulty() as other:
        found = texts(drawn(folder, dying.url, other.url, n=40, deadline_s=0.5))
        assert len(found) == 40
        assert len(other.bodies) >= 30


def test_where_nothing_answers_any_more_the_run_ends_with_a_reason(folder: Path) -> None:
    with (
        Faulty(lambda number, body: "503" if number > 3 else None) as endpoint,
        pytest.raises(
            BackendError, match=r"no endpoint has answered for 1 s.*HTTP 503: overloaded.*run again to go on"
        ),
    ):
        drawn(folder, endpoint.url, n=40, patience_s=1.0, in_flight=2)


def test_no_more_requests_are_under_way_than_the_recipe_allows(folder: Path) -> None:
    with Faulty(lambda number, body: "slow") as endpoint:
        drawn(folder, endpoint.url, n=40, in_flight=5)
        assert endpoint.most_at_once == 5


def test_fewer_choices_than_asked_for_are_made_up_with_the_seeds_that_are_missing(folder: Path) -> None:
    with Faulty(lambda number, body: "few") as endpoint, Faulty() as sound:
        assert texts(drawn(folder, endpoint.url, n=3, samples=6)) == texts(drawn(folder, sound.url, n=3, samples=6))


@pytest.mark.parametrize(
    ("fault", "reason", "detail"),
    [
        ("overflow", "too_long", "maximum context length is 64"),
        ("bad", "refused", "HTTP 400: unsupported parameter"),
        ("torn", "too_few", "no JSON"),
        ("nan", "too_few", "no number"),
        ("none", "too_few", "without choices"),
    ],
)
def test_what_one_prompt_suffers_is_recorded_and_the_others_are_answered(
    folder: Path, fault: str, reason: str, detail: str
) -> None:
    def plan(number: int, body: dict[str, Any]) -> str | None:
        return fault if "Where 3?" in str(body["messages"]) else None

    settings = WARM.model_copy(update={"logprobs": True})
    with Faulty(plan) as endpoint:
        found = drawn(folder, endpoint.url, api="chat", settings=settings, attempts=3)
    said = found.pop("p3")
    assert isinstance(said, Unanswered)
    assert (said.reason, detail in said.detail) == (reason, True)
    assert len(texts(found)) == 11


def test_empty_and_cut_answers_are_answers_and_say_so(folder: Path) -> None:
    with Faulty(lambda number, body: "empty") as silent, Faulty(lambda number, body: "length") as long:
        assert texts(drawn(folder, silent.url, n=2, api="chat"))["p1"] == ["", ""]
        cut = drawn(folder, long.url, n=2)["p1"]
        assert isinstance(cut, list)
        assert cut[0].finish_reason == "length"


@pytest.mark.parametrize("api", ["tokens", "chat"])
def test_texts_that_stop_an_answer_are_told_to_the_endpoint_and_cut_off_where_it_does_not_heed_them(
    folder: Path, api: str
) -> None:
    with Faulty() as endpoint:
        whole = texts(drawn(folder, endpoint.url, n=4, api=api))
        settings = WARM.model_copy(update={"stop": ("7", "a")})
        found = texts(drawn(folder, endpoint.url, n=4, api=api, settings=settings))
        assert {tuple(body["stop"]) for body in endpoint.bodies[4:]} == {("7", "a")}
        assert found == {
            name: [min(t.split("7")[0], t.split("a")[0], key=len) for t in own] for name, own in whole.items()
        }
        with pytest.raises(UsageError, match=r"generate\.stop_tokens: only vLLM's endpoints"):
            drawn(folder, endpoint.url, settings=WARM.model_copy(update={"stop_tokens": ("<|end|>",)}))


def test_a_carrier_that_is_killed_ends_the_run_with_a_reason(folder: Path) -> None:
    with Faulty(lambda number, body: "slow") as endpoint:
        knobs = GenerateStep.model_validate({"engine": "server", "server": {"urls": [endpoint.url], "in_flight": 2}})
        sampler = ServerSampler(folder, knobs, RUNTIME)
        answers = sampler.sample(asked(40), WARM)
        next(answers)
        os.kill(sampler.open().pid, signal.SIGKILL)
        with pytest.raises(
            BackendError, match=r"carries requests to the endpoints ended \(code -9\).*run again to go on"
        ):
            list(answers)
        assert len(list(sampler.sample(asked(5), WARM))) == 5, "another is started"
        sampler.close()


def test_what_every_prompt_suffers_ends_the_run(folder: Path) -> None:
    with (
        Faulty(lambda number, body: "bad") as endpoint,
        pytest.raises(BackendError, match="20 prompts in a row were refused: HTTP 400: unsupported parameter"),
    ):
        drawn(folder, endpoint.url, n=40)


def test_a_prompt_longer_than_the_endpoint_can_read_is_told_without_asking(folder: Path) -> None:
    with Faulty(context=4) as endpoint:
        found = drawn(folder, endpoint.url, n=2)
        assert all(isinstance(said, Unanswered) and said.reason == "too_long" for said in found.values())
        assert endpoint.bodies == []


def test_more_tokens_or_samples_than_the_endpoint_allows_are_said_in_its_words(folder: Path) -> None:
    with Faulty(context=16) as endpoint:
        with pytest.raises(UsageError, match=r"generate\.max_tokens: 16 found, and the endpoints read and write 16"):
            drawn(folder, endpoint.url, n=2, api="chat")
        assert endpoint.bodies == []
        short = drawn(folder, endpoint.url, n=2, settings=WARM.model_copy(update={"max_tokens": 4000}))
        assert len(short) == 2, "where token ids are sent, an answer gets the room that its prompt leaves"
    with (
        Faulty(lambda number, body: "bad" if body["n"] > 8 else None) as endpoint,
        pytest.raises(BackendError, match="20 prompts in a row were refused: HTTP 400: unsupported parameter"),
    ):
        drawn(folder, endpoint.url, n=30, samples=9)


def test_a_model_that_is_not_served_is_named_with_those_that_are(folder: Path) -> None:
    with Faulty(models=("a", "b")) as endpoint:
        with pytest.raises(BackendError, match=r"does not serve `policy`; it serves a, b"):
            drawn(folder, endpoint.url, model="policy")
        with pytest.raises(UsageError, match=r"generate\.server\.model: missing; the endpoints serve a, b"):
            drawn(folder, endpoint.url)
        assert len(drawn(folder, endpoint.url, model="b")) == 12


def test_a_writers_own_model_is_asked_for_by_the_name_it_is_served_under(folder: Path) -> None:
    with Faulty(models=("policy", "before")) as endpoint:
        writers = [{"name": "after"}, {"name": "old", "model": "base", "served": "before"}]
        server = {"urls": [endpoint.url], "model": "policy"}
        config = GenerateStep.model_validate({"engine": "server", "server": server, "writers": writers})
        for model, name in ((None, "policy"), ("base", "before")):
            own = config.for_model(model)
            sampler = ServerSampler(folder, own, RUNTIME)
            assert len(list(sampler.sample(asked(2), WARM, own.writers[0]))) == 2
            sampler.close()
            assert {body["model"] for body in endpoint.bodies[-2:]} == {name}
    with pytest.raises(
        ValueError, match=r"writers\.old\.served: missing; under which name do the endpoints serve `base`"
    ):
        GenerateStep.model_validate(
            {"engine": "server", "server": server, "writers": [{"name": "old", "model": "base"}]}
        )


def test_a_key_that_is_missing_wrong_or_right(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SOME_KEY", raising=False)
    with Faulty(key="sesame") as endpoint:
        with pytest.raises(BackendError, match=r"HTTP 401: the key is missing; .*\$\{env:NAME\}"):
            drawn(folder, endpoint.url)
        with pytest.raises(RecipeError, match="SOME_KEY is not set"):
            drawn(folder, endpoint.url, key="${env:SOME_KEY}")
        monkeypatch.setenv("SOME_KEY", "barley")
        with pytest.raises(BackendError, match="the key is wrong"):
            drawn(folder, endpoint.url, key="${env:SOME_KEY}")
        monkeypatch.setenv("SOME_KEY", "sesame")
        assert len(drawn(folder, endpoint.url, key="${env:SOME_KEY}")) == 12


def test_where_nothing_listens_that_is_said_at_once(folder: Path) -> None:
    with Faulty() as endpoint:
        url = endpoint.url
    begun = time.monotonic()
    with pytest.raises(BackendError, match=rf"{url}: nothing answers there .*start the server, or correct"):
        drawn(folder, url)
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8000", "ftp://x", "http://user:word@host:1", "http://host:1?key=x", "http://"]
)
def test_an_address_that_is_none_or_holds_a_secret_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"expected http\(s\)://HOST:PORT|holds a name, password or query") as error:
        GenerateStep.model_validate({"engine": "server", "server": {"urls": [url]}})
    assert "word@" not in str(error.value).replace(repr(url), "")
