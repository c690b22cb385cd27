"""A reward model gives an answer one score, wherever it is asked: in training, on a file, and in the rollouts."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from align.adapters.reward import TransformersRewarder
from align.adapters.reward_http import HttpRewarder
from align.cli import main
from align.configs import LoRA, ModelConfig, RewardConfig, RLHFConfig, RuntimeConfig, Scratch, Term
from align.errors import BackendError, ModelError
from align.ports import Mark
from align.records import Message, Preference, Prompt
from align.runner.console import Console
from align.runner.reward_server import serving
from align.runner.toolbox import Toolbox
from align.stages.rlhf import by_model, mark
from align.store import jsonl
from align.training.trainer import TransformersTrainer
from tests.training.tiny import TINY, Place, World, digests, question

RUNTIME = RuntimeConfig(device="cpu", dtype="float32", threads=1)
PROMPTS = [Prompt(messages=(question(name),)) for name in ("Ada", "Bob", "Cleo", "Dan", "Eve", "Finn", "Gus", "Hal")]
SHORT: dict[str, Any] = {
    "batch_size": 16, "samples_per_prompt": 4, "max_answer_tokens": 16, "learning_rate": 1e-3, "steps": 3,
    "warmup_share": 0.0, "schedule": "constant", "watch": {"by": "none"}, "checkpoint_every": 1,
}  # fmt: skip
OTHER_TEMPLATE = (
    "{% for m in messages %}{{ m['role'] }} says: {{ m['content'] }}\n{% endfor %}{{ eos_token }}"
    "{% if add_generation_prompt %}assistant says: {% endif %}"
)


@pytest.fixture(scope="module")
def judge(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reward model of another family: its own tokenizer and template, learnt with LoRA, and merged."""
    folder = tmp_path_factory.mktemp("judge")
    base = folder / "base"
    base.mkdir()
    scratch = Scratch(**{**TINY.model_dump(), "vocabulary": 300, "width": 48})
    TransformersTrainer().base(ModelConfig(scratch=scratch), world.folder / "text.jsonl", base, Place(folder / "work"))
    (base / "model" / "chat_template.jinja").write_text(OTHER_TEMPLATE, encoding="utf-8")
    out = folder / "reward"
    out.mkdir()
    config = RewardConfig(learning_rate=2e-2, batch_size=4, epochs=4, lora=LoRA(rank=4, alpha=8))
    pairs = {"preferences": world.preferences, "rankings": None}
    TransformersTrainer().reward(config, base / "model", pairs, pairs, out, Place(out / "work"))
    return out


def learn(world: World, out: Path, mark: Mark) -> list[dict[str, Any]]:
    out.mkdir(parents=True, exist_ok=True)
    config = RLHFConfig.model_validate(SHORT)
    TransformersTrainer().rlhf(config, world.model, PROMPTS, [mark], out, Place(out / "work"))
    rows: list[dict[str, Any]] = pyarrow.parquet.read_table(out / "rollouts.parquet").to_pylist()
    return rows


def test_one_answer_has_one_score_in_training_on_a_file_and_in_the_rollouts(
    judge: Path, world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rewarder = TransformersRewarder(judge / "model", RUNTIME)
    # training: the lead of each held-out pair, before the adapter was merged and saved
    learnt = {row["pair"]: row["lead"] for _, row in jsonl.rows(judge / "held_out.jsonl")}
    pairs = list(jsonl.read(world.preferences, Preference))
    sides = [list(rewarder.reward([(*p.prompt, *getattr(p, side)) for p in pairs])) for side in ("chosen", "rejected")]
    assert {p.id: a - b for p, a, b in zip(pairs, *sides, strict=True)} == pytest.approx(learnt, abs=1e-5)

    rows = learn(world, tmp_path / "policy", Mark("judge", partial(by_model, rewarder)))
    assert len(rows) == 3 * 16
    asked = {prompt.id: prompt.messages for prompt in PROMPTS}
    talks = [(*asked[row["prompt_id"]], Message(role="assistant", content=row["answer"])) for row in rows]
    drawn = [row["reward/judge"] for row in rows]
    assert max(drawn) - min(drawn) > 0.01

    jsonl.write(tmp_path / "rows.jsonl", [{"messages": [m.model_dump(exclude_none=True) for m in t]} for t in talks])
    capsys.readouterr()
    assert main(["score", str(judge / "model"), str(tmp_path / "rows.jsonl")]) == 0
    on_file = [json.loads(line)["scores"][0] for line in capsys.readouterr().out.splitlines()]
    assert on_file == pytest.approx(drawn, abs=1e-5)

    # under another number format too, as in the looks at a policy that trains in it
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert list(rewarder.reward(talks)) == pytest.approx(drawn, abs=1e-5)

    # and by transformers alone, with the judge's own tokenizer and template
    model = AutoModelForSequenceClassification.from_pretrained(judge / "model").eval()
    tokenizer = AutoTokenizer.from_pretrained(judge / "model")
    for talk, score in list(zip(talks, drawn, strict=True))[:6]:
        text = tokenizer.apply_chat_template([{"role": m.role, "content": m.content} for m in talk], tokenize=False)
        assert text.startswith("user says: ")
        ids = tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            assert float(model(ids).logits[0, 0]) == pytest.approx(score, abs=1e-5)


def test_a_hub_reward_model_is_taken_at_its_commit_from_the_local_cache(
    judge: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    place = tmp_path / "hub" / "models--some--reward"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text(commit)
    shutil.copytree(judge / "model", place / "snapshots" / commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    tools = Toolbox("rlhf", seed=0, runtime=RUNTIME, work=tmp_path / "work", console=Console(quiet=True))
    answers = ["Ada lives in Paris.", "I do not know."]
    found = mark(Term(hub="some/reward", revision=commit), None, tools).score(PROMPTS[:2], answers)
    assert found == by_model(TransformersRewarder(judge / "model", RUNTIME), PROMPTS[:2], answers)
    with pytest.raises(ModelError, match="some/reward@ffffffff: not in the local cache"):
        mark(Term(hub="some/reward", revision="f" * 40), None, tools)


def test_a_reward_endpoint_that_dies_costs_no_more_than_the_step(judge: Path, world: World, tmp_path: Path) -> None:
    with closing(serving(TransformersRewarder(judge / "model", RUNTIME), name="judge")) as server:
        url, whole = server.url, tmp_path / "whole"
        learn(world, whole, Mark("served", partial(by_model, HttpRewarder(url))))
        asked = []

        def dying(prompts: Any, answers: Any) -> list[float]:
            asked.append(len(answers))
            place = url if len(asked) < 3 else "http://127.0.0.1:9"
            return by_model(HttpRewarder(place), prompts, answers)

        out = tmp_path / "broken"
        with pytest.raises(BackendError, match="the reward endpoint did not answer"):
            learn(world, out, Mark("served", dying))
        assert (out / "work").is_dir()
        learn(world, out, Mark("served", partial(by_model, HttpRewarder(url))))
    again, once = ({k: v for k, v in digests(f).items() if not k.startswith("work/")} for f in (out, whole))
    assert again == once
