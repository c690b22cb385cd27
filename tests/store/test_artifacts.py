"""Artifacts: whole or not there, under kills, full disks, edits and two writers at once."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import resource
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from align.errors import AlignError, Locked, RecordError, StoreError, UsageError
from align.ports import Artifact
from align.store import artifacts, locks
from align.store.artifacts import CRASH_POINTS, MARK, Store, opened, torn
from align.store.fingerprint import Digests, fingerprint

MADE_FROM = {"stage": "prepare", "version": 1, "config": {"a": 1}, "inputs": {}}
KEY = fingerprint(MADE_FROM)
fork = multiprocessing.get_context("fork")


def make(root: Path, text: str = "one\n", *, key: str = KEY) -> Artifact:
    """An artifact of two files, one in a folder of its own; the work that a kill leaves is counted in a journal."""
    store = Store(root)
    with store.making("prepare", key, "prepare") as making:
        with open(making.work / "journal", "a") as journal:
            journal.write("x")
        (making.out / "model").mkdir()
        (making.out / "rows.jsonl").write_text(text)
        (making.out / "model" / "weights").write_bytes(bytes(range(256)) * 8)
        manifest = {"schema": 1, "stage": "prepare", "step": "prepare", "key": key, "made_from": MADE_FROM}
        return store.seal(making, manifest)


def in_child(work: Callable[[], object]) -> int:
    """Do something in a process of its own; its exit code, negative where a signal ended it."""
    child = fork.Process(target=work)
    child.start()
    child.join(60)
    assert child.exitcode is not None
    return int(child.exitcode)


def dying_at(point: str, root: Path) -> Callable[[], object]:
    def work() -> None:
        os.environ["ALIGN_CRASH_AT"] = f"prepare:{point}"
        make(root)

    return work


# ruff: noqa: PT012 — what must fail here is what happens while an artifact is held open

# ---- whole or not there


def test_the_crash_points_named_are_those_in_the_code() -> None:
    source = Path(artifacts.__file__).read_text(encoding="utf-8")
    assert set(re.findall(r'crash_point\("([a-z-]+)"', source)) == set(CRASH_POINTS)


@pytest.mark.parametrize("again", [False, True], ids=["first", "made-again"])
@pytest.mark.parametrize("point", CRASH_POINTS)
def test_a_kill_while_sealing_leaves_nothing_half_made_and_costs_nothing(
    tmp_path: Path, point: str, again: bool
) -> None:
    unbroken = make(tmp_path / "unbroken")
    root = tmp_path / "broken"
    if again:
        make(root)
    reached = point != "set-aside" or again
    assert in_child(dying_at(point, root)) == (-signal.SIGKILL if reached else 0)
    seen = Store(root).find("prepare", KEY)
    if seen is not None:
        assert torn(seen, deep=Digests(None)) is None
    assert (seen is not None) == (point == "renamed" or not reached or (again and point != "set-aside"))
    remade = make(root)
    assert remade.digest == unbroken.digest
    assert torn(remade, deep=Digests(None)) is None
    assert not [*Store(root).partials(), *Store(root).litter()]
    assert sorted(path.name for path in (root / "prepare").iterdir()) == [KEY[:16], KEY[:16] + ".lock"]


def test_what_a_killed_stage_wrote_is_thrown_away_and_its_journal_is_kept(tmp_path: Path) -> None:
    def work() -> None:
        with Store(tmp_path).making("prepare", KEY, "prepare") as making:
            (making.out / "half").write_text("h")
            (making.work / "journal").write_text("x")
            os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(work) == -signal.SIGKILL
    assert Store(tmp_path).find("prepare", KEY) is None
    assert not list(Store(tmp_path).artifacts())
    assert [path.name for path in Store(tmp_path).partials()] == [KEY[:16] + ".partial"]
    with Store(tmp_path).making("prepare", KEY, "prepare") as making:
        assert not list(making.out.iterdir())
        assert (making.work / "journal").read_text() == "x"


def test_the_digest_is_of_names_and_bytes_and_of_nothing_else(tmp_path: Path) -> None:
    first = make(tmp_path / "a")
    time.sleep(0.01)
    moved = tmp_path / "elsewhere"
    shutil.move(tmp_path / "a", moved)
    assert make(tmp_path / "b").digest == first.digest == Store(moved).find("prepare", KEY).digest  # type: ignore[union-attr]
    assert make(tmp_path / "c", "two\n").digest != first.digest
    assert str(tmp_path) not in (moved / "prepare" / KEY[:16] / "manifest.json").read_text()


def test_a_link_out_of_the_artifact_is_not_sealed(tmp_path: Path) -> None:
    store = Store(tmp_path / "s")
    (tmp_path / "secret").write_text("x")
    with pytest.raises(RecordError, match="a link out of its folder"), store.making("pair", KEY, "pair") as making:
        (making.out / "link").symlink_to(tmp_path / "secret")
        store.seal(making, {"step": "pair", "key": KEY, "made_from": MADE_FROM})
    assert store.find("pair", KEY) is None


# ---- damage


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


DAMAGE: dict[str, tuple[str, Callable[[Path], object], bool, str]] = {
    "a flipped bit": ("model/weights", flip, False, "model/weights has other bytes than were sealed"),
    "a byte too few": ("model/weights", cut, True, "model/weights has 2,047 bytes, expected 2,048"),
    "a file gone": ("rows.jsonl", Path.unlink, True, "rows.jsonl is missing"),
    "a file more": ("extra", lambda p: p.write_text("x"), False, "extra was added after sealing"),
}


@pytest.mark.parametrize(("name", "damage", "at_a_glance", "said"), DAMAGE.values(), ids=DAMAGE.keys())
def test_damage_is_noticed_and_named(
    tmp_path: Path, name: str, damage: Callable[[Path], object], at_a_glance: bool, said: str
) -> None:
    artifact = make(tmp_path)
    damage(artifact.path / name)
    assert torn(artifact, deep=Digests(None)) == said
    store = Store(tmp_path)
    assert store.problem("prepare", KEY) == (said if at_a_glance else None)
    assert (store.find("prepare", KEY) is None) == at_a_glance
    if at_a_glance:
        assert make(tmp_path).digest == artifact.digest


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"key": "a", "digest": "b", "files": 3}', '{"key":"a","digest":"b","files":[{}]}']
)
def test_a_torn_manifest_is_no_artifact_and_stops_nobody_else(tmp_path: Path, content: str) -> None:
    make(tmp_path)
    other = make(tmp_path, key=fingerprint("other"))
    folder = tmp_path / "prepare" / KEY[:16]
    (folder / "manifest.json").write_text(content)
    store = Store(tmp_path)
    with pytest.raises(StoreError, match=r"manifest\.json"):
        opened(folder)
    assert store.find("prepare", KEY) is None
    assert "manifest.json" in str(store.problem("prepare", KEY))
    assert [artifact.key for artifact in store.artifacts()] == [other.key]
    assert list(store.unreadable()) == [folder]
    assert torn(make(tmp_path)) is None


@pytest.mark.parametrize("field", ["digest", "made_from", "files"])
def test_a_manifest_that_lies_is_noticed(tmp_path: Path, field: str) -> None:
    artifact = make(tmp_path)
    manifest: dict[str, Any] = json.loads((artifact.path / "manifest.json").read_text())
    lies: dict[str, Any] = {"digest": "0" * 64, "made_from": {"stage": "other"}, "files": manifest["files"][1:]}
    (artifact.path / "manifest.json").write_text(json.dumps({**manifest, field: lies[field]}))
    assert torn(opened(artifact.path), deep=Digests(None)) is not None


# ---- one writer


def test_of_several_writers_started_at_once_exactly_one_wins(tmp_path: Path) -> None:
    gate, done = fork.Barrier(6), fork.Event()

    def work() -> None:
        gate.wait()
        try:
            with locks.held(tmp_path / "lock", "dpo"):
                done.wait(30)
        except Locked:
            os._exit(6)

    children = [fork.Process(target=work) for _ in range(6)]
    for child in children:
        child.start()
    deadline = time.monotonic() + 30
    while sum(child.exitcode == 6 for child in children) < 5 and time.monotonic() < deadline:
        time.sleep(0.005)
    done.set()
    for child in children:
        child.join(30)
    assert sorted(child.exitcode for child in children if child.exitcode is not None) == [0, 6, 6, 6, 6, 6]


def test_a_lock_dies_with_its_holder_and_names_a_living_one(tmp_path: Path) -> None:
    ready = fork.Event()

    def work() -> None:
        with locks.held(tmp_path / "lock", "dpo"):
            ready.set()
            time.sleep(60)

    child = fork.Process(target=work)
    child.start()
    assert ready.wait(30)
    with pytest.raises(Locked, match=rf"dpo is being made by process {child.pid} on \S+ since 20"):
        locks.held(tmp_path / "lock", "dpo").__enter__()
    child.kill()
    child.join(30)
    with locks.held(tmp_path / "lock", "dpo"):
        pass


def test_a_lock_whose_file_was_removed_keeps_others_out_all_the_same(tmp_path: Path) -> None:
    with locks.held(tmp_path / "lock", "one", remove=True):
        handle = os.open(tmp_path / "lock", os.O_RDWR)
    assert not (tmp_path / "lock").exists()
    with locks.held(tmp_path / "lock", "two"), pytest.raises(Locked):
        locks.held(tmp_path / "lock", "three").__enter__()
    os.close(handle)


# ---- places that cannot be written


def test_a_full_disk_leaves_what_was_sealed_and_says_so(tmp_path: Path) -> None:
    sealed = make(tmp_path)
    with (
        pytest.raises(StoreError, match=r"the disk is full \([\d,]+ bytes free\); what was sealed is whole"),
        Store(tmp_path).making("prepare", fingerprint("other"), "prepare"),
        open("/dev/full", "w") as stream,
    ):
        stream.write("x")
        stream.flush()
    assert torn(sealed, deep=Digests(None)) is None


def test_a_full_disk_told_by_another_language_is_understood(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(StoreError, match="the disk is full"), store.making("sft", KEY, "sft"):
        raise RuntimeError('Error while serializing: I/O error: No space left on device (os error 28) (path: "model")')


def test_a_file_that_may_not_grow_is_a_clean_stop_and_the_next_run_goes_on(tmp_path: Path) -> None:
    def work() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))
        try:
            make(tmp_path)
        except StoreError as error:
            os._exit(17 if "ulimit -f" in str(error) else 18)

    assert in_child(work) == 17
    assert Store(tmp_path).find("prepare", KEY) is None
    assert torn(make(tmp_path)) is None


@pytest.mark.parametrize("where", ["file", "file/below", "/proc/align-store", "/proc/1/align/store", "loop"])
def test_a_store_that_cannot_be_written_is_a_mistake_of_usage(tmp_path: Path, where: str) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "loop").symlink_to("loop")
    root = tmp_path / where if not where.startswith("/") else Path(where)
    for attempt in (lambda: make(root), lambda: Store(root).remember("r", {})):
        with pytest.raises(AlignError) as caught:
            attempt()
        assert isinstance(caught.value, UsageError)
        assert caught.value.exit_code == 2
        assert "cannot be written" in str(caught.value)
        assert "\n" not in str(caught.value)


def test_an_error_about_a_file_elsewhere_is_not_blamed_on_the_store(tmp_path: Path) -> None:
    with pytest.raises(NotADirectoryError), Store(tmp_path / "s").making("prepare", KEY, "prepare"):
        (tmp_path / "file").write_text("")
        (tmp_path / "file" / "x").read_text()


@pytest.mark.parametrize("where", ["/", "~", "mine"])
def test_a_folder_in_use_for_something_else_is_refused(tmp_path: Path, where: str) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letters.txt").write_text("dear")
    root = {"/": Path("/"), "~": Path.home(), "mine": tmp_path / "mine"}[where]
    if where == "~" and not any(root.iterdir()):
        root = Path("/usr")
    before = set(root.iterdir())
    for attempt in (lambda: make(root), lambda: Store(root).remember("r", {}), Store(root).refuse_foreign):
        with pytest.raises(UsageError, match="no store of align's, it holds"):
            attempt()
    assert set(root.iterdir()) == before


def test_an_empty_folder_becomes_a_store_and_stays_one(tmp_path: Path) -> None:
    make(tmp_path)
    (tmp_path / "notes.txt").write_text("a note of my own")
    make(tmp_path, key=fingerprint("other"))
    assert len(list(Store(tmp_path).artifacts())) == 2


def test_a_cache_that_cannot_be_written_stops_nobody(tmp_path: Path) -> None:
    make(tmp_path)
    (tmp_path / "digests.json").mkdir()
    with suppress(IsADirectoryError):
        make(tmp_path, key=fingerprint("other"))
    assert len(list(Store(tmp_path).artifacts())) == 2


def test_what_a_recipe_stands_on_is_remembered_by_its_name(tmp_path: Path) -> None:
    Store(tmp_path).remember("one", {"steps": {}})
    Store(tmp_path).remember("two", {"steps": {"dpo": {}}})
    Store(tmp_path).remember("one", {"steps": {"sft": {}}})
    assert Store(tmp_path).remembered() == {"one": {"steps": {"sft": {}}}, "two": {"steps": {"dpo": {}}}}


def test_a_store_that_another_run_is_just_opening_is_no_foreign_folder(tmp_path: Path) -> None:
    (tmp_path / f"{MARK}.4711.partial").write_text("{")
    Store(tmp_path).refuse_foreign()
