"""Which checkpoint to go on from: the newest that is whole, for a kill can leave the last one torn."""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path

SEAL = "whole.json"
"""Written into a checkpoint last of all: the size and sha256 of every file in it."""


def newest_whole_checkpoint(folder: Path) -> Path | None:
    """The checkpoint of the highest step that is as it was sealed; torn ones on the way are renamed `torn-…`."""
    if not folder.is_dir():
        return None
    found = [(int(m.group(1)), p) for p in folder.iterdir() if (m := re.fullmatch(r"checkpoint-(\d+)", p.name))]
    for _, checkpoint in sorted(found, reverse=True):
        if fault(checkpoint) is None:
            return checkpoint
        place = folder / f"torn-{checkpoint.name}"
        n = 1
        while place.exists():
            n += 1
            place = folder / f"torn-{checkpoint.name}-{n}"
        checkpoint.rename(place)
    return None


def fault(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint, or None for a whole one."""
    try:
        files = json.loads((checkpoint / SEAL).read_text("utf-8"))
        state = json.loads((checkpoint / "trainer_state.json").read_text("utf-8"))
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except ValueError as error:
        return f"not JSON: {error}"
    if f"checkpoint-{state.get('global_step')}" != checkpoint.name:
        return f"its state is of step {state.get('global_step')}"
    for name, (size, digest) in files.items():
        path = checkpoint / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size or sha256(path) != digest:
            return f"{name} is not what was written"
    return None


def seal(checkpoint: Path) -> None:
    """Flush a checkpoint to disk and write down what it holds."""
    files = {}
    for path in sorted(p for p in checkpoint.rglob("*") if p.is_file() and p.name != SEAL):
        with open(path, "rb") as stream:
            os.fsync(stream.fileno())
        files[str(path.relative_to(checkpoint))] = [path.stat().st_size, sha256(path)]
    partial = checkpoint / f"{SEAL}.partial"
    with open(partial, "w", encoding="utf-8") as stream:
        json.dump(files, stream)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(checkpoint / SEAL)


def sha256(path: Path) -> str:
    """The digest of a file, in hex."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
