"""`align clean`: it says first, and removes only what no recipe needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from align.cli.clean import _shelves
from align.errors import Waiting
from align.store import locks
from align.store.artifacts import Store, torn
from align.store.fingerprint import Digests
from tests.cli.conftest import Align
from tests.runner.conftest import Place


def names(place: Place) -> set[str]:
    return {f"{a.manifest['step']}:{a.key[:8]}" for a in place.store.artifacts()}


def test_clean_says_first_and_removes_only_what_no_recipe_needs(made: Place, align: Align) -> None:
    needed = names(made)
    made.runner("pair.label=soft").run()
    made.runner().run()
    assert len(names(made)) == 5
    out = align("clean", "--store", made.store.root, "--yes")[1]
    assert out == "nothing to remove; earlier variants of recipes stand on 1 more, which --earlier takes too\n"
    code, out, _ = align("clean", "--store", made.store.root, "--earlier")
    assert code == 0
    assert "1 folders" in out
    assert "run again with --yes" in out
    assert len(names(made)) == 5, "saying is not doing"
    code, out, _ = align("clean", "--store", made.store.root, "--earlier", "--yes")
    assert "removed 1 of 1 folders" in out
    assert names(made) == needed
    assert align("clean", "--store", made.store.root)[1] == "nothing to remove\n"
    assert made.actions() == dict.fromkeys(("prepare", "generate", "label", "pair"), "reuse")


def test_clean_keeps_the_work_of_a_run_that_waits_and_drops_it_when_the_recipe_moved_on(
    place: Place, align: Align
) -> None:
    with pytest.raises(Waiting):
        place.runner().run()
    align("clean", "--store", place.store.root, "--yes")
    assert place.plan()["label"].action == "wait"
    with pytest.raises(Waiting):
        place.runner("label.round=2").run()
    out = align("clean", "--store", place.store.root, "--yes")[1]
    assert "removed 1 of 1 folders" in out
    assert [place.plan("label.round=2")["label"].action, place.plan()["label"].action] == ["wait", "run"]


def test_clean_leaves_what_is_in_use(made: Place, align: Align) -> None:
    made.runner("pair.label=soft").run()
    made.runner().run()
    spare = next(a for a in made.store.artifacts() if a.manifest["config"].get("label") == "soft")
    with locks.held(spare.path.with_suffix(".lock"), "pair"):
        out = align("clean", "--store", made.store.root, "--earlier", "--yes")[1]
    assert "in use, left alone" in out
    assert torn(spare, deep=Digests(None)) is None


def test_a_forgotten_recipe_needs_nothing(made: Place, align: Align) -> None:
    align("clean", "--store", made.store.root, "--forget", "recipe", "--yes")
    assert not list(made.store.artifacts())
    assert made.store.remembered() == {}
    code, _, err = align("clean", "--store", made.store.root, "--forget", "recipe")
    assert code == 2
    assert "--forget recipe: no such recipe" in err


def test_clean_touches_nothing_in_a_folder_that_is_no_store(tmp_path: Path, align: Align) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "one.txt").write_text("dear")
    code, _, err = align("clean", "--store", tmp_path / "letters", "--yes")
    assert code == 2
    assert "no store of align's" in err


def test_kept_answers_stay_as_long_as_a_recipe_stands_on_them(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    with store.making("generate", "k" * 64, "generate") as place:
        (place.out / "candidates.jsonl").write_text("")
        (store.root / "shelves" / "used").mkdir(parents=True)
        (store.root / "shelves" / "idle").mkdir()
        final = place.final
        assert _shelves(store, {final}) == [], "it may still be drawing"
        manifest = {"step": "generate", "key": "k" * 64, "figures": {"generate.shelves": ["used"]}}
        artifact = store.seal(place, manifest)
    assert _shelves(store, {artifact.path}) == [store.root / "shelves" / "idle"]
    assert [path.name for path in _shelves(store, set())] == ["idle", "used"]
