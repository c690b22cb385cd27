from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from align.adapters.transformers import TransformersRenderer, TransformersSampler, TransformersScorer, continuation
from align.adapters.turns import Turns
from align.configs import RuntimeConfig, SamplingConfig, Scratch
from align.errors import ModelError, UsageError
from align.models.load import load_model, load_tokenizer, save
from align.models.sampling import Draw, answers
from align.models.scratch import new_model, train_tokenizer
from align.ports import SampleRequest, ScoreRequest, Unanswered
from align.records import Message

RUNTIME = RuntimeConfig(device="cpu", dtype="float32", threads=1)
TEXTS = ["Ada lives in Paris.", "Bob lives in Rome. Where does he live?", "Yes. No. I do not know, but I can ask."] * 20


def ask(text: str) -> tuple[Message, ...]:
    return (Message(role="user", content=text),)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = Scratch(vocabulary=330, layers=2, width=32, heads=2, context=512, initializer_range=0.3)
    tokenizer = train_tokenizer(TEXTS, vocabulary=config.vocabulary, context=config.context)
    place = tmp_path_factory.mktemp("models") / "model"
    save(new_model(config, tokenizer, attention="sdpa", seed=0), tokenizer, place)
    return place


def test_every_prompt_gets_its_samples_within_the_limit(folder: Path) -> None:
    sampler = TransformersSampler(folder, RUNTIME)
    requests = [SampleRequest(f"p{i}", ask("Where " * i + "?"), seeds=(i, i + 100)) for i in range(9)]
    found = dict(sampler.sample(requests, SamplingConfig(max_tokens=12, batch_size=8)))
    assert set(found) == {f"p{i}" for i in range(9)}
    for samples in found.values():
        assert len(samples) == 2
        for sample in samples:
            assert 1 <= sample.n_tokens <= 12
            assert (sample.finish_reason == "length") == (sample.n_tokens == 12) or sample.finish_reason == "stop"
            assert "<|" not in sample.text
    sampler.close()


def test_what_is_asked_for_again_with_others_comes_out_the_same(folder: Path) -> None:
    sampler = TransformersSampler(folder, RUNTIME)
    settings = SamplingConfig(max_tokens=16, temperature=1.0)
    requests = [SampleRequest(f"p{i}", ask("Where " * (i % 5) + "?"), seeds=(i,)) for i in range(12)]
    alone = dict(sampler.sample(requests[3:4], settings))
    together = dict(sampler.sample(requests[::-1], settings))
    assert alone["p3"] == together["p3"]
    assert len({samples[0].text for samples in together.values()}) > 6
    assert list(sampler.sample([], settings)) == []


def test_a_continuation_is_scored_as_a_plain_reading_scores_it(folder: Path) -> None:
    model, tokenizer = load_model(folder), load_tokenizer(folder)
    requests = [ScoreRequest("Ada lives in", " Paris."), ScoreRequest("Bob lives in Rome. Where does", " he live?")]
    for request, score in zip(requests, TransformersScorer(folder, RUNTIME).score(requests), strict=True):
        assert isinstance(request.context, str)
        context = tokenizer(request.context, add_special_tokens=False)["input_ids"]
        whole = tokenizer(request.context + request.continuation, add_special_tokens=False)["input_ids"]
        with torch.inference_mode():
            logps = torch.log_softmax(model(input_ids=torch.tensor([whole])).logits[0].float(), -1)
        expected = sum(float(logps[i - 1, whole[i]]) for i in range(len(context), len(whole)))
        assert score.logp == pytest.approx(expected, abs=1e-4)
        assert score.n_tokens == len(whole) - len(context)


def test_a_token_that_joins_context_and_option_counts_as_the_options(folder: Path) -> None:
    tokenizer = load_tokenizer(folder)
    joined, first = continuation(ScoreRequest("Ada li", "ves in Paris."), tokenizer, [])
    assert tokenizer.decode(joined[first:]).strip() == "lives in Paris.", (
        "the token `lives` is one, and is scored whole"
    )
    apart, first = continuation(ScoreRequest("Ada", " lives in Paris."), tokenizer, [])
    assert tokenizer.decode(apart[first:]).strip() == "lives in Paris."
    assert joined == apart, "what is read is the whole text, wherever it was cut"


def test_options_that_share_their_question_score_as_each_alone_read_plainly(folder: Path) -> None:
    from align.models.logp import token_logps
    from align.models.trees import supported

    scorer = TransformersScorer(folder, RUNTIME)
    model, tokenizer, ends = scorer.parts()
    assert supported(model), "the tiny model must go the way of trees, or this test says nothing"
    asked = [
        ScoreRequest(context, option)
        for context in ("the ball is", "the ball is in the", (Message(role="user", content="where is the ball"),))
        for option in (" red", " red and", "")
    ]
    trees = [score.logp for score in scorer.score(asked)]
    rows = [continuation(request, tokenizer, ends) for request in asked]
    assert trees == pytest.approx([token_logps(model, [row])[0] for row in rows], abs=2e-4)
    assert trees[2] == 0.0, "nothing follows, and nothing is what it costs"


def test_the_probabilities_of_all_first_tokens_sum_to_one(folder: Path) -> None:
    tokenizer = load_tokenizer(folder)
    words = [tokenizer.decode([i]) for i in range(len(tokenizer))]
    letters = [ScoreRequest("", word) for word in words if word.isalpha()]
    scores = list(TransformersScorer(folder, RUNTIME).score(letters))
    assert 0 < sum(math.exp(score.logp) for score in scores if score.n_tokens == 1) < 1.0001


def test_an_answer_is_scored_with_its_end_of_turn(folder: Path) -> None:
    tokenizer = load_tokenizer(folder)
    (score,) = TransformersScorer(folder, RUNTIME).score([ScoreRequest(ask("Where?"), "In Rome.")])
    assert score.n_tokens == len(tokenizer("In Rome.", add_special_tokens=False)["input_ids"]) + 1


def test_an_answer_that_was_cut_off_is_scored_without_one(folder: Path) -> None:
    asked = [ScoreRequest(ask("Where?"), "In Ro", closed=closed) for closed in (True, False)]
    whole, cut = TransformersScorer(folder, RUNTIME).score(asked)
    assert cut.n_tokens == whole.n_tokens - 1
    assert cut.logp > whole.logp


def test_scores_come_in_the_order_asked_whatever_the_lengths(folder: Path) -> None:
    scorer = TransformersScorer(folder, RUNTIME)
    scorer.batch_logits = 64 * 330
    requests = [ScoreRequest("Ada", " lives" * (1 + i * 7 % 5)) for i in range(10)]
    batched = list(scorer.score(requests))
    alone = [next(iter(scorer.score([request]))) for request in requests]
    assert [s.n_tokens for s in batched] == [s.n_tokens for s in alone]
    assert [s.logp for s in batched] == pytest.approx([s.logp for s in alone], abs=1e-4)


def test_a_control_token_in_a_plain_text_is_text(folder: Path) -> None:
    (score,) = TransformersScorer(folder, RUNTIME).score([ScoreRequest("Ada", "<|end|>")])
    assert score.n_tokens > 1


def test_a_prompt_longer_than_the_context_is_told_and_the_others_are_answered(folder: Path) -> None:
    long, near = SampleRequest("p", ask("Where " * 600), seeds=(0,)), SampleRequest("n", ask("e" * 505), seeds=(0,))
    short = SampleRequest("q", ask("Where?"), seeds=(0,))
    found = dict(TransformersSampler(folder, RUNTIME).sample([long, short, near], SamplingConfig(max_tokens=64)))
    assert isinstance(found["p"], Unanswered)
    assert found["p"].reason == "too_long"
    assert "the context is 512" in found["p"].detail
    assert isinstance(found["n"], list)
    assert 1 <= found["n"][0].n_tokens <= 4, "an answer has the room that its prompt leaves"
    assert isinstance(found["q"], list)


def test_a_text_to_score_longer_than_the_context_is_refused(folder: Path) -> None:
    with pytest.raises(ModelError, match=r"the longest text to score take.*this model's context is 512"):
        list(TransformersScorer(folder, RUNTIME).score([ScoreRequest("Where", " Where" * 600)]))


def test_the_log_probability_of_an_answer_is_that_of_a_plain_reading(folder: Path) -> None:
    settings = SamplingConfig(max_tokens=12, temperature=0.7, top_p=0.9, logprobs=True)
    ((_, samples),) = TransformersSampler(folder, RUNTIME).sample([SampleRequest("p", ask("Where?"), (3, 4))], settings)
    model, turns = load_model(folder), Turns(folder)
    prompt = turns.chat.prompt(ask("Where?"))
    for seed, sample in zip((3, 4), samples, strict=True):
        ((_, (ids,)),) = answers(model, [prompt], [(seed,)], Draw(0.7, 0.9, 12, frozenset(turns.ends)), rows_at_once=8)
        with torch.inference_mode():
            logps = torch.log_softmax(model(input_ids=torch.tensor([prompt + ids])).logits[0].float(), -1)
        expected = sum(float(logps[len(prompt) + i - 1, token]) for i, token in enumerate(ids))
        assert sample.logp == pytest.approx(expected, abs=1e-3)


def test_an_answer_ends_before_the_first_of_the_texts_that_stop_it(folder: Path) -> None:
    requests = [SampleRequest(f"p{i}", ask("Where?" * i), seeds=(i, i + 50)) for i in range(6)]
    whole = dict(TransformersSampler(folder, RUNTIME).sample(requests, SamplingConfig(max_tokens=40)))
    stop = ("e", whole["p3"][0].text[4:7])
    found = dict(TransformersSampler(folder, RUNTIME).sample(requests, SamplingConfig(max_tokens=40, stop=stop)))
    n_cut = 0
    for name, samples in whole.items():
        for all_of_it, sample in zip(samples, found[name], strict=True):
            places = [place for one in stop if (place := all_of_it.text.find(one)) >= 0]
            assert sample.text == all_of_it.text[: min(places, default=None)]
            n_cut += bool(places)
            assert not places or (sample.finish_reason == "stop" and sample.n_tokens <= all_of_it.n_tokens)
    assert n_cut >= 6
    assert sum(one.n_tokens for own in found.values() for one in own) < sum(
        one.n_tokens for own in whole.values() for one in own
    ), "what comes after is not written"


def test_an_answer_ends_at_a_token_that_the_recipe_names(folder: Path) -> None:
    request = SampleRequest("p", ask("Where?"), seeds=tuple(range(16)))
    ((_, whole),) = TransformersSampler(folder, RUNTIME).sample([request], SamplingConfig(max_tokens=40))
    named = tuple(sorted({letter for one in whole for letter in one.text if letter.isascii() and letter.isalpha()}))[
        :16
    ]
    settings = SamplingConfig(max_tokens=40, stop_tokens=named)
    ((_, found),) = TransformersSampler(folder, RUNTIME).sample([request], settings)
    cut = [(before, after) for before, after in zip(whole, found, strict=True) if after != before]
    assert len(cut) > 3
    for before, after in cut:
        assert after.finish_reason == "stop"
        assert after.n_tokens < before.n_tokens
        assert before.text.startswith(after.text.rstrip("\ufffd")), "the token itself is not kept"
    with pytest.raises(UsageError, match=r"generate\.stop_tokens: 'Ada lives in' is \d+ tokens of this model"):
        Turns(folder, SamplingConfig(stop_tokens=("Ada lives in",)))


def test_the_renderer_needs_no_weights(folder: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(folder, tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").unlink()
    renderer = TransformersRenderer(tmp_path / "model", RUNTIME)
    assert renderer.render(ask("Where?"), add_generation_prompt=True) == "<|user|>Where?<|end|><|assistant|>"
    assert renderer.n_tokens("Ada lives in Paris.") == len(load_tokenizer(folder).tokenize("Ada lives in Paris."))
