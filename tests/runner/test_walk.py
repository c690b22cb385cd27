"""A run makes what is missing and nothing else, and says why."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from align.errors import InputChanged, Locked, RecordError, StoreError, UsageError, Waiting
from align.store import locks
from align.store.artifacts import torn
from align.store.fingerprint import Digests, read_json
from tests.runner.conftest import RECIPE, Heard, Place, lay_out

MADE = {"prepare": "reuse", "generate": "reuse", "label": "reuse", "pair": "reuse"}


# ---- what is reused


def test_a_second_run_reuses_everything_and_writes_nothing(made: Place) -> None:
    before = {path: path.stat().st_mtime_ns for path in made.store.root.rglob("*") if path.is_file()}
    assert made.actions() == MADE
    result = made.runner().run()
    assert result.ran == ()
    assert made.console.words() == MADE
    assert {path: path.stat().st_mtime_ns for path in made.store.root.rglob("*") if path.is_file()} == before


def test_planning_writes_nothing(place: Place) -> None:
    assert place.plan()["prepare"].why == ("not made yet",)
    assert not place.store.root.exists()


def test_comments_and_the_order_of_keys_make_nothing_again(made: Place) -> None:
    lines = made.recipe.read_text().splitlines()
    made.recipe.write_text("\n".join(["# new", *reversed(lines[1:]), "# end"]) + "\n")
    assert made.actions() == MADE


def test_a_knob_at_its_default_may_be_written_out(made: Place) -> None:
    assert made.actions("pair.min_agreement=0.5", "label.round=1", "title=Other words") == MADE


def test_a_runtime_that_changes_no_result_makes_nothing_again(made: Place) -> None:
    assert made.actions("runtime.threads=7", "runtime.offline=true", "runtime.device=cpu") == MADE


def test_another_folder_gives_the_same_names_and_bytes(made: Place, tmp_path: Path) -> None:
    other = lay_out(tmp_path / "far" / "away")
    with pytest.raises(Waiting):
        other.runner().run()
    other.judge()
    result = other.runner().run()
    mine = made.runner().run()
    assert {n: a.digest for n, a in result.artifacts.items()} == {n: a.digest for n, a in mine.artifacts.items()}
    assert {n: a.key for n, a in result.artifacts.items()} == {n: a.key for n, a in mine.artifacts.items()}


def test_a_store_that_was_moved_is_the_same_store(made: Place) -> None:
    moved = made.folder / "moved"
    shutil.move(made.store.root, moved)
    made.store.root = moved
    assert made.actions() == MADE


# ---- what is made again, and why


def test_a_changed_knob_makes_its_stage_again_and_what_stands_on_it(made: Place) -> None:
    seen = made.plan("label.comparisons_per_prompt=2")
    assert {name: one.action for name, one in seen.items()} == MADE | {"label": "run", "pair": "run"}
    assert seen["label"].why == ("comparisons_per_prompt 1 → 2",)
    assert seen["pair"].why == ("its input `label` is made anew",)


def test_only_the_last_stage_is_made_again_for_a_knob_of_its_own(made: Place) -> None:
    seen = made.plan("pair.min_agreement=0.9", "pair.label=soft")
    assert {name: one.action for name, one in seen.items()} == MADE | {"pair": "run"}
    assert seen["pair"].why == ("label majority → soft", "min_agreement 0.5 → 0.9")


def test_a_knob_turned_back_finds_what_was_made_before(made: Place) -> None:
    made.runner("pair.label=soft").run()
    assert made.actions() == MADE
    assert made.actions("pair.label=soft") == MADE


def test_another_seed_is_named_as_the_reason(made: Place) -> None:
    seen = made.plan("seed=5")
    assert seen["prepare"].why == ("seed 0 → 5",)
    assert seen["pair"].action == "run"


def test_a_data_file_that_changed_is_named(made: Place) -> None:
    with open(made.folder / "candidates.jsonl", "rb+") as stream:
        stream.write(stream.read().replace(b"A number.", b"A Number."))
    text = (made.folder / "candidates.jsonl").read_text()
    rows = [line for line in text.splitlines() if "A number." in line]
    (made.folder / "candidates.jsonl").write_text(text.replace(rows[-1] + "\n", ""))
    seen = made.plan()
    assert seen["generate"].why == ("the content of candidates.jsonl changed",)
    assert [one.action for one in seen.values()] == ["reuse", "run", "run", "run"]


def test_a_missing_data_file_is_named_before_any_work(place: Place) -> None:
    (place.folder / "candidates.jsonl").unlink()
    with pytest.raises(RecordError, match=r"candidates\.jsonl: no such file or folder"):
        place.plan()


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (lambda p: (p / "judgments.jsonl").unlink(), "judgments.jsonl is missing"),
        (lambda p: (p / "judgments.jsonl").write_text(""), "judgments.jsonl has 0 bytes, expected"),
        (lambda p: (p / "manifest.json").write_text("{"), "manifest.json: cannot be read as JSON"),
        (shutil.rmtree, "its artifact is gone from the store"),
    ],
)
def test_a_damaged_artifact_is_made_again_with_the_reason(made: Place, damage: object, why: str) -> None:
    artifact = made.runner().run().artifacts["label"]
    damage(artifact.path)  # type: ignore[operator]
    seen = made.plan()
    assert seen["label"].action == "run"
    assert why in seen["label"].why[0]
    again = made.runner().run()
    assert again.ran == ("label",)
    assert again.artifacts["label"].digest == artifact.digest
    assert torn(again.artifacts["label"], deep=Digests(None)) is None


# ---- --until, --redo, --refresh


def test_until_makes_a_step_and_what_it_reads_and_no_more(place: Place) -> None:
    result = place.runner(until="generate").run()
    assert result.ran == ("generate",)
    assert place.runner(until="prepare").run().ran == ("prepare",)


def test_the_name_of_a_step_means_that_step_and_the_name_of_a_stage_all_of_its_steps(tmp_path: Path) -> None:
    text = "model: {scratch: {}}\ndata: {testbed: {}}\nevaluate: {instruments: [refusal]}\n"
    place = lay_out(tmp_path, text)
    assert list(place.plan(until="generate")) == ["prepare", "base", "generate"]
    assert "evaluate/base/refusal" in place.plan(until="evaluate")
    assert "gate" not in place.plan(until="evaluate")


def test_redo_makes_a_step_again_and_equal_bytes_stop_there(made: Place) -> None:
    result = made.runner(redo=["prepare", "label"]).run()
    assert result.ran == ("prepare", "label")
    assert ("label", "run", "--redo") in made.console.said
    assert made.console.words()["pair"] == "reuse"


def test_a_step_that_is_not_there_is_named(place: Place) -> None:
    for asked in ({"until": "reward"}, {"redo": ["reward"]}, {"refresh": ["reward"]}):
        with pytest.raises(
            UsageError, match="reward: no such step in this recipe; there are: prepare, base, generate, label, pair"
        ):
            place.runner(**asked)  # type: ignore[arg-type]


def test_refresh_takes_what_was_said_since_into_a_new_snapshot(made: Place) -> None:
    before = made.runner().run().artifacts["label"]
    made.judge("second")
    assert made.runner().run().ran == (), "a frozen snapshot needs nobody"
    refreshed = made.runner(refresh=["label"]).run()
    assert refreshed.ran == ("label", "pair")
    assert ("label", "run", "snapshot 1 → 2") in made.console.said
    assert refreshed.artifacts["label"].digest != before.digest
    assert torn(before, deep=Digests(None)) is None, "the old snapshot is kept"
    assert made.actions() == MADE, "the recipe stands on the new snapshot from now on"


def test_a_refresh_that_fails_leaves_the_recipe_on_its_old_snapshot(made: Place) -> None:
    with open(made.folder / "judgments.jsonl", "a") as stream:
        stream.write('{"comparison_id": 3}\n')
    with pytest.raises(RecordError, match=r"judgments\.jsonl:4"):
        made.runner(refresh=["label"]).run()
    assert made.actions() == MADE


# ---- waiting


def test_people_who_have_still_to_judge_are_waited_for_and_the_rest_is_done(place: Place) -> None:
    with pytest.raises(Waiting, match="0 of 3 comparisons have 1 judgment") as caught:
        place.runner().run()
    assert caught.value.exit_code == 75
    assert place.console.words() == {"prepare": "done", "generate": "done", "label": "wait", "pair": "wait"}
    seen = place.plan()
    assert [one.action for one in seen.values()] == ["reuse", "reuse", "wait", "wait"]
    assert seen["label"].why[0].startswith("0 of 3 comparisons")
    assert seen["pair"].why == ("its input `label` waits for people",)
    place.judge(only=2)
    with pytest.raises(Waiting, match="2 of 3 comparisons"):
        place.runner().run()
    place.judge()
    assert place.runner().run().ran == ("label", "pair")


# ---- what must not be sealed


class Meddling(Heard):
    """Somebody who edits a file once a stage has begun."""

    def __init__(self, step: str, file: Path, content: bytes | None) -> None:
        super().__init__()
        self.step, self.file, self.content = step, file, content

    def line(self, step: str, word: str, text: str = "") -> None:
        super().line(step, word, text)
        if (step, word) == (self.step, "run"):
            if self.content is None:
                self.file.unlink()
            else:
                self.file.write_bytes(self.content + self.file.read_bytes())


@pytest.mark.parametrize("content", [b"\n", None], ids=["edited", "removed"])
def test_a_data_file_edited_while_its_stage_runs_is_noticed_and_nothing_is_kept(
    place: Place, content: bytes | None
) -> None:
    runner = place.runner()
    file = place.folder / "candidates.jsonl"
    runner.console = Meddling("generate", file, content)
    with pytest.raises((InputChanged, RecordError)) as caught:
        runner.run()
    if content is not None:
        assert isinstance(caught.value, InputChanged)
        assert caught.value.exit_code == 1
        assert str(caught.value).startswith("generate: candidates.jsonl was edited while the stage read it")
    assert not (place.store.root / "generate").exists() or not list(place.store.root.glob("generate/*/manifest.json"))


def test_an_input_artifact_cut_while_a_stage_reads_it_is_noticed(made: Place) -> None:
    runner = made.runner("pair.label=soft")
    artifact = made.store.root / "prepare"
    file = next(artifact.glob("*/prompts.jsonl"))
    runner.console = Meddling("pair", file, b"\n")
    with pytest.raises(InputChanged, match="its input `data` changed while the stage ran"):
        runner.run()


def test_a_second_run_of_what_is_being_made_is_turned_away(place: Place) -> None:
    place.runner(until="prepare").run()
    artifact = next(place.store.artifacts())
    shutil.rmtree(artifact.path)
    with locks.held(artifact.path.with_suffix(".lock"), "prepare"):
        with pytest.raises(Locked, match=r"prepare .*is being made by process") as caught:
            place.runner(until="prepare").run()
        assert caught.value.exit_code == 6
        assert place.plan(until="prepare")["prepare"].action == "run", "looking takes no lock"
    assert place.runner(until="prepare").run().ran == ("prepare",)


def test_two_recipes_share_a_store(made: Place) -> None:
    (made.folder / "other.yaml").write_text(RECIPE + "title: Another\n")
    made.recipe = made.folder / "other.yaml"
    assert made.actions() == MADE
    made.runner("pair.label=soft").run()
    assert sorted(made.store.remembered()) == ["other", "recipe"]
    made.recipe = made.folder / "recipe.yaml"
    assert made.actions() == MADE


def test_a_torn_memory_of_a_recipe_is_named(made: Place) -> None:
    (made.store.root / "recipes" / "recipe.json").write_text("{")
    with pytest.raises(StoreError, match=r"recipes/recipe\.json: cannot be read as JSON"):
        made.plan()


# ---- what a manifest says


def test_a_manifest_tells_what_went_in_and_holds_no_place_of_this_machine(made: Place) -> None:
    artifact = made.runner().run().artifacts["pair"]
    manifest = read_json(artifact.path / "manifest.json")
    assert set(manifest["inputs"]) == {"label", "candidates", "data"}
    assert manifest["inputs"]["label"]["digest"] == made.runner().run().artifacts["label"].digest
    assert manifest["packages"]["pydantic" if "pydantic" in manifest["packages"] else "torch"]
    assert manifest["config"]["min_agreement"] == 0.5
    for path in made.store.root.rglob("*.json*"):
        assert str(made.folder) not in path.read_text(encoding="utf-8"), path.name


def test_no_secret_reaches_the_store(made: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "canary-71f0")
    monkeypatch.setenv("MY_TOKEN", "canary-71f0")
    made.runner("export.push_to=me/mine", "export.token='${env:MY_TOKEN}'", "pair.label=soft").run()
    for path in made.store.root.rglob("*"):
        assert path.is_dir() or b"canary-71f0" not in path.read_bytes(), path.name


def test_another_file_of_judgments_is_other_people_and_never_reuses_what_the_first_said(made: Place) -> None:
    assert made.plan("label.judgments=bob.jsonl")["label"].why == ("another file of judgments",)
    with pytest.raises(Waiting, match="0 of 3"):
        made.runner("label.judgments=bob.jsonl").run()


def test_a_refresh_pulls_even_where_another_recipe_has_refreshed_before(made: Place) -> None:
    made.runner("name=other", refresh=["label"]).run()
    made.judge("second")
    assert "label" in made.runner(refresh=["label"]).run().ran


def test_how_often_a_stage_saves_names_no_result(made: Place) -> None:
    steps = [made.runner(*sets, until=None).steps for sets in ((), ("dpo.checkpoint_every=7",))]
    first, second = (next(step.config.keyed() for step in of if step.name == "dpo") for of in steps)
    assert first == second


def test_what_an_earlier_variant_of_a_recipe_made_is_remembered(made: Place) -> None:
    stood = made.store.remembered()["recipe"]["steps"]["pair"]["key"]
    made.runner("pair.min_agreement=0.9").run()
    state = made.store.remembered()["recipe"]
    assert state["steps"]["pair"]["key"] != stood
    assert [variant["steps"]["pair"]["key"] for variant in state["earlier"]] == [stood]
    made.runner().run()
    assert [variant["recipe"]["pair"]["min_agreement"] for variant in made.store.remembered()["recipe"]["earlier"]] == [
        0.9
    ]
