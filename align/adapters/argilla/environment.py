"""The environment in which Argilla's server runs: its own, for its pins of pydantic and httpx are not ours.

Built once from `server/constraints.txt` into the user's cache, under a name that says what went in; a build that was
killed, or an environment from which files are missing, is built again.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from align.errors import BackendError

VERSION = "2.8.0"
CONSTRAINTS = Path(__file__).with_name("server") / "constraints.txt"
PYTHONS = ((3, 11), (3, 13))
"""Argilla's pinned packages have wheels for these, first and last."""


def python() -> Path:
    """The environment's python; BackendError where it is not built, or is no longer whole."""
    place = folder()
    if not is_whole(place):
        raise BackendError(f"{place}: Argilla's environment is not built; run: align argilla install")
    return place / "bin" / "python"


def built(*, again: bool = False) -> tuple[Path, float]:
    """The environment's python, and the seconds that it took to build it (0 where it stood already)."""
    place = folder()
    place.parent.mkdir(parents=True, exist_ok=True)
    if is_whole(place) and not again:
        return place / "bin" / "python", 0.0
    with _alone(place):
        if is_whole(place) and not again:  # another was building it meanwhile
            return place / "bin" / "python", 0.0
        started = time.monotonic()
        # a killed pip leaves packages that it takes for installed; what it downloaded is kept in its cache
        shutil.rmtree(place, ignore_errors=True)
        log = place.with_name(f"{place.name}.log")
        with log.open("wb") as told:
            _do([_base(), "-m", "venv", str(place)], told.fileno(), log)
            pip = [str(place / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check", "--quiet",
                   "--no-deps", "--only-binary", ":all:", "-r", str(CONSTRAINTS)]  # fmt: skip
            _do(pip, told.fileno(), log)
        partial = place / "ready.partial"
        partial.write_text(_listing(place), encoding="utf-8")
        partial.rename(place / "ready")
        return place / "bin" / "python", time.monotonic() - started


def folder() -> Path:
    """Where this version's environment belongs: a hash of its packages and of the python that runs them."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    what = (CONSTRAINTS.read_text(encoding="utf-8"), _base(), platform.python_version(), platform.machine())
    named = hashlib.sha256("\0".join(what).encode("utf-8")).hexdigest()[:12]
    return cache / "align-prefs" / f"argilla-server-{VERSION}-{named}"


def is_whole(place: Path) -> bool:
    """Was it built to the end, and are all its files there, of the size that they had?"""
    try:
        return (place / "ready").read_text(encoding="utf-8") == _listing(place) and (place / "bin" / "python").exists()
    except OSError:
        return False


def _listing(place: Path) -> str:
    """A digest of every file's name and size; compiled files, which python writes as it likes, left out."""
    sized = []
    for parent, folders, names in os.walk(place / "lib"):
        folders[:] = [name for name in folders if name != "__pycache__"]
        sized += [f"{parent}/{name} {os.stat(f'{parent}/{name}').st_size}" for name in names]
    return hashlib.sha256("\n".join(sorted(sized)).encode("utf-8")).hexdigest()


def _base() -> str:
    """A python that Argilla's packages were built for: ours, or one on the PATH."""
    if PYTHONS[0] <= sys.version_info[:2] <= PYTHONS[1]:
        return str(Path(sys.base_prefix) / "bin" / f"python{sys.version_info[0]}.{sys.version_info[1]}")
    names = [f"python3.{minor}" for minor in range(PYTHONS[1][1], PYTHONS[0][1] - 1, -1)]
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        raise BackendError(
            f"Argilla {VERSION} needs Python 3.{PYTHONS[0][1]} to 3.{PYTHONS[1][1]}, this is "
            f"{platform.python_version()} and no other is on the PATH; install {names[0]}, or name a server by url"
        )
    return found


@contextmanager
def _alone(place: Path) -> Iterator[None]:
    handle = os.open(place.with_name(f"{place.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _do(command: list[str], told: int, log: Path) -> None:
    env = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PIP_TARGET", "VIRTUAL_"))
    }
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=told, stderr=told, env=env, check=False)
    if done.returncode:
        said = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
        why = next((line for line in reversed(said) if "ERROR" in line or "Error" in line), (said or ["no word"])[-1])
        raise BackendError(
            f"Argilla's environment cannot be built: {why.strip():.300}; the whole story is in {log}; "
            "the packages come from your package index, so see that it can be reached, and run again"
        )
