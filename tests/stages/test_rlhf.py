"""Stage `rlhf`: what a recipe's rewards ask, who watches, and what is refused."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from align.adapters.judge.grader import JudgeGrader
from align.configs import JudgeConfig, RLHFConfig, Term, Watch
from align.errors import BackendError, RecipeError, RecordError
from align.ports import Artifact, Mark
from align.records import Message, Prompt
from align.stages import rlhf
from align.stages.grading import Rater
from align.store import jsonl
from tests.adapters.judging_server import Judging, serving
from tests.workshop import TestTools


def asked(text: str, **meta: Any) -> Prompt:
    return Prompt(messages=(Message(role="user", content=text),), meta=meta)


class Counting:
    """A reward model whose score is the number of letters it reads."""

    def reward(self, conversations: Sequence[Sequence[Message]]) -> Iterator[float]:
        for messages in conversations:
            yield float(sum(len(m.content) for m in messages))

    def close(self) -> None: ...


class Capturing:
    """A trainer that keeps what it was given."""

    def rlhf(self, config: RLHFConfig, model: Path, prompts: Sequence[Prompt], marks: Sequence[Mark], out: Path,
             workshop: Any, *, cost: Mark | None = None, held_out: Mark | None = None) -> None:  # fmt: skip
        self.given = {"marks": marks, "prompts": prompts, "cost": cost, "held_out": held_out, "model": model}


class Bench(TestTools):
    def grader(self, config: JudgeConfig) -> JudgeGrader:
        return JudgeGrader(config)

    def rewarder(self, model: Path | str) -> Counting:
        self.asked_for = model
        return Counting()


def run(
    tmp_path: Path,
    config: RLHFConfig,
    prompts: Sequence[Prompt],
    test: Sequence[Prompt] = (),
    *,
    watch: bool = False,
    reward: bool = True,
) -> tuple[dict[str, Any], Bench]:
    data = tmp_path / "data"
    data.mkdir()
    jsonl.write(data / "prompts.jsonl", prompts)
    jsonl.write(data / "test_prompts.jsonl", test)
    inputs = {"data": Artifact(data, "k", "d"), "model": Artifact(tmp_path / "m", "k", "d")}
    if reward:
        inputs["reward"] = Artifact(tmp_path / "r", "k", "d")
    if watch:
        inputs["watch"] = Artifact(tmp_path / "w", "k", "d")
    trainer = Capturing()
    tools = Bench(tmp_path / "work", trainer=trainer)  # type: ignore[arg-type]
    rlhf.run(config, inputs, tmp_path / "out", tools)
    return trainer.given, tools


def test_each_kind_of_reward_is_asked(tmp_path: Path) -> None:
    config = RLHFConfig(
        rewards=(
            Term(model="stage", weight=0.5, clip=(-1, 1)),
            Term(rule="length", words=2),
            Term(rule="format", pattern="[a-z ]+"),
            Term(rule="refusal"),
            Term(function="tests.stages.test_rlhf:letters"),
            Term(url="http://127.0.0.1:9/", served="counting"),
        )
    )
    prompts = [asked("hi"), asked("how to harm", kind="harmful")]
    given, _ = run(tmp_path, config, prompts, watch=True)
    answers = ["one two three", "I cannot help with that."]
    found = {mark.name: list(mark.score(prompts, answers)) for mark in given["marks"]}
    assert found == {
        "reward_model": [15.0, 35.0], "length": [-0.5, -1.5], "format": [1.0, 0.0], "refusal": [0.0, 1.0],
        "letters": [13.0, 24.0], "served": [15.0, 35.0],
    }  # fmt: skip
    assert (given["marks"][0].weight, given["marks"][0].clip) == (0.5, (-1.0, 1.0))
    assert given["held_out"].name == "second_model"


def judged_by(judging: Judging, **knobs: Any) -> Term:
    return Term(judge=JudgeConfig(urls=(judging.url,), model="judge-1", attempts=1, **knobs))


def test_a_judges_ratings_are_rewards_and_none_is_asked_for_twice(tmp_path: Path) -> None:
    judging = Judging()
    judging.reads = lambda body: f"I counted.\nSCORE: {body['messages'][1]['content'].count('o') % 10 + 1}"
    prompts = [asked("hi"), asked("hm")]
    with serving(judging):
        given, tools = run(tmp_path, RLHFConfig(rewards=(judged_by(judging),)), prompts, reward=False)
        (mark,) = given["marks"]
        assert mark.name == "judge"
        few, many = mark.score(prompts, ["none", "oo so good"])
        assert many == few + 4
        assert judging.n == 2
        # as after a kill: what was said stands in the journal
        assert Rater(judged_by(judging).judge, tools)(prompts, ["none", "oo so good"]) == [few, many]  # type: ignore[arg-type]
        assert judging.n == 2


def test_a_rating_that_cannot_be_read_teaches_nothing_and_too_many_of_them_stop_the_run(tmp_path: Path) -> None:
    judging = Judging()
    judging.reads = lambda body: "SCORE: 11" if "mute" in body["messages"][1]["content"] else "SCORE: 4"
    prompts = [asked("hi")] * 3
    with serving(judging):
        config = RLHFConfig(rewards=(judged_by(judging, min_readable=0.6),))
        score = run(tmp_path, config, prompts, reward=False)[0]["marks"][0].score
        assert score(prompts, ["a", "b", "mute"]) == [4.0, 4.0, 4.0]
        with pytest.raises(BackendError, match=r"judge judge-1: only 1 of 3 ratings can be read, expected 60%"):
            score(prompts, ["c", "mute", "mute too"])


def test_a_judge_that_dies_in_the_middle_is_named(tmp_path: Path) -> None:
    judging = Judging(fault=lambda n: "503" if n > 1 else "none")
    judging.reads = lambda body: "SCORE: 4"
    with serving(judging):
        config = RLHFConfig(rewards=(judged_by(judging, concurrency=1),))
        score = run(tmp_path, config, [asked("hi")], reward=False)[0]["marks"][0].score
        assert score([asked("hi")], ["a"]) == [4.0]
        with pytest.raises(BackendError, match=r"judge: .* answers HTTP 503, after 1 attempts"):
            score([asked("hi")], ["b"])


def letters(messages: list[dict[str, str]], answer: str) -> float:
    if not messages[0]["content"]:
        raise KeyError("no question")
    return len(answer)


def test_where_a_reward_is_served_names_no_result_and_what_is_served_does() -> None:
    here, there = (Term(url=f"http://127.0.0.1:{port}", served="a") for port in (1, 2))
    assert here.keyed() == there.keyed()
    assert here.keyed() != Term(url="http://127.0.0.1:1", served="b").keyed()


def test_a_function_that_fails_is_named(tmp_path: Path) -> None:
    config = RLHFConfig(rewards=(Term(function="tests.stages.test_rlhf:letters"),))
    given, _ = run(tmp_path, config, [asked("x")], reward=False)
    with pytest.raises(RecipeError, match=r"letters failed on prompt .*KeyError"):
        given["marks"][0].score([asked("")], ["a"])
    with pytest.raises(RecipeError, match="has no function nothing"):
        rlhf.imported("tests.stages.test_rlhf:nothing")


def test_a_function_of_the_folder_one_stands_in_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.path", [path for path in sys.path if path not in ("", str(Path.cwd()))])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reward_of_this_folder.py").write_text("def fine(messages, answer):\n    return 2.0\n")
    term = Term(function="reward_of_this_folder:fine")
    assert term.keyed()["source"]
    assert rlhf.imported(str(term.function))([], "x") == 2.0
    monkeypatch.delitem(sys.modules, "reward_of_this_folder")


def test_a_changed_function_is_another_reward(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    module = tmp_path / "my_reward_for_keys.py"
    keys = []
    for body in ("return 1.0", "return 2.0"):
        module.write_text(f"def score(messages, answer):\n    {body}\n", encoding="utf-8")
        keys.append(Term(function="my_reward_for_keys:score").keyed()["source"])
    assert keys[0] != keys[1]
    with pytest.raises(ValueError, match="cannot be found"):
        Term(function="no_such_module_here:score").keyed()


def test_who_watches(tmp_path: Path) -> None:
    config = RLHFConfig(rewards=(Term(rule="length"),), watch=Watch(by="auto"))
    given, tools = run(tmp_path, config, [asked("a")])
    assert given["held_out"] is None
    assert "over-optimisation would not be seen" in tools.notes[0]
    with pytest.raises(RecipeError, match="needs a second reward model"):
        rlhf.judge(RLHFConfig(watch=Watch(by="second_model")), {}, [asked("a")], tools)
    with pytest.raises(RecipeError, match="knows the testbed's prompts alone"):
        rlhf.judge(RLHFConfig(watch=Watch(by="testbed")), {}, [asked("a")], tools)


def test_prompts_that_are_measured_on_are_not_learnt_from(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="1 of 2 prompts also stand among the test prompts"):
        run(tmp_path, RLHFConfig(), [asked("Where is  it?"), asked("b")], [asked("where is it?")])


def test_the_stages_reward_model_is_needed_where_it_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="needs the recipe's reward model"):
        run(tmp_path, RLHFConfig(), [asked("a")], reward=False)


@pytest.mark.parametrize(("bad", "said"), [
    ({"rewards": [{"rule": "length", "model": "stage"}]}, "exactly one of"),
    ({"rewards": [{"rule": "format"}]}, "belongs to `rule: format`"),
    ({"rewards": [{"rule": "length"}, {"rule": "length"}]}, "are called 'length'; give each a `name`"),
    ({"rewards": [{"model": "stage"}], "cost": {"cost": {"model": "/rm"}, "budget": 0}}, "are called 'reward_model'"),
    ({"cost": {"cost": {"rule": "length", "weight": 2}, "budget": 0}}, "its weight is learnt"),
    ({"rewards": [{"hub": "some/reward"}]}, "belongs to `hub`, which needs it"),
    ({"keep": {"kl": 0.1}}, "leave `keep` out"),
    ({"eval_every": 3}, "use watch.every"),
    ({"algorithm": "rloo", "loss": "grpo"}, "loss: `rloo` would ignore it"),
    ({"algorithm": "rloo", "scale_rewards": "none"}, "scale_rewards: `rloo` would ignore it"),
    ({"rewards": []}, "at least one reward"),
    ({"rewards": [{"url": "http://127.0.0.1:1"}]}, "say which reward model answers there"),
    ({"batch_size": 10, "samples_per_prompt": 4}, "not a multiple of samples_per_prompt"),
    ({"rewards": [{"rule": "length", "clip": [1, 0]}]}, "expected the lower bound first"),
    ({"early_stopping": 2}, "measures nothing"),
])  # fmt: skip
def test_knobs_that_make_no_sense_are_refused(bad: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        RLHFConfig.model_validate(bad)
