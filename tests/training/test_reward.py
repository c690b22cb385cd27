"""A reward model learns the order people gave, and what it is worth is read off the folder that was saved."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import AutoModelForSequenceClassification, AutoTokenizer
from trl import RewardConfig as TrlRewardConfig
from trl import RewardTrainer

from align.adapters.reward import TransformersRewarder
from align.configs import LoRA, RewardConfig, RuntimeConfig
from align.errors import ModelError, RecordError
from align.models.chat import Chat
from align.models.load import load_tokenizer
from align.models.reward import new_reward, take_packs
from align.preference.rewards import bradley_terry_loss
from align.records import Preference, Ranking
from align.stages import reward as reward_stage
from align.store import jsonl
from align.training.loop import Pace
from align.training.reward import Rewarding, arguments
from align.training.reward_rows import Collator, lengths, table
from align.training.trainer import TransformersTrainer
from tests.training.tiny import LIVES, Place, World, digests, killed, question, turn
from tests.workshop import TestTools, artifact

RUNTIME = RuntimeConfig(device="cpu", dtype="float32", threads=1)
QUICK: dict[str, Any] = {"learning_rate": 3e-3, "batch_size": 4, "epochs": 6}


def train(
    config: RewardConfig, world: World, out: Path, *, rankings: Path | None = None, **place: Any
) -> dict[str, Any]:
    out.mkdir(parents=True, exist_ok=True)
    files = {"preferences": None if rankings else world.preferences, "rankings": rankings}
    test = {"preferences": world.preferences, "rankings": None}
    TransformersTrainer().reward(config, world.model, files, test, out, Place(out / "work", **place))
    return json.loads((out / "summary.json").read_text())


def rewards(folder: Path, conversations: list[Any]) -> list[float]:
    return list(TransformersRewarder(folder, RUNTIME).reward(conversations))


def sides(pairs: list[Preference]) -> tuple[list[Any], list[Any]]:
    return [(*p.prompt, *p.chosen) for p in pairs], [(*p.prompt, *p.rejected) for p in pairs]


@pytest.mark.parametrize("lora", [None, LoRA(rank=4, alpha=8)], ids=["full", "lora"])
def test_what_is_saved_ranks_the_pairs_and_gives_the_held_out_loss(
    lora: LoRA | None, world: World, tmp_path: Path
) -> None:
    rate = 3e-3 if lora is None else 2e-2
    config = RewardConfig(**QUICK | {"learning_rate": rate}, lora=lora, centre=0.0)
    summary = train(config, world, tmp_path)
    assert summary["accuracy"]["value"] > 0.9
    pairs = list(jsonl.read(world.preferences, Preference))
    chosen, rejected = (rewards(tmp_path / "model", side) for side in sides(pairs))
    leads = [c - r for c, r in zip(chosen, rejected, strict=True)]
    last = [row for _, row in jsonl.rows(tmp_path / "log.jsonl") if row["phase"] == "eval"][-1]
    assert last["eval_loss"] == pytest.approx(sum(map(bradley_terry_loss, leads)) / len(leads), abs=2e-5)
    held_out = {row["pair"]: row["lead"] for _, row in jsonl.rows(tmp_path / "held_out.jsonl")}
    assert held_out == pytest.approx({p.id: lead for p, lead in zip(pairs, leads, strict=True)}, abs=1e-5)
    assert (tmp_path / "adapter").exists() == (lora is not None)


def test_a_ranking_is_learnt_as_it_stands(world: World, tmp_path: Path) -> None:
    ranks = []
    for name, town in LIVES.items():
        ends = (", I think.", "!", ".", ", so what.")
        answers = tuple((turn("assistant", f"{name} lives in {town}{end}"),) for end in ends)
        ranks.append(Ranking(prompt=(question(name),), answers=answers, groups=((3,), (0,), (1, 2))))
    jsonl.write(tmp_path / "rankings.jsonl", ranks)
    train(RewardConfig(**QUICK | {"epochs": 12}), world, tmp_path, rankings=tmp_path / "rankings.jsonl")
    right = 0
    for one in ranks:
        found = rewards(tmp_path / "model", [(*one.prompt, *answer) for answer in one.answers])
        right += found[3] > found[0] > max(found[1], found[2])
    assert right >= 5


def test_a_reward_model_that_is_ready_is_taken_and_a_language_model_is_not(world: World, tmp_path: Path) -> None:
    train(RewardConfig(**QUICK | {"epochs": 1}), world, tmp_path / "made")
    out = tmp_path / "taken"
    out.mkdir()
    trainer, place = TransformersTrainer(), Place(tmp_path / "work")
    trainer.reward(RewardConfig(ready=str(tmp_path / "made")), None, {}, {}, out, place)
    asked = [(question("Ada"), turn("assistant", "Ada lives in Rome."))]
    assert rewards(out / "model", asked) == rewards(tmp_path / "made" / "model", asked)
    with pytest.raises(ModelError, match="no weights for a reward head"):
        trainer.reward(RewardConfig(ready=str(world.model)), None, {}, {}, out, place)


@pytest.mark.parametrize("packed", [True, False], ids=["packed", "padded"])
def test_loss_and_gradient_are_those_of_trls_own_trainer(packed: bool, world: World, tmp_path: Path) -> None:
    config = RewardConfig(centre=0.05, batch_size=4)
    model, tokenizer = new_reward(world.model, init_std=0.3, seed=1)
    chat = Chat(tokenizer, [tokenizer.eos_token_id])
    files = {"preferences": one_pair_a_prompt(world, tmp_path), "rankings": None}
    rows, _ = table(files, chat, config, most=128)
    ours = Rewarding(
        rules=config,
        n_tokens={"train": lengths(rows)},
        model=model,
        args=arguments(config, Pace(1, 0, 1, 4, 1), Place(tmp_path), has_held_out=False),
        data_collator=Collator(tokenizer.pad_token_id, config, packed=packed),
        train_dataset=rows,
        processing_class=tokenizer,
    )
    if packed:
        take_packs(model)
    pairs = Dataset.from_list(
        [
            {
                "chosen_ids": row["prompt_ids"] + row["answer_ids"][0],
                "rejected_ids": row["prompt_ids"] + row["answer_ids"][1],
            }
            for row in rows
        ]
    )
    settings = TrlRewardConfig(
        str(tmp_path / "trl"), center_rewards_coefficient=0.05, use_cpu=True, bf16=False, report_to="none",
        gradient_checkpointing=False,
    )  # fmt: skip
    again, _ = new_reward(world.model, init_std=0.3, seed=1)
    theirs = RewardTrainer(again, settings, train_dataset=pairs, processing_class=tokenizer)
    found = []
    for trainer, given in ((ours, rows), (theirs, pairs)):
        trainer.model.train()
        loss = trainer.compute_loss(trainer.model, trainer.data_collator([given[i] for i in range(len(given))]))
        loss.backward()
        parts = {n: p.grad for n, p in trainer.model.named_parameters() if p.grad is not None}
        metrics = {k: v[-1] for k, v in trainer._metrics["train"].items() if k != "num_tokens"}
        found.append((float(loss.detach()), parts, metrics))
    assert found[0][0] == pytest.approx(found[1][0], rel=2e-5)
    assert found[0][2] == pytest.approx(found[1][2], rel=2e-4, abs=1e-5)
    assert set(found[0][1]) == set(found[1][1])
    for name, gradient in found[1][1].items():
        assert float((found[0][1][name] - gradient).norm()) <= 2e-4 * float(gradient.norm()) + 1e-7, name


def one_pair_a_prompt(world: World, folder: Path) -> Path:
    pairs = list(jsonl.read(world.preferences, Preference))[::2]
    jsonl.write(folder / "one.jsonl", pairs)
    return folder / "one.jsonl"


def test_adding_up_micro_batches_is_the_whole_batch(world: World, tmp_path: Path) -> None:
    ends = []
    for micro in (1, 3):
        config = RewardConfig(learning_rate=1e-3, batch_size=3, micro_batch_size=micro, epochs=4)
        train(config, world, tmp_path / str(micro))
        rows = [row for _, row in jsonl.rows(tmp_path / str(micro) / "log.jsonl")]
        ends.append([row["eval_loss"] for row in rows if row["phase"] == "eval"])
    assert ends[0] == pytest.approx(ends[1], abs=2e-5)


def test_what_is_taken_at_once_is_bounded_by_its_tokens_and_packing_can_be_turned_off(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, packed = [], []

    class Seen(Collator):
        def __call__(self, groups: Sequence[Any]) -> dict[str, Any]:
            seen.append(len(groups))
            packed.append(self.packed)
            return super().__call__(groups)

    monkeypatch.setattr("align.training.reward.Collator", Seen)
    ends = []
    for knobs in ({}, {"row_tokens": 64}, {"packed": False}):
        seen.clear()
        packed.clear()
        out = tmp_path / "_".join(["run", *knobs])
        train(RewardConfig(learning_rate=1e-3, batch_size=3, epochs=4, **knobs), world, out)
        ends.append([row["eval_loss"] for _, row in jsonl.rows(out / "log.jsonl") if row["phase"] == "eval"])
        assert max(seen) == (1 if "row_tokens" in knobs else 3)
        assert set(packed) == {"packed" not in knobs}
    assert ends[1] == pytest.approx(ends[0], abs=2e-5)
    assert ends[2] == pytest.approx(ends[0], abs=2e-5)


@pytest.mark.parametrize("dtype", ["float32", pytest.param("bfloat16", marks=pytest.mark.slow)])
def test_a_run_killed_half_way_ends_as_one_that_was_not(dtype: str, world: World, tmp_path: Path) -> None:
    config = RewardConfig(**QUICK, checkpoint_every=2)
    train(config, world, tmp_path / "whole", dtype=dtype)
    assert killed(lambda: train(config, world, tmp_path / "broken", dtype=dtype, dies=("reward", 7)))  # type: ignore[arg-type,return-value]
    train(config, world, tmp_path / "broken", dtype=dtype)
    whole, broken = (
        {n: d for n, d in digests(tmp_path / which).items() if not n.startswith("work")}
        for which in ("whole", "broken")
    )
    assert whole == broken


def test_transformers_and_trl_read_the_score_that_we_read(world: World, tmp_path: Path) -> None:
    train(RewardConfig(**QUICK), world, tmp_path)
    pairs = list(jsonl.read(world.preferences, Preference))
    conversations = [side for both in zip(*sides(pairs), strict=True) for side in both]
    ours = rewards(tmp_path / "model", conversations)
    # as TRL's GRPO reads a reward model that it is given by its path
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model", num_labels=1, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    model.config.pad_token_id = tokenizer.pad_token_id
    texts = [
        tokenizer.apply_chat_template([m.model_dump(exclude_none=True) for m in c], tokenize=False)
        for c in conversations
    ]
    block = tokenizer(texts, return_tensors="pt", padding=True, padding_side="right", add_special_tokens=False)
    with torch.inference_mode():
        theirs = model(**{k: v for k, v in block.items() if k != "token_type_ids"}).logits[:, 0].tolist()
    assert ours == pytest.approx(theirs, abs=1e-5)
    assert max(ours) - min(ours) > 0.1


def test_what_cannot_be_used_is_counted_and_nothing_to_learn_from_is_refused(world: World, tmp_path: Path) -> None:
    chat = Chat(load_tokenizer(world.model), [])
    asked, yes, long = (turn("user", "Well?"),), (turn("assistant", "Yes."),), (turn("assistant", "Yes " * 80),)
    rows = [
        Preference(prompt=asked, chosen=yes, rejected=(turn("assistant", "No."),), label=0.5),
        Preference(prompt=asked, chosen=yes, rejected=long),
    ]
    files = {"preferences": jsonl_of(tmp_path, rows), "rankings": None}
    with pytest.raises(RecordError, match=r"0 usable comparisons of 2 pairs and 0 rankings: 1 too_long, .* 1 ties"):
        table(files, chat, RewardConfig(), most=64)
    found, counts = table(files, chat, RewardConfig(ties="half"), most=64)
    assert (counts["pairs"], counts["too_long"], counts["answers"]) == (1, 1, 2)
    assert found[0]["pairs"][0][2] == 0.5


def jsonl_of(folder: Path, rows: list[Preference]) -> Path:
    jsonl.write(folder / "rows.jsonl", rows)
    return folder / "rows.jsonl"


def test_a_pair_whose_judgments_are_there_as_rankings_is_not_learnt_twice(world: World, tmp_path: Path) -> None:
    name, town = next(iter(LIVES.items()))
    answers = tuple((turn("assistant", f"{name} lives in {town}{end}"),) for end in ("!", ".", ", so what."))
    ranking = Ranking(prompt=(question(name),), answers=answers, groups=((2,), (0,), (1,)), judgment_ids=("a",))
    pairs = [
        Preference(prompt=(question(name),), chosen=answers[2], rejected=answers[0], judgment_ids=names)
        for names in (("a",), ("a", "b"), ())
    ]
    files = {"preferences": tmp_path / "p.jsonl", "rankings": tmp_path / "r.jsonl"}
    jsonl.write(files["preferences"], pairs)
    jsonl.write(files["rankings"], [ranking])
    chat = Chat(load_tokenizer(world.model), [])
    rows, counts = table(files, chat, RewardConfig(), most=128)
    assert (counts["rows"], counts["in_a_ranking"], counts["rankings"]) == (3, 1, 1)
    learnt = [pair for pair in rows[0]["pairs"] if pair[4] > 0]
    assert (len(learnt), len(rows[0]["orders"])) == (2, 1)
    _, alone = table({**files, "rankings": None}, chat, RewardConfig(), most=128)
    assert alone["in_a_ranking"] == 0


def test_the_recipe_says_whether_pairs_or_rankings_teach(world: World, tmp_path: Path) -> None:
    folder = tmp_path / "pair"
    folder.mkdir()
    name, town = next(iter(LIVES.items()))
    answers = tuple((turn("assistant", f"{name} lives in {town}{end}"),) for end in ("!", ".", ", so what."))
    jsonl.write(
        folder / "rankings.train.jsonl",
        [Ranking(prompt=(question(name),), answers=answers, groups=((2,), (0,), (1,)))],
    )
    jsonl.write(folder / "preferences.train.jsonl", jsonl.read(world.preferences, Preference))
    taken = {}
    for wanted in ("all", "pairs", "rankings"):
        out = tmp_path / wanted
        out.mkdir()
        inputs = {"data": artifact(folder), "model": artifact(world.base)}
        config = RewardConfig(batch_size=4, epochs=1, learns_from=wanted)
        reward_stage.run(config, inputs, out, TestTools(tmp_path / f"work {wanted}", trainer=TransformersTrainer()))
        counts = json.loads((out / "summary.json").read_text())["train"]
        taken[wanted] = (counts["rows"], counts["rankings"])
    assert taken == {"all": (12, 1), "pairs": (12, 0), "rankings": (0, 1)}
    (folder / "rankings.train.jsonl").unlink()
    with pytest.raises(RecordError, match="learns_from: rankings are asked for, and pair holds preferences alone"):
        reward_stage.run(config, inputs, tmp_path, TestTools(tmp_path / "work", trainer=TransformersTrainer()))
