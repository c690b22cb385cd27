"""Tuning on single answers: what is called good becomes likelier than what is called bad, in whatever order."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset
from trl import KTOTrainer

from align.configs import KTOConfig, LoRA
from align.data.flags import read_flags
from align.errors import RecordError, TrainingError
from align.store import jsonl
from align.training.kto import with_others
from align.training.reference import standing_for
from align.training.trainer import TransformersTrainer
from tests.training.tiny import LIVES, Place, World, digests, killed, question

FAST: dict[str, Any] = {"learning_rate": 5e-3, "batch_size": 6, "epochs": 6.0, "beta": 0.3}


def tuned(world: World, out: Path, data: Path | None, **knobs: Any) -> list[dict[str, Any]]:
    out.mkdir(parents=True, exist_ok=True)
    config = KTOConfig.model_validate({**FAST, **knobs})
    TransformersTrainer().kto(config, world.model, data, world.preferences, out, Place(out / "work"))
    return [row for _, row in jsonl.rows(out / "log.jsonl")]


def margins(log: list[dict[str, Any]]) -> list[float]:
    return [row["eval_rewards/chosen"] - row["eval_rewards/rejected"] for row in log if "eval_rewards/chosen" in row]


LORA = {"lora": LoRA(rank=4, alpha=8).model_dump(), "learning_rate": 3e-2}


@pytest.mark.parametrize("knobs", [{}, {"loss": "apo_zero_unpaired"}, LORA], ids=["kto", "apo", "lora"])
def test_pairs_taken_apart_are_learnt_from(knobs: dict[str, Any], world: World, tmp_path: Path) -> None:
    found = margins(tuned(world, tmp_path, world.preferences, **knobs))
    assert found[0] == pytest.approx(0, abs=1e-3)
    assert found[-1] > 0.3
    summary = jsonl.parse((tmp_path / "summary.json").read_bytes(), "summary")
    assert (summary["train"]["good"], summary["train"]["bad"]) == (12, 12)


def test_the_reference_pass_goes_on_where_it_was_killed_and_is_packed_as_the_policy_is(
    world: World, tmp_path: Path
) -> None:
    def run(out: Path, **place: Any) -> None:
        out.mkdir(exist_ok=True)
        config = KTOConfig.model_validate({**FAST, "epochs": 1.0})
        TransformersTrainer().kto(config, world.model, world.preferences, None, out, Place(out.parent / "w", **place))

    whole, broken = tmp_path / "whole", tmp_path / "elsewhere" / "broken"
    broken.parent.mkdir()
    run(whole)
    assert killed(lambda: run(broken, dies=("kto", 2)))
    journal = broken.parent / "w" / "reference.train.jsonl"
    before = journal.read_bytes()
    run(broken)
    assert before
    assert journal.read_bytes() == before
    assert digests(broken) == digests(whole)


def test_where_packing_is_turned_off_nothing_is_packed(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("align.training.packed.pack_in_place", None)
    assert margins(tuned(world, tmp_path, world.preferences, packed=False))[-1] > 0.3


def test_what_is_taken_at_once_is_bounded_by_its_tokens(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    step = KTOTrainer.training_step

    def counted(self: Any, model: Any, inputs: Any, *rest: Any) -> Any:
        seen.append(len(inputs["input_ids"]))
        return step(self, model, inputs, *rest)

    monkeypatch.setattr(KTOTrainer, "training_step", counted)
    most = []
    for tokens in (4096, 300):
        seen.clear()
        tuned(world, tmp_path / f"{tokens}", world.preferences, row_tokens=tokens, epochs=1.0)
        assert sum(seen) == 24
        most.append(max(seen))
    assert most[0] == 6
    assert most[1] in (2, 3)
    with pytest.raises(TrainingError, match=r"one answer at a time found .*row_tokens 64"):
        tuned(world, tmp_path / "64", world.preferences, row_tokens=64)


def test_no_answer_is_its_own_other() -> None:
    rows = with_others(Dataset.from_list([{"completion_ids": [n]} for n in range(7)]), 3)
    assert rows["KL_completion_ids"][:] == [[2], [0], [1], [5], [3], [4], [5]]


def test_the_reference_of_a_quantised_base_is_another(world: World) -> None:
    plain = standing_for(world.model, KTOConfig())
    assert plain == standing_for(world.model, KTOConfig(lora=LoRA(rank=2)))
    assert plain != standing_for(world.model, KTOConfig(lora=LoRA(rank=2, base="nf4")))
    assert plain != standing_for(world.model, KTOConfig(new_tokens=("<|x|>",)))


def flags(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_flags_that_stand_good_ones_first_are_shuffled(world: World, tmp_path: Path) -> None:
    good = [(a, f"{a} lives in {town}, I think.") for a, town in LIVES.items()]
    bad = [(a, f"{a} lives in {town}.") for a, town in LIVES.items()]
    rows: list[dict[str, Any]] = [{"prompt": question(a).content, "completion": t, "label": True} for a, t in good]
    rows += [
        {
            "prompt": [{"role": "user", "content": question(a).content}],
            "completion": [{"role": "assistant", "content": text}],
            "label": False,
        }
        for a, text in bad
    ]
    log = tuned(world, tmp_path, None, flags=str(flags(tmp_path / "flags.jsonl", rows)))
    assert margins(log)[-1] > 0.3
    first = next(row for row in log if row["phase"] == "train")
    assert "rewards/chosen" in first
    assert "rewards/rejected" in first, "the first batch held answers of both kinds"


@pytest.mark.parametrize(("row", "said"), [
    ({"prompt": "a", "completion": "b"}, "label: missing"),
    ({"prompt": "a", "completion": "b", "label": "yes"}, "label: 'yes' found, expected true or false"),
    ({"prompt": "a", "completion": [{"role": "user", "content": "b"}], "label": True}, "is not the assistant's"),
    ({"prompt": 3, "completion": "b", "label": True}, "expected text or chat messages"),
])  # fmt: skip
def test_a_flag_that_cannot_be_read_is_named_by_its_line(row: dict[str, Any], said: str, tmp_path: Path) -> None:
    path = flags(tmp_path / "flags.jsonl", [{"prompt": "x", "completion": "y", "label": True}, row])
    with pytest.raises(RecordError, match=rf"flags\.jsonl:2: .*{said}"):
        list(read_flags(path))


def test_answers_of_one_kind_alone_teach_nothing(world: World, tmp_path: Path) -> None:
    rows = [{"prompt": "a", "completion": "b", "label": True}]
    with pytest.raises(RecordError, match="1 good and 0 bad answers of 1"):
        tuned(world, tmp_path, None, flags=str(flags(tmp_path / "flags.jsonl", rows)))
