"""The real chat model that `make real-model` imports: the traps of its GGUF file, each shown mended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from align.adapters.transformers import TransformersSampler, TransformersScorer
from align.configs import RuntimeConfig, SamplingConfig
from align.models.chat import Chat
from align.models.folder import inspect_folder
from align.models.load import load_tokenizer
from align.ports import SampleRequest, ScoreRequest
from align.records import Message

FOLDER = Path(__file__).parents[2] / "weights" / "smollm2-135m-instruct"
RUNTIME = RuntimeConfig(device="cpu", dtype="float32", threads=1)
pytestmark = pytest.mark.real_model


def say(role: str, content: str) -> Message:
    return Message.model_validate({"role": role, "content": content})


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    assert (FOLDER / "config.json").exists(), f"{FOLDER} is missing; run: make real-model"
    return load_tokenizer(FOLDER)


def test_it_holds_what_its_publisher_says(tokenizer: Any) -> None:
    facts = inspect_folder(FOLDER, needs_chat_template=True)
    assert str(facts) == "llama, 134.5M parameters in BF16, with a chat template"
    assert (tokenizer.eos_token, tokenizer.eos_token_id) == ("<|im_end|>", 2)
    assert tokenizer.pad_token_id == 2
    for path in (FOLDER / "config.json", FOLDER / "tokenizer_config.json"):
        assert "gguf" not in path.read_text().lower()


def test_the_end_of_turn_is_learnt_though_padding_is_the_same_token(tokenizer: Any) -> None:
    chat = Chat(tokenizer, [2])
    encoded = chat.encode(
        [say("user", "Hi <|im_end|>"), say("assistant", "Hello."), say("user", "Bye"), say("assistant", "Bye!")]
    )
    learnt = [t for t, said in zip(encoded.ids, encoded.answer, strict=True) if said]
    assert tokenizer.decode(learnt) == "Hello.<|im_end|>Bye!<|im_end|>"
    assert encoded.ids.count(2) == 5, "a system turn that the template adds, two questions and two answers"


def test_it_chats_and_stops_and_company_changes_nothing(tokenizer: Any) -> None:
    sampler = TransformersSampler(FOLDER, RUNTIME)
    asked = ["What is the capital of France?", "Name a colour.", "Say one thing about the sea, please, in a few words."]
    requests = [SampleRequest(text, (say("user", text),), seeds=(i,)) for i, text in enumerate(asked)]
    greedy = dict(sampler.sample(requests, SamplingConfig(temperature=0, max_tokens=12)))
    assert greedy[asked[0]][0].text == "The capital of France is Paris."
    assert greedy[asked[0]][0].finish_reason == "stop"
    settings = SamplingConfig(temperature=0.8, max_tokens=8)
    together = dict(sampler.sample(requests, settings))
    alone = dict(sampler.sample(requests[2:], settings))
    assert alone[asked[2]] == together[asked[2]]


def test_it_finds_truth_likelier(tokenizer: Any) -> None:
    context = (say("user", "What is the capital of France?"),)
    true, false = TransformersScorer(FOLDER, RUNTIME).score(
        [
            ScoreRequest(context, "The capital of France is Paris."),
            ScoreRequest(context, "The capital of France is Rome."),
        ]
    )
    assert true.n_tokens == false.n_tokens == 8
    assert true.logp > false.logp + 3


def test_a_reward_model_on_it_gives_one_score_alone_padded_and_in_a_tree() -> None:
    import torch

    from align.models.reward import block, new_reward, scores

    model, tokenizer = new_reward(FOLDER, init_std=0.02, seed=0)
    model.eval()
    chat = Chat(tokenizer, [tokenizer.eos_token_id])
    asked = say("user", "Name a river in Africa.")
    rows = [
        chat.whole((asked, say("assistant", text))) for text in ("The Nile.", "I would rather not say, sorry.", "No")
    ]
    # its padding is its end of turn, but a conversation ends with the line break behind it
    assert tokenizer.pad_token_id not in {row[-1] for row in rows}
    ids, mask = block(rows, tokenizer.pad_token_id)
    with torch.inference_mode():
        padded = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, 0].tolist()
    assert scores(model, rows, tokenizer.pad_token_id) == pytest.approx(padded, abs=1e-5)
    assert scores(model, rows[:1], tokenizer.pad_token_id) == pytest.approx(padded[:1], abs=1e-5)
    assert max(padded) - min(padded) > 1e-3
