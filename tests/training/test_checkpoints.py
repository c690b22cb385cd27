from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from align.training.checkpoints import SEAL, fault, newest_whole_checkpoint, seal


def checkpoint(folder: Path, step: int) -> Path:
    place = folder / f"checkpoint-{step}"
    place.mkdir(parents=True)
    for name in ("model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth"):
        (place / name).write_bytes(bytes(range(100)))
    (place / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    seal(place)
    return place


def cut(name: str) -> Callable[[Path], None]:
    return lambda place: (place / name).write_bytes((place / name).read_bytes()[:10])  # type: ignore[func-returns-value]


def gone(name: str) -> Callable[[Path], None]:
    return lambda place: (place / name).unlink()


def flipped(place: Path) -> None:
    (place / "optimizer.pt").write_bytes(bytes(reversed(range(100))))


TORN: dict[str, Callable[[Path], None]] = {
    "no optimizer": gone("optimizer.pt"),
    "no random state": gone("rng_state.pth"),
    "no model": gone("model.safetensors"),
    "no state": gone("trainer_state.json"),
    "no seal": gone(SEAL),
    "half a model": cut("model.safetensors"),
    "half a state": cut("trainer_state.json"),
    "half a seal": cut(SEAL),
    "other bytes of the same length": flipped,
}


@pytest.mark.parametrize("how", TORN)
def test_a_torn_checkpoint_is_passed_over_and_named(how: str, tmp_path: Path) -> None:
    good = checkpoint(tmp_path, 9)
    torn = checkpoint(tmp_path, 10)
    TORN[how](torn)
    assert fault(torn) is not None
    assert newest_whole_checkpoint(tmp_path) == good
    assert (tmp_path / "torn-checkpoint-10").is_dir()
    assert not torn.exists()


def test_a_checkpoint_of_another_step_is_not_whole(tmp_path: Path) -> None:
    checkpoint(tmp_path, 10).rename(tmp_path / "checkpoint-20")
    assert newest_whole_checkpoint(tmp_path) is None


def test_ten_is_newer_than_nine_and_a_folder_without_checkpoints_has_none(tmp_path: Path) -> None:
    assert newest_whole_checkpoint(tmp_path / "none") is None
    checkpoint(tmp_path, 9)
    assert newest_whole_checkpoint(tmp_path) == tmp_path / "checkpoint-9"
    newer = checkpoint(tmp_path, 10)
    assert newest_whole_checkpoint(tmp_path) == newer
