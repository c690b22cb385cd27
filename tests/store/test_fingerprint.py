"""Fingerprints: equal things have equal names, and a file that changed is noticed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pydantic_core
import pytest
from hypothesis import given
from hypothesis import strategies as st

from align.errors import RecordError, StoreError
from align.store.fingerprint import Digests, files_in, fingerprint, replace, seed_for

BIG = 2**20


def aged(path: Path, seconds: int = 3600) -> Path:
    """The file as if it had been left alone for a while."""
    then = time.time_ns() - seconds * 10**9
    os.utime(path, ns=(then, then))
    return path


def test_the_empty_mapping_has_the_sha256_of_its_two_braces() -> None:
    assert fingerprint({}) == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"


@given(st.dictionaries(st.text(st.characters(codec="utf-8")), st.integers() | st.booleans() | st.none()))
def test_the_order_of_keys_decides_nothing(document: dict[str, object]) -> None:
    assert fingerprint(document) == fingerprint(dict(reversed(document.items())))


@pytest.mark.parametrize("other", [{"a": 1.0}, {"a": True}, {"a": "1"}, {"a": [1]}, {"a": None}, {"A": 1}, {}])
def test_what_is_not_the_same_has_another_name(other: dict[str, object]) -> None:
    assert fingerprint(other) != fingerprint({"a": 1})


@pytest.mark.parametrize(
    "value", [{1, 2}, Path("a"), b"a", object(), float("nan"), float("inf"), {"a": {"b": print}}, "\ud800"]
)
def test_what_json_cannot_say_is_refused_and_never_named_by_its_str(value: object) -> None:
    with pytest.raises(StoreError, match="a key cannot be made from"):
        fingerprint(value)


def test_fingerprints_do_not_depend_on_the_hash_seed_or_the_locale() -> None:
    code = (
        "from align.store.fingerprint import *; print(fingerprint({'ü': [1, 0.1], 'a': None}), seed_for(3, 'sft', 1))"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60,
            env={**os.environ, "PYTHONHASHSEED": seed, "LC_ALL": locale, "TZ": zone},
        ).stdout
        for seed, locale, zone in (("0", "C", "UTC"), ("77", "tr_TR.UTF-8", "Asia/Kathmandu"))
    }  # fmt: skip
    assert len(told) == 1


def test_seeds_depend_on_every_name_and_stay_below_two_to_the_31() -> None:
    seeds = {seed_for(seed, *names) for seed in range(3) for names in (("a",), ("b",), ("a", "b"), ("a", 1), ())}
    assert len(seeds) == 15
    assert all(0 <= seed < 2**31 for seed in seeds)


# ---- files


def test_a_file_has_the_sha256_of_its_bytes_and_a_folder_that_of_its_listing(tmp_path: Path) -> None:
    (tmp_path / "d" / "sub").mkdir(parents=True)
    (tmp_path / "d" / "sub" / "a").write_bytes(b"abc")
    digests = Digests(None)
    abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert digests.anything(tmp_path / "d" / "sub" / "a") == abc
    assert digests.anything(tmp_path / "d") == fingerprint([["sub/a", abc]])


def test_a_folder_is_named_by_names_and_bytes_alone(tmp_path: Path) -> None:
    digests, seen = Digests(None), []
    for folder, names in (("x", "ab"), ("y", "ba"), ("z", "ac")):
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / name).write_bytes(b"1")
        seen.append(digests.anything(tmp_path / folder))
    assert seen[0] == seen[1] != seen[2]


def test_a_link_out_of_its_folder_is_refused_and_one_within_is_read(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "secret").write_text("x")
    (tmp_path / "d" / "a").write_text("a")
    (tmp_path / "d" / "b").symlink_to("a")
    assert [path.name for path in files_in(tmp_path / "d")] == ["a", "b"]
    (tmp_path / "d" / "c").symlink_to("../secret")
    with pytest.raises(RecordError, match="a link out of its folder"):
        list(files_in(tmp_path / "d"))


def test_what_is_not_there_or_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="gone: no such file or folder"):
        Digests(None).anything(tmp_path / "gone")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(RecordError, match="loop: cannot be read"):
        Digests(None).anything(tmp_path / "loop")


# ---- the cache


def test_a_small_file_is_read_every_time(tmp_path: Path) -> None:
    path, digests = tmp_path / "small", Digests(tmp_path / "digests.json")
    path.write_bytes(b"one")
    then = os.stat(path).st_mtime_ns
    before = digests.file(path)
    path.write_bytes(b"two")
    os.utime(path, ns=(then, then))
    assert digests.file(path) != before


def test_a_large_file_is_read_again_when_it_changed_even_with_its_size_and_time_kept(tmp_path: Path) -> None:
    path, cache = aged_file(tmp_path / "large", b"a"), tmp_path / "digests.json"
    stat = os.stat(path)
    digests = Digests(cache)
    before = digests.file(path)
    with open(path, "r+b") as stream:
        stream.write(b"b")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert digests.file(path) != before
    digests.save()
    assert Digests(cache).file(path) != before


def test_a_large_file_that_settled_is_read_once_and_known_to_the_next_run(tmp_path: Path) -> None:
    path, cache = Path(pydantic_core._pydantic_core.__file__), tmp_path / "digests.json"  # megabytes, and long there
    digests = Digests(cache)
    digest = digests.file(path)
    digests.save()
    text = cache.read_text()
    assert digest in text
    cache.write_text(text.replace(digest, "0" * 64))
    again = Digests(cache)
    assert again.file(path) == "0" * 64, "the cache was not used"
    assert again.file(path, fresh=True) == digest


@pytest.mark.parametrize("torn", ["", "{", "[]", '{"a": 3}', "\0"])
def test_a_torn_cache_costs_a_reading_and_nothing_else(tmp_path: Path, torn: str) -> None:
    path, cache = aged_file(tmp_path / "large", b"a"), tmp_path / "digests.json"
    cache.write_text(torn)
    assert Digests(cache).file(path) == Digests(None).file(path)


def aged_file(path: Path, byte: bytes) -> Path:
    path.write_bytes(byte * BIG)
    return aged(path)


# ---- whole or not at all


def test_a_replaced_file_is_never_seen_half_written(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    replace(path, "one")
    replace(path, "two ü")
    assert path.read_text(encoding="utf-8") == "two ü"
    assert [p.name for p in tmp_path.iterdir()] == ["state.json"]


def test_a_write_that_fails_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    replace(path, "old")
    code = (
        "import resource, sys; from pathlib import Path; from align.store.fingerprint import replace\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try: replace(Path(sys.argv[1]), 'x' * 100_000)\n"
        "except OSError as error: print(error.errno)"
    )
    told = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=60)
    assert told.stdout.strip() == "27"
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["state.json"]
