"""Artifacts: folders that get their name only when they are whole, with a manifest of what went in and came out."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from align.errors import AlignError, StoreError, UsageError
from align.ports import Artifact
from align.store import locks
from align.store.disk import folder_at, is_full, raise_full, raise_unwritable
from align.store.fingerprint import Digests, files_in, fingerprint, key_of, read_json, replace, sync_folder

CRASH_POINTS = ("made", "files-synced", "manifest-written", "set-aside", "renamed")
"""Where `ALIGN_CRASH_AT` can kill this process, so that tests can show what survives."""
MARK = "store.json"


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
        artifact = self._opened(stage, key)
        return artifact if isinstance(artifact, Artifact) else None

    def problem(self, stage: str, key: str) -> str | None:
        """What is wrong with the artifact of this key, or None where it is whole or not there at all."""
        artifact = self._opened(stage, key)
        return artifact if isinstance(artifact, str) else None

    def _opened(self, stage: str, key: str) -> Artifact | str | None:
        folder = self.place(stage, key)
        if not folder.is_dir():
            return None
        try:
            artifact = opened(folder)
        except StoreError as error:
            return str(error)
        return (torn(artifact) or artifact) if artifact.key == key else "another key stands in its place"

    def claim(self) -> None:
        """Make the folder a store; UsageError where it holds something that is not ours."""
        self.refuse_foreign()
        mark = self.root / MARK
        if not mark.exists():
            try:
                folder_at(self.root, self.root)
                replace(mark, _pretty({"schema": 1, "what": "a store of artifacts made by align"}))
            except OSError as error:
                raise_unwritable(error, self.root)
                raise

    def refuse_foreign(self) -> None:
        """UsageError where the folder is in use for something else: what is not ours is never written to or cleaned."""
        if not self.root.is_dir() or (self.root / MARK).exists():
            return
        # another run may be laying its mark at this very moment
        held = next((path for path in self.root.iterdir() if not path.name.startswith(MARK)), None)
        ours = any(True for pattern in ("*/*/manifest.json", "*/*.partial") for _ in self.root.glob(pattern))
        if held is not None and not ours:
            raise UsageError(f"{self.root}: no store of align's, it holds {held.name}; choose a new or empty folder")

    @contextmanager
    def making(self, stage: str, key: str, step: str) -> Iterator[Making]:
        """The artifact's lock and an empty `out`; whatever an earlier try left in `work` is still there."""
        self.claim()
        final = self.place(stage, key)
        with making(final, f"{step} ({stage}/{final.name})", self.root) as place:
            yield place

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
            name, size = path.relative_to(making.out).as_posix(), path.stat().st_size
            files.append({"path": name, "size": size, "sha256": Digests(None).file(path)})
        crash_point("files-synced", step)
        digest = fingerprint([[file["path"], file["sha256"]] for file in files])
        replace(making.out / "manifest.json", _pretty({**manifest, "digest": digest, "files": files}))
        for folder in (making.out, *(path for path in making.out.rglob("*") if path.is_dir())):
            sync_folder(folder)
        crash_point("manifest-written", step)
        if making.final.exists():  # made again by --redo, or torn
            old = making.final.with_name(making.final.name + ".old")
            shutil.rmtree(old, ignore_errors=True)
            os.rename(making.final, old)
            crash_point("set-aside", step)
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
        """Every artifact whose manifest can be read, by stage and key."""
        for folder in self._folders():
            with suppress(StoreError):
                yield opened(folder)

    def unreadable(self) -> Iterator[Path]:
        """Folders of artifacts whose manifest cannot be read."""
        for folder in self._folders():
            try:
                opened(folder)
            except StoreError:
                yield folder

    def _folders(self) -> list[Path]:
        paths = (path.parent for path in self.root.glob("*/*/manifest.json"))
        return sorted(path for path in paths if not path.name.endswith((".partial", ".old")))

    def partials(self) -> Iterator[Path]:
        """What unfinished runs left: it is used when the same command runs again."""
        yield from sorted(path for path in self.root.glob("*/*.partial") if not _sealed(path))

    def litter(self) -> Iterator[Path]:
        """What a kill at the wrong moment left, of use to nobody."""
        yield from sorted((*self.root.glob("*/*.old"), *filter(_sealed, self.root.glob("*/*.partial"))))

    def remember(self, recipe: str, state: Mapping[str, Any]) -> None:
        """Keep which artifacts a recipe stands on now, for `plan`'s reasons, `show` and `clean`."""
        self.claim()
        try:
            (self.root / "recipes").mkdir(parents=True, exist_ok=True)
            replace(self.root / "recipes" / f"{recipe}.json", _pretty(state))
        except OSError as error:
            raise_unwritable(error, self.root)
            raise

    def remembered(self) -> dict[str, dict[str, Any]]:
        """The state of each recipe that has run here, by name."""
        return {path.stem: read_json(path) for path in sorted((self.root / "recipes").glob("*.json"))}


def _sealed(partial: Path) -> bool:
    return (partial.with_suffix("") / "manifest.json").exists()


@contextmanager
def making(final: Path, what: str, root: Path, *, lasting_lock: bool = True) -> Iterator[Making]:
    """The lock of the artifact that is to stand at `final`, and an empty `out` for it."""
    partial = final.with_name(final.name + ".partial")
    try:
        folder_at(final.parent, root)
        with locks.held(final.with_name(final.name + ".lock"), what, remove=not lasting_lock):
            _put_right(final)
            if (partial / "out").exists():
                shutil.rmtree(partial / "out")
            (partial / "out").mkdir(parents=True)
            (partial / "work").mkdir(exist_ok=True)
            yield Making(final, partial / "out", partial / "work")
    except AlignError:
        raise
    except OSError as error:
        raise_unwritable(error, root)
        raise
    except Exception as error:
        # writers in other languages (safetensors, torch) say a full disk in words of their own
        if "No space left" in str(error) or is_full(root):
            raise_full(root, error)
        raise


def _put_right(final: Path) -> None:
    """A kill between the two renames of a second sealing left the first under `.old`: it gets its name back."""
    old = final.with_name(final.name + ".old")
    if old.exists() and not final.exists() and (old / "manifest.json").exists():
        os.rename(old, final)
    shutil.rmtree(old, ignore_errors=True)


def opened(folder: Path) -> Artifact:
    """The artifact in `folder`; StoreError where its manifest is missing or torn."""
    manifest = read_json(folder / "manifest.json")
    try:
        files = {(file["path"], file["size"], file["sha256"]) for file in manifest["files"]}
        if not all(isinstance(path, str) and isinstance(size, int) for path, size, _ in files):
            raise TypeError("files")
        return Artifact(folder, manifest["key"], manifest["digest"], manifest)
    except (TypeError, KeyError, AttributeError) as error:
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
        if artifact.key != key_of(artifact.manifest["made_from"]):
            return "the manifest's key is not that of what it was made from"
    return None


def _pretty(document: Mapping[str, Any]) -> str:
    import json

    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"
