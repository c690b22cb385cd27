"""Reinforcement learning on a tiny made world, its rewards plain functions whose truth is known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import pyarrow.parquet
import pytest

from align.configs import Budget, LoRA, RLHFConfig, SFTConfig, Term, Watch
from align.errors import TrainingError, UsageError
from align.models.sampling import Draw
from align.models.trees import Group
from align.ports import Mark
from align.records import Prompt
from align.store import jsonl
from align.training.reinforcing import GroupRelative
from align.training.rlhf import pace_of
from align.training.rollouts import Told, Watching, draw, sums
from align.training.trainer import TransformersTrainer
from tests.training.tiny import Place, World, digests, killed, question

NAMES = [
    f"{a}{b}" for a in ("Ada", "Bob", "Cleo", "Dan", "Eve", "Finn") for b in ("", " now", " today", " then", " later")
]
PROMPTS = [Prompt(messages=(question(name),)) for name in NAMES]


def vowels(_: Sequence[Prompt], answers: Sequence[str]) -> list[float]:
    """Something that any model can learn to write more of."""
    return [sum(c in "aeiou" for c in a) / max(1, len(a)) for a in answers]


def few(_: Sequence[Prompt], answers: Sequence[str]) -> list[float]:
    return [float(len(a)) / 20 for a in answers]


@pytest.fixture(scope="module")
def speaker(world: World, tmp_path_factory: pytest.TempPathFactory) -> World:
    """The tiny world, its model tuned until it ends what it says."""
    out = tmp_path_factory.mktemp("speaker")
    config = SFTConfig(learning_rate=1e-2, batch_size=6, epochs=20)
    TransformersTrainer().sft(config, world.model, world.demonstrations, None, out, Place(out / "work"))
    return World(world.folder, out / "model", out)


VOWELS = Mark("vowels", vowels)
SMALL: dict[str, Any] = {
    "batch_size": 16, "samples_per_prompt": 4, "max_answer_tokens": 24, "learning_rate": 3e-3, "steps": 12,
    "beta": 0.02, "warmup_share": 0.0, "schedule": "constant", "watch": {"prompts": 8, "by": "auto"},
}  # fmt: skip


def tuned(
    speaker: World,
    out: Path,
    *,
    place: Place | None = None,
    marks: Sequence[Mark] = (VOWELS,),
    price_of: Mark | None = None,
    held_out: Mark | None = None,
    **knobs: Any,
) -> list[dict[str, Any]]:
    out.mkdir(parents=True, exist_ok=True)
    TransformersTrainer().rlhf(
        RLHFConfig.model_validate({**SMALL, **knobs}), speaker.model, PROMPTS, marks, out, place or Place(out / "work"),
        cost=price_of, held_out=held_out,
    )  # fmt: skip
    return [row for _, row in jsonl.rows(out / "log.jsonl")]


def looked(log: list[dict[str, Any]], name: str) -> list[float]:
    return [row[f"eval_{name}"] for row in log if f"eval_{name}" in row]


@pytest.mark.parametrize("algorithm", ["grpo", "rloo"])
def test_the_reward_rises_and_the_policy_leaves_its_reference(algorithm: str, speaker: World, tmp_path: Path) -> None:
    log = tuned(speaker, tmp_path, algorithm=algorithm, steps=25)
    proxy, kl = looked(log, "proxy"), looked(log, "kl")
    assert kl[0] == pytest.approx(0, abs=1e-4)
    assert kl[-1] > 0.05
    assert proxy[-1] > proxy[0] + 0.02
    rollouts = pyarrow.parquet.read_table(tmp_path / "rollouts.parquet").to_pylist()
    assert len(rollouts) == 25 * 16
    first = [row for row in rollouts if row["step"] == 1]
    assert all(abs(row["kl"]) < 1e-3 for row in first)
    assert [row["reward/vowels"] for row in first] == pytest.approx(vowels((), [row["answer"] for row in first]))
    assert {row["prompt_id"] for row in rollouts}.isdisjoint(
        row["prompt_id"] for _, row in jsonl.rows(tmp_path / "looks.jsonl")
    )


def test_the_loss_is_the_one_asked_for(speaker: World, tmp_path: Path) -> None:
    short = {"steps": 2, "watch": {"by": "none"}}
    found = {
        name: [row["loss"] for row in tuned(speaker, tmp_path / name, loss=name, **short) if "loss" in row]
        for name in ("dapo", "grpo", "dr_grpo")
    }
    # the same answers and advantages, averaged over other things
    assert len({round(losses[0], 9) for losses in found.values()}) == 3, found


def test_an_adapter_is_its_own_reference_when_off(speaker: World, tmp_path: Path) -> None:
    log = tuned(speaker, tmp_path, lora=LoRA(rank=4, alpha=8).model_dump(), learning_rate=2e-2)
    assert looked(log, "kl")[0] == pytest.approx(0, abs=1e-4)
    assert looked(log, "kl")[-1] > 0.01
    assert (tmp_path / "adapter" / "adapter_model.safetensors").exists()


@pytest.mark.parametrize(
    ("after", "knobs"), [(3, {}), (7, {}), (5, {"iterations": 2, "checkpoint_every": 3, "micro_batch_size": 8})]
)
def test_a_killed_run_ends_as_one_that_was_not(
    after: int, knobs: dict[str, Any], speaker: World, tmp_path: Path
) -> None:
    knobs = {"checkpoint_every": 4, "steps": 8, **knobs}
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    tuned(speaker, whole, **knobs)
    assert killed(lambda: tuned(speaker, parts, place=Place(parts / "work", dies=("rlhf", after)), **knobs) and None)
    tuned(speaker, parts, **knobs)
    for name in ("model", "looks.jsonl", "rollouts.parquet", "log.jsonl"):
        one, two = whole / name, parts / name
        assert (digests(one) == digests(two)) if one.is_dir() else (one.read_bytes() == two.read_bytes()), name


def test_a_price_is_learnt_until_the_cost_fits_its_budget(speaker: World, tmp_path: Path) -> None:
    budget = Budget(cost=Term(rule="length"), budget=0.4, rate=2.0, start=0.0)
    log = tuned(speaker, tmp_path, price_of=Mark("long", few), cost=budget.model_dump(), steps=15)
    prices = [row["cost/price"] for row in log if "cost/price" in row]
    costs = [row["rewards/long/mean"] for row in log if "rewards/long/mean" in row]
    for before, price, cost in zip([0.0, *prices], prices, costs, strict=False):
        assert price == pytest.approx(max(0.0, before + 2.0 * (cost - 0.4)), abs=1e-4)
    assert any(price > 0 for price in prices)


def test_a_judge_who_disagrees_raises_the_alarm_and_the_best_model_is_kept(speaker: World, tmp_path: Path) -> None:
    against = Mark("against", lambda prompts, answers: [-x for x in vowels(prompts, answers)])
    log = tuned(speaker, tmp_path, held_out=against, steps=30, watch={"prompts": 8, "every": 3, "on_alarm": "stop"})
    held_out = looked(log, "held_out")
    steps = [row["step"] for row in log if "eval_held_out" in row]
    assert steps[-1] < 30, "it was stopped on the way"
    best = steps[held_out.index(max(held_out))]
    (tmp_path / "again").mkdir()
    again = tuned_again(speaker, tmp_path)
    assert again == pytest.approx(max(held_out), abs=0.02), f"the model is that of step {best}"


def tuned_again(speaker: World, out: Path) -> float:
    """What the judge says of the saved model, by a look before any step."""
    place = Place(out / "again" / "work")
    config = RLHFConfig.model_validate({**SMALL, "steps": 1})
    TransformersTrainer().rlhf(
        config, out / "model", PROMPTS, [VOWELS], out / "again", place,
        held_out=Mark("against", lambda prompts, answers: [-x for x in vowels(prompts, answers)]),
    )  # fmt: skip
    return looked([row for _, row in jsonl.rows(out / "again" / "log.jsonl")], "held_out")[0]


def test_a_reward_that_is_no_number_or_says_nothing_stops_the_run(speaker: World, tmp_path: Path) -> None:
    broken = Mark("broken", lambda _, answers: [float("nan") for _ in answers])
    with pytest.raises(TrainingError, match=r"step 1: reward broken: 16 of 16 scores are no numbers"):
        tuned(speaker, tmp_path / "nan", marks=[broken], watch=Watch(by="none").model_dump())
    still = Mark("still", lambda _, answers: [1.0 for _ in answers])
    with pytest.raises(TrainingError, match="reward still: every answer of the last 3 steps has the same score"):
        tuned(speaker, tmp_path / "still", marks=[still])
    with pytest.raises(TrainingError, match="reward still: every answer of the last 3 steps"):
        tuned(speaker, tmp_path / "beside", marks=[VOWELS, still])
    rule = Mark("rule", lambda _, answers: [1.0 for _ in answers], may_rest=True)
    tuned(speaker, tmp_path / "rule", marks=[VOWELS, rule], steps=4)


def test_answers_to_a_prompt_stay_together_in_a_micro_batch(
    speaker: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []
    theirs = GroupRelative.compute_loss

    def watched(self: Any, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append([str(ids.tolist()) for ids in inputs["prompt_ids"]])
        return theirs(self, model, inputs, *args, **kwargs)

    monkeypatch.setattr(GroupRelative, "compute_loss", watched)
    tuned(speaker, tmp_path, micro_batch_size=4, steps=3)
    assert len(seen) == 3 * 4
    assert all(len(set(prompts)) == 1 for prompts in seen)
    whole = tuned(speaker, tmp_path / "whole", steps=3)
    parts = [row for _, row in jsonl.rows(tmp_path / "log.jsonl")]
    losses = [[row["loss"] for row in log if "loss" in row] for log in (whole, parts)]
    assert losses[0] == pytest.approx(losses[1], abs=2e-5)


def test_answers_that_never_end_stop_the_run(speaker: World, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="was cut at 2 tokens"):
        tuned(speaker, tmp_path, max_answer_tokens=2)


def test_answers_are_drawn_under_bfloat16_too(speaker: World, tmp_path: Path) -> None:
    log = tuned(speaker, tmp_path, place=Place(tmp_path / "work", dtype="bfloat16"), steps=2)
    assert looked(log, "kl")[0] == pytest.approx(0, abs=0.5)


class Engine:
    """Stands where TRL's vLLM engine would: it is handed the weights and draws by our own sampler."""

    synced: ClassVar[list[int]] = []

    def __init__(self, model: Any, **settings: Any) -> None:
        self.model, self.settings, self.end = model, settings, settings["processing_class"].eos_token_id

    def sync_weights(self) -> None:
        self.synced.append(1)

    def generate(self, prompts: list[list[int]], images: Any, num_generations: int, profiler: Any) -> Any:
        told = [Told(PROMPTS[0], tuple(ids)) for ids in prompts]
        chosen = Draw(1.0, 1.0, self.settings["max_completion_length"], frozenset({self.end}))
        drawn = [of[0] for of in draw(self.model, told, [[i] for i in range(len(told))], chosen)]
        logps = sums(self.model, [Group(t.ids, (tuple(ids),)) for t, ids in zip(told, drawn, strict=True)])
        return prompts, drawn, [[[logp / len(ids)] for _ in ids] for logp, ids in zip(logps, drawn, strict=True)], None


@pytest.mark.parametrize("algorithm", ["grpo", "rloo"])
def test_where_the_recipe_asks_for_vllm_trls_engine_draws_and_the_books_are_kept(
    algorithm: str, speaker: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"trl.trainer.{algorithm}_trainer.VLLMGeneration", Engine)
    monkeypatch.setattr("align.training.rlhf.refuse_vllm_without_gpu", lambda *_: None)
    Engine.synced.clear()
    log = tuned(speaker, tmp_path, algorithm=algorithm, engine={"name": "vllm"}, steps=4)
    assert len(Engine.synced) == 4
    rows = pyarrow.parquet.read_table(tmp_path / "rollouts.parquet").to_pylist()
    assert len(rows) == 4 * 16
    assert all(row["kl"] is not None for row in rows)
    assert looked(log, "proxy")


@pytest.mark.parametrize(
    ("knobs", "longest", "micro"),
    [
        ({}, 10, 16),
        ({"row_tokens": 8 * 20 + 2 * 10}, 10, 8),
        ({"row_tokens": 8 * 20 + 2 * 10 - 1}, 10, 4),
        ({"row_tokens": 8 * 20 + 2 * 10, "packed": False}, 10, 4),
        ({"row_tokens": 64}, 200, 1),
        ({"row_tokens": 64, "micro_batch_size": 8}, 200, 8),
    ],
)
def test_answers_taken_at_once_fit_in_a_row_at_their_longest(knobs: dict[str, Any], longest: int, micro: int) -> None:
    rule = {"rule": "length", "words": 5}
    config = RLHFConfig.model_validate(
        {"batch_size": 16, "samples_per_prompt": 4, "max_answer_tokens": 20, "steps": 3, "rewards": [rule], **knobs}
    )
    pace = pace_of(config, 100, longest=longest)
    assert (pace.micro, pace.accumulate) == (micro, 16 // micro)


@pytest.mark.parametrize("engine", [{"name": "vllm"}, {"name": "vllm_server", "url": "http://127.0.0.1:9"}])
def test_on_a_cpu_vllm_is_refused_before_anything_is_made(
    engine: dict[str, str], speaker: World, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=r"rlhf.engine.name: vllm.* on a CPU, .*take `transformers`"):
        tuned(speaker, tmp_path, engine=engine)
    assert not list(tmp_path.glob("**/*.safetensors"))


@pytest.mark.parametrize("harmful", [True, False])
def test_declining_more_is_an_alarm_but_for_what_is_harmful(harmful: bool, tmp_path: Path) -> None:
    same = {"answers": ["a"], "held_out": None, "kl": 0.1, "tokens": 5.0, "likeness": 0.1, "unfinished": 0.0,
            "distinct": None}  # fmt: skip
    rows = [
        {**same, "step": step, "prompt_id": str(i), "proxy": step + i / 9, "harmful": harmful,
         "refused": float(step > 0 and i % 4 > 0)}
        for step in (0, 5) for i in range(16)
    ]  # fmt: skip
    jsonl.write(tmp_path / "looks.jsonl", rows)
    chosen = Draw(1.0, 1.0, 8, frozenset({0}))
    watching = Watching(RLHFConfig(), [], [], None, lambda _: "", chosen, tmp_path, 0)
    watching.forget_after(5)
    watching.close()
    assert ("refused" in watching.alarms) is not harmful
