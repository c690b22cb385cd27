"""Results outside the store: a folder that is written whole, and never over somebody else's files."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from align.errors import UsageError
from align.records import canonical
from align.store.disk import raise_unwritable
from align.store.fingerprint import Digests, files_in, read_json, replace, sync_folder

MARK = ".align-export.json"
"""Lists what a delivery wrote, by sha256: what is not in it is not ours to replace."""


def deliver(source: Path, target: Path) -> None:
    """Copy the folder `source` to `target`, which holds all of the copy or none of it.

    A kill between the two renames leaves the earlier copy beside it, as `.NAME.old`. UsageError for a root, a home, or
    a folder with files that no earlier delivery wrote or that were edited since.
    """
    target = target.expanduser().absolute()
    refuse(target)
    written = {str(path.relative_to(source)): Digests(None).file(path, fresh=True) for path in files_in(source)}
    if _delivered(target) == written and all((target / name).is_file() for name in written):
        return
    partial = target.with_name(f".{target.name}.partial")
    old = target.with_name(f".{target.name}.old")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(source, partial)
        replace(partial / MARK, canonical({"files": written}) + "\n")
        for path in files_in(partial):
            with open(path, "rb") as stream:
                os.fsync(stream.fileno())
        if target.exists():
            shutil.rmtree(old, ignore_errors=True)
            os.rename(target, old)
        os.rename(partial, target)
        sync_folder(target.parent)
        shutil.rmtree(old, ignore_errors=True)
    except OSError as error:
        raise_unwritable(error, target.parent, says="export.folder cannot be written", remedy="give another folder")
        raise


def refuse(target: Path) -> None:
    """Raise UsageError where `target` may not be replaced."""
    real = target.resolve()
    if (
        real in (Path(real.anchor), Path.home().resolve(), Path.cwd().resolve())
        or real in Path.home().resolve().parents
    ):
        raise UsageError(f"export.folder: {target}: is a root, a home or this folder; give a folder of its own")
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise UsageError(f"export.folder: {target}: is no folder; remove it, or give another")
    if not target.exists() or not any(target.iterdir()):
        return
    ours = _delivered(target)
    digests = Digests(None)
    for path in files_in(target):
        name = str(path.relative_to(target))
        if name != MARK and ours.get(name) != digests.file(path, fresh=True):
            raise UsageError(
                f"export.folder: {target}: holds {name}, which no export wrote or somebody edited; "
                "move it away, or give another folder"
            )


def _delivered(target: Path) -> dict[str, str]:
    """What an earlier delivery says it wrote, by sha256."""
    if not (target / MARK).is_file():
        return {}
    files = read_json(target / MARK).get("files")
    return files if isinstance(files, dict) else {}
