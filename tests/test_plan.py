"""The pipeline on one page: which steps a recipe asks for, and what each reads."""

from __future__ import annotations

from pathlib import Path

import pytest

from align import recipe as recipes
from align.configs import LabelStep
from align.errors import RecipeError
from align.plan import AUDITED, MEASURED, STAGES, Step, needed, plan
from align.runner.keys import located

BASE = "model: {scratch: {}}\ndata: {testbed: {}}\n"
PROMPTS_ONLY = "model: {folder: m}\ndata: {prompts: [{path: p.jsonl}]}\nlabel: {desk: file, judgments: j.jsonl}\n"
TAKEN = "model: {folder: m}\ndata: {preferences: [{path: p.jsonl}]}\n"


def steps(tmp_path: Path, text: str) -> dict[str, Step]:
    (tmp_path / "r.yaml").write_text(text, encoding="utf-8")
    return {step.name: step for step in plan(recipes.load(tmp_path / "r.yaml"))}


def reads(found: dict[str, Step], name: str) -> dict[str, str]:
    return dict(found[name].inputs)


def test_from_nothing_but_a_world_every_stage_is_run(tmp_path: Path) -> None:
    found = steps(tmp_path, BASE + "sft: {}\nevaluate: {instruments: [facts, refusal, dpo_accuracy]}\n")
    assert [step.stage for step in found.values()] == [
        "prepare", "base", "sft", "generate", "label", "pair", "dpo", "generate", "generate", "generate",
        *["evaluate"] * 9, "audit", "gate", "export",
    ]  # fmt: skip
    assert reads(found, "base") == {"data": "prepare"}
    assert reads(found, "generate") == {"model": "sft", "data": "prepare"}
    assert reads(found, "pair") == {"label": "label", "candidates": "generate", "data": "prepare"}
    assert reads(found, "dpo") == {"model": "sft", "data": "pair", "kept": "prepare"}
    assert reads(found, "answers/tuned") == {"model": "dpo", "data": "prepare"}
    assert reads(found, "evaluate/tuned/refusal") == {"data": "prepare", "answers": "answers/tuned"}
    assert reads(found, "audit/tuned") == {"answers": "answers/tuned", "data": "prepare"}
    assert set(reads(found, "gate")) == {name for name in found if name.startswith(("evaluate/", "audit/"))}
    assert {"model", "gate", "data", "preferences"} <= set(reads(found, "export"))


def test_the_other_road_learns_a_reward_first_and_shares_what_comes_before(tmp_path: Path) -> None:
    measured = "sft: {}\nevaluate: {instruments: [refusal]}\n"
    dpo = steps(tmp_path, BASE + measured)
    found = steps(tmp_path, BASE + measured + "method: rlhf\n")
    assert {name for name in found if name in dpo} >= {"prepare", "base", "sft", "generate", "label", "pair"}
    assert all(found[name] == dpo[name] for name in ("base", "sft", "generate", "label", "pair"))
    assert reads(found, "reward") == {"model": "sft", "data": "pair"}
    assert reads(found, "rlhf") == {"model": "sft", "data": "prepare", "reward": "reward"}
    assert reads(found, "answers/tuned") == {"model": "rlhf", "data": "prepare"}
    assert "dpo" not in found


def test_writers_read_the_earlier_models_that_they_name(tmp_path: Path) -> None:
    writers = "generate: {writers: [{name: before, model: base}, {name: after}, {name: same, model: sft}]}\n"
    found = steps(tmp_path, BASE + "sft: {}\n" + writers)
    assert reads(found, "generate") == {"model": "sft", "data": "prepare", "base": "base", "sft": "sft"}
    assert needed("generate", found["generate"].config).keys() == {"model", "data", "base", "sft"}
    with pytest.raises(RecipeError, match="generate: needs `sft`, which this recipe does not make"):
        steps(tmp_path, BASE + writers)


def test_single_answers_are_a_road_of_their_own(tmp_path: Path) -> None:
    found = steps(tmp_path, BASE + "sft: {}\nmethod: kto\n")
    assert reads(found, "kto") == {"model": "sft", "data": "pair", "kept": "prepare"}
    assert reads(found, "export")["model"] == "kto"
    assert "dpo" not in found


def test_the_reward_models_favourites_are_measured_without_training(tmp_path: Path) -> None:
    text = BASE + "sft: {}\nmethod: rlhf\nevaluate: {instruments: [refusal, facts]}\nrlhf: {best_of: 8}\n"
    found = steps(tmp_path, text)
    assert found["answers/many/sft"].config.samples_per_prompt == 8  # type: ignore[attr-defined]
    assert reads(found, "answers/best_of_n") == {
        "candidates": "answers/many/sft", "data": "prepare", "reward": "reward",
    }  # fmt: skip
    assert "evaluate/best_of_n/refusal" in found
    assert "evaluate/best_of_n/facts" not in found, "facts reads a model, and there is none"
    without = steps(tmp_path, text.replace("8", "0"))
    assert without["rlhf"].config.keyed() == found["rlhf"].config.keyed()


def test_where_no_truth_is_known_a_second_model_watches_over_the_other_half(tmp_path: Path) -> None:
    found = steps(tmp_path, PROMPTS_ONLY + "method: rlhf\n")
    assert reads(found, "rlhf") == {"model": "base", "data": "prepare", "reward": "reward", "watch": "watch"}
    assert [found[name].config.part for name in ("reward", "watch")] == ["first", "second"]  # type: ignore[attr-defined]
    with pytest.raises(RecipeError, match=r"give data\.prompts"):
        steps(tmp_path, TAKEN + "method: rlhf\n")


def test_a_published_preference_set_goes_straight_into_dpo(tmp_path: Path) -> None:
    found = steps(tmp_path, TAKEN)
    assert list(found) == ["prepare", "base", "dpo", "gate", "export"]
    assert reads(found, "dpo") == {"model": "base", "data": "prepare"}
    assert reads(found, "base") == {}


def test_the_policy_before_dpo_is_its_reference(tmp_path: Path) -> None:
    measure = "evaluate: {instruments: [dpo_accuracy]}\n"
    with_sft = steps(tmp_path, BASE + "sft: {}\n" + measure)
    without = steps(tmp_path, TAKEN + measure)
    assert reads(with_sft, "evaluate/tuned/dpo_accuracy")["reference"] == reads(with_sft, "dpo")["model"] == "sft"
    assert reads(without, "evaluate/tuned/dpo_accuracy")["reference"] == reads(without, "dpo")["model"] == "base"


BESIDE = "label: {judge: {urls: ['http://127.0.0.1:1/v1'], model: judge-1}, relabel: {}}\n"
READY = {
    "data": (
        BASE.replace("data: {testbed: {}}", "data: {ready: d}") + "label: {desk: file, judgments: j}\n",
        "prepare",
        "ready",
        "d",
    ),
    "sft": (BASE + "sft: {ready: m}\n", "sft", "base", "m"),
    "generate": (BASE + "generate: {ready: c.jsonl}\n", "generate", "ready", "c.jsonl"),
    "label": (BASE + "label: {ready: j.jsonl}\n", "label", "ready", "j.jsonl"),
    "pair": (BASE + "pair: {ready: p.jsonl}\n", "pair", "prepare", "p.jsonl"),
    "dpo": (BASE + "dpo: {ready: t}\n", "dpo", "base", "t"),
}


@pytest.mark.parametrize(("text", "step", "stage", "place"), READY.values(), ids=READY.keys())
def test_a_stage_is_given_its_result_instead_of_being_run(
    tmp_path: Path, text: str, step: str, stage: str, place: str
) -> None:
    found = steps(tmp_path, text)
    assert found[step].stage == stage
    assert found[step].inputs == ({"data": "prepare"} if step == "pair" else {}), "its test prompts stay held out"
    assert list(located(found[step].config.keyed())) == [tmp_path / place]
    assert found["export"].stage == "export"


def test_ready_pairs_may_be_an_artifact_that_holds_them(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    found = steps(tmp_path, BASE + "pair: {ready: made}\n")
    assert (found["pair"].stage, found["pair"].config.model_dump()["holds"]) == ("ready", "preferences")
    assert reads(found, "pair") == {"data": "prepare"}
    assert reads(found, "dpo")["data"] == "pair"


def test_what_is_given_needs_nothing_that_would_have_made_it(tmp_path: Path) -> None:
    found = steps(tmp_path, "model: {folder: m}\ndata: {prompts: [{path: q}]}\npair: {ready: p.jsonl}\n")
    assert "generate" not in found
    assert "label" not in found


def test_every_stage_of_a_plan_has_code_and_every_answering_step_its_own_settings(tmp_path: Path) -> None:
    found = steps(tmp_path, BASE + "generate: {temperature: 0.9}\nevaluate: {instruments: [refusal]}\n")
    assert {step.stage for step in found.values()} <= set(STAGES)
    assert found["generate"].config.model_dump()["temperature"] == 0.9
    assert found["answers/base"].config.model_dump()["temperature"] == 0
    assert found["answers/base"].config.model_dump()["of"] == "test_prompts"


def test_what_a_stage_is_said_to_read_is_what_plans_give_it(tmp_path: Path) -> None:
    seen: dict[str, set[str]] = {}
    (tmp_path / "made").mkdir()
    for text in (
        BASE + "pair: {ready: made}\n",
        BASE + "sft: {}\nevaluate: {instruments: [facts, refusal, dpo_accuracy]}\n",
        BASE + "evaluate: {people: {}}\n" + BESIDE,
        BASE + "sft: {}\ngenerate: {writers: [{name: a, model: base}, {name: b, model: sft}]}\n",
        BASE + "evaluate: {benchmarks: {crows_pairs: {path: x.csv}}}\n",
        TAKEN,
        TAKEN.replace("}]}", "}], prompts: [{path: q.jsonl}]}")
        + "method: rlhf\nevaluate: {benchmarks: {reward_bench: {path: x.jsonl}}}\n",
        *(t for t, *_ in READY.values()),
    ):
        for step in steps(tmp_path, text).values():
            patterns = {"evaluate": MEASURED, "audit": AUDITED}
            given = {patterns.get(name.partition("/")[0], name) for name in step.inputs}
            assert set(needed(step.stage, step.config)) <= given, step.name
            seen.setdefault(step.stage, set()).update(given)
    for stage, names in seen.items():
        assert names == {*STAGES[stage].needs, *STAGES[stage].takes}, stage


def test_no_made_truth_speaks_of_answers_to_real_prompts(tmp_path: Path) -> None:
    asked = "evaluate: {instruments: [refusal]}\n"
    assert "audit/tuned" not in steps(tmp_path, PROMPTS_ONLY + asked)
    (tmp_path / "said.jsonl").write_text('{"answer": "No.", "refused": true}\n')
    by_people = "audit: {desk: file, judgments: people.jsonl}\n"
    assert reads(steps(tmp_path, PROMPTS_ONLY + asked + by_people), "audit/tuned") == {
        "answers": "answers/tuned",
        "data": "prepare",
    }
    published = "audit: {desk: file, published: said.jsonl}\n"
    assert reads(steps(tmp_path, PROMPTS_ONLY + asked + published), "audit/tuned") == {}


def test_people_judge_two_models_blind_and_their_win_rate_is_measured(tmp_path: Path) -> None:
    found = steps(tmp_path, BASE + "sft: {}\nevaluate: {people: {prompts: 40}}\n")
    assert reads(found, "label/people") == {
        "candidates": "answers/tuned", "against": "answers/sft", "data": "prepare",
    }  # fmt: skip
    assert reads(found, "evaluate/tuned/people_win_rate") == {
        "people": "label/people", "answers": "answers/tuned", "against": "answers/sft", "data": "prepare",
    }  # fmt: skip
    asked = found["label/people"].config
    assert isinstance(asked, LabelStep)
    assert (asked.asks, asked.max_prompts) == ("models", 40)
    assert "answers/base" not in found, "nobody asked for the base's answers"
    assert "evaluate/tuned/people_win_rate" in reads(found, "gate").values()
    without = steps(tmp_path, BASE + "evaluate: {people: {}}\n")
    assert reads(without, "label/people")["against"] == "answers/base"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("evaluate: {instruments: [people_win_rate]}", r"needs people; say who judges in evaluate\.people"),
        ("evaluate: {people: {against: sft}}", r"evaluate\.people: this recipe has no model `sft`"),
        ("label: {desk: file, judgments: j}\nevaluate: {people: {}}", r"judged in a file of their own"),
        (
            "label: {desk: file, judgments: j}\nevaluate: {people: {label: {desk: file, judgments: j}}}",
            r"judged in a file of their own",
        ),
        ("gate: {margins: [{metric: people_win_rate.raw, against: null, at_least: 0.5}]}", r"needs `people_win_rate`"),
    ],
)
def test_people_who_cannot_be_asked_are_missed_before_anything_runs(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        steps(tmp_path, BASE + text + "\n")


def test_a_judge_beside_people_keeps_nobody_waiting_and_is_held_against_them(tmp_path: Path) -> None:
    found = steps(tmp_path, BASE + BESIDE)
    assert reads(found, "label/judge") == reads(found, "label")
    assert reads(found, "pair")["judge"] == "label/judge"
    asked = found["label/judge"].config
    assert isinstance(asked, LabelStep)
    assert asked.desk == "judge"
    alone = steps(tmp_path, BASE + BESIDE.replace("{judge", "{desk: judge, judge", 1))
    assert "label/judge" not in alone


def test_a_public_benchmark_is_read_once_and_measured_of_every_model(tmp_path: Path) -> None:
    benchmarks = "{crows_pairs: {path: pairs.csv}, xstest: {path: x.csv, max_tokens: 9}}"
    found = steps(tmp_path, TAKEN + f"evaluate: {{models: [base, tuned], benchmarks: {benchmarks}}}\n")
    assert [name for name in found if name.startswith("benchmark/")] == ["benchmark/crows_pairs", "benchmark/xstest"]
    assert reads(found, "evaluate/tuned/crows_pairs") == {
        "data": "benchmark/crows_pairs", "model": "dpo", "trained": "prepare",
    }  # fmt: skip
    assert reads(found, "evaluate/base/xstest") == {"data": "benchmark/xstest", "answers": "answers/base/xstest"}
    assert found["answers/base/xstest"].config.model_dump()["max_tokens"] == 9
    assert reads(found, "benchmark/xstest") == {}, "a benchmark changes nothing that is trained"
    assert "evaluate/tuned/crows_pairs" in reads(found, "gate")


def test_what_compares_is_measured_of_the_model_that_came_from_another(tmp_path: Path) -> None:
    benchmarks = "{kl: {path: prompts.jsonl, max_tokens: 9}}"
    text = TAKEN + f"evaluate: {{answers: {{temperature: 0.3, top_p: 0.5}}, benchmarks: {benchmarks}}}\n"
    found = steps(tmp_path, text)
    assert [name for name in found if name.endswith("/kl")] == ["benchmark/kl", "answers/tuned/kl", "evaluate/tuned/kl"]
    assert reads(found, "evaluate/tuned/kl") == {
        "data": "benchmark/kl", "answers": "answers/tuned/kl", "model": "dpo", "reference": "base", "trained": "prepare"
    }  # fmt: skip
    drawn = found["answers/tuned/kl"].config.model_dump()
    assert (drawn["temperature"], drawn["top_p"], drawn["max_tokens"]) == (1.0, 1.0, 9)


def test_a_reward_model_is_measured_where_the_recipe_makes_one(tmp_path: Path) -> None:
    asked = "evaluate: {benchmarks: {reward_bench: {path: rows.jsonl}, xstest: {path: x.csv}}}\n"
    found = steps(tmp_path, TAKEN.replace("}]}", "}], prompts: [{path: q.jsonl}]}") + "method: rlhf\n" + asked)
    assert reads(found, "evaluate/reward/reward_bench") == {
        "data": "benchmark/reward_bench", "reward": "reward", "trained": "prepare"
    }  # fmt: skip
    assert "evaluate/tuned/xstest" in found
    assert "evaluate/tuned/reward_bench" not in found


@pytest.mark.parametrize(
    ("evaluate", "said"),
    [
        ("{benchmarks: {reward_bench: {path: x}}}", "measures a reward model, and this recipe makes none"),
        (
            "{benchmarks: {wildguard: {path: x, judge: {urls: ['http://127.0.0.1:9/v1'], model: m}}}}",
            "needs a `template`: .* model card of allenai/wildguard",
        ),
        ("{benchmarks: {facts: {path: x}}}", "facts reads no public data"),
        ("{benchmarks: {bbk: {path: x}}}", "did you mean `bbq`"),
        ("{instruments: [bbq]}", "say where they lie in evaluate.benchmarks"),
        ("{benchmarks: {llama_guard: {path: x}}}", "needs a served model"),
    ],
)
def test_a_benchmark_that_cannot_be_measured_is_told_before_anything_runs(
    tmp_path: Path, evaluate: str, said: str
) -> None:
    with pytest.raises(RecipeError, match=said):
        steps(tmp_path, TAKEN + f"evaluate: {evaluate}\n")
