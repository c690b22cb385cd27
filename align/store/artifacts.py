"""Artifacts: folders that get their name only when they are whole, with a manifest of what went in and what came out."""

from __future__ import annotations

import errno
import os
import shutil
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from align.errors import StoreError, UsageError
from align.ports import Artifact
from align.store import locks
from align.store.fingerprint import Digests, files_in, fingerprint, read_json, replace, sync_folder

CRASH_POINTS = ("made", "files-synced", "manifest-written", "renamed")
"""Where `ALIGN_CRASH_AT` can kill this process, so that tests can show what survives."""


def crash_point(name: str, step: str) -> None:
    """Die here by SIGKILL if the environment asks for it: `ALIGN_CRASH_AT=step:name`."""
    if os.environ.get("ALIGN_CRASH_AT") == f"{step}:{name}":
        os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class Making:
    """An artifact in the making: `out` becomes the artifact, `work` outlives a kill and goes when it is sealed."""

    final: Path
    out: Path
    work: Path


class Store:
    """A folder of artifacts, `<stage>/<first 16 digits of the key>`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.digests = Digests(root / "digests.json")

    def place(self, stage: str, key: str) -> Path:
        """Where the artifact of this key stands or will stand."""
        return self.root / stage / key[:16]

    def find(self, stage: str, key: str) -> Artifact | None:
        """The artifact of this key if it is there and every file has the size its manifest says."""
        folder = self.place(stage, key)
        if not (folder / "manifest.json").exists():
            return None
        artifact = opened(folder)
        return artifact if artifact.key == key and not torn(artifact) else None

    @contextmanager
    def making(self, stage: str, key: str, step: str) -> Iterator[Making]:
        """The artifact's lock and an empty `out`; whatever an earlier try left in `work` is still there."""
        final = self.place(stage, key)
        partial = final.with_name(final.name + ".partial")
        try:
            final.parent.mkdir(parents=True, exist_ok=True)
            with locks.held(final.with_name(final.name + ".lock"), f"{step} ({stage}/{final.name})"):
                if (partial / "out").exists():
                    shutil.rmtree(partial / "out")
                (partial / "out").mkdir(parents=True)
                (partial / "work").mkdir(exist_ok=True)
                yield Making(final, partial / "out", partial / "work")
        except OSError as error:
            raise_unwritable(error, self.root)
            raise

    def seal(self, making: Making, manifest: Mapping[str, Any]) -> Artifact:
        """Give the artifact its name: files to disk, manifest, rename, parent to disk."""
        step = str(manifest["step"])
        crash_point("made", step)
        files = []
        for path in files_in(making.out):
            handle = os.open(path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
            name, size = str(path.relative_to(making.out)), path.stat().st_size
            files.append({"path": name, "size": size, "sha256": self.digests.file(path, fresh=True)})
        crash_point("files-synced", step)
        digest = fingerprint([[file["path"], file["sha256"]] for file in files])
        replace(making.out / "manifest.json", _pretty({**manifest, "digest": digest, "files": files}))
        for folder in {path.parent for path in files_in(making.out)}:
            sync_folder(folder)
        crash_point("manifest-written", step)
        if making.final.exists():  # made again by --redo, or torn
            old = making.final.with_name(making.final.name + ".old")
            shutil.rmtree(old, ignore_errors=True)
            os.rename(making.final, old)
            os.rename(making.out, making.final)
            shutil.rmtree(old)
        else:
            os.rename(making.out, making.final)
        sync_folder(making.final.parent)
        crash_point("renamed", step)
        shutil.rmtree(making.out.parent)
        self.digests.save()
        return opened(making.final)

    def artifacts(self) -> Iterator[Artifact]:
        """Every whole artifact, by stage and key."""
        for path in sorted(self.root.glob("*/*/manifest.json")):
            if not path.parent.name.endswith((".partial", ".old")):
                yield opened(path.parent)

    def partials(self) -> Iterator[Path]:
        """What unfinished runs left: it is used when the same command runs again."""
        yield from sorted(path for path in self.root.glob("*/*.partial") if path.is_dir())

    def remember(self, recipe: str, state: Mapping[str, Any]) -> None:
        """Keep which artifacts a recipe stands on now, for `plan`'s reasons, `show` and `clean`."""
        try:
            (self.root / "recipes").mkdir(parents=True, exist_ok=True)
            replace(self.root / "recipes" / f"{recipe}.json", _pretty(state))
        except OSError as error:
            raise_unwritable(error, self.root)
            raise

    def remembered(self) -> dict[str, dict[str, Any]]:
        """The state of each recipe that has run here, by name."""
        return {path.stem: read_json(path) for path in sorted((self.root / "recipes").glob("*.json"))}


def opened(folder: Path) -> Artifact:
    """The artifact in `folder`; StoreError where its manifest is missing or torn."""
    manifest = read_json(folder / "manifest.json")
    try:
        return Artifact(folder, manifest["key"], manifest["digest"], manifest)
    except (TypeError, KeyError) as error:
        raise StoreError(f"{folder}/manifest.json: no `{error.args[0]}`; not a manifest of an artifact") from error


def torn(artifact: Artifact, *, deep: Digests | None = None) -> str | None:
    """The first thing about an artifact that is not as its manifest says, or None; `deep` reads every byte."""
    for file in artifact.manifest["files"]:
        path = artifact.path / file["path"]
        if not path.is_file():
            return f"{file['path']} is missing"
        if path.stat().st_size != file["size"]:
            return f"{file['path']} has {path.stat().st_size:,} bytes, expected {file['size']:,}"
        if deep is not None and deep.file(path, fresh=True) != file["sha256"]:
            return f"{file['path']} has other bytes than were sealed"
    if deep is not None:
        listed = {file["path"] for file in artifact.manifest["files"]} | {"manifest.json"}
        for path in files_in(artifact.path):
            if str(path.relative_to(artifact.path)) not in listed:
                return f"{path.relative_to(artifact.path)} was added after sealing"
        if artifact.digest != fingerprint([[file["path"], file["sha256"]] for file in artifact.manifest["files"]]):
            return "the manifest's digest is not that of its files"
    return None


def _pretty(document: Mapping[str, Any]) -> str:
    import json

    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def raise_unwritable(error: OSError, root: Path) -> None:
    """StoreError for a full disk, UsageError for a place that may not be written; other errors are left alone."""
    if error.errno == errno.ENOSPC:
        free = shutil.disk_usage(root).free
        raise StoreError(
            f"{root}: the disk is full ({free:,} bytes free); what was sealed is whole: free space and run again"
        ) from error
    if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR, errno.EEXIST):
        raise UsageError(
            f"{error.filename or root}: the store cannot be written ({error.strerror}); choose another with --store"
        ) from error
