"""The server's process: started once for a home, told to stop, asked whether it is there."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from align.adapters.argilla import environment
from align.adapters.argilla.disks import refuse_network
from align.adapters.argilla.rest import call
from align.errors import BackendError, Locked, UsageError
from align.store.disk import is_full, raise_full

if TYPE_CHECKING:
    from align.adapters.argilla.home import Home

PORT = 6900
ENGINE = "align-embedded"
STOP_S = 20.0
LARGEST_LOG_BYTES = 10 * 2**20
SERVER = Path(__file__).with_name("server")
BOOT = (
    "import importlib.util as u, pathlib, sys; place = pathlib.Path(sys.argv[1]); "
    "s = u.spec_from_file_location('align_server', place / '__init__.py', submodule_search_locations=[str(place)]); "
    "m = u.module_from_spec(s); sys.modules[s.name] = m; s.loader.exec_module(m); from align_server.serve import main; "
    "main(pathlib.Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4])"
)
"""The server's folder as a package of its own: beside it lies what Argilla's environment must not import."""


def up(
    home: Home,
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    wait: float = 120.0,
    order: Literal["started", "random"] = "started",
) -> str:
    """Start the server of `home` and wait until it answers; its address.

    `port` None is that of last time, or 6900; 0 is any that is free. Locked where a server of this home is up,
    UsageError where the port is taken or the folder cannot hold a database, BackendError where the server gives up.
    """
    home.prepare()
    refuse_network(home.path)
    if is_full(home.path):
        raise_full(home.path, OSError("no room for a page"))
    lock = _locked(home)
    try:
        listening = _bound(host, home.last_port() or PORT if port is None else port)
        with listening:
            python, _ = environment.built()
            port = listening.getsockname()[1]
            _rotate(home.log)
            begun = home.log.stat().st_size if home.log.exists() else 0
            process = _spawned(home, python, lock, listening.fileno(), order)
            started = datetime.now(UTC).isoformat(timespec="seconds")
            os.ftruncate(lock, 0)
            os.pwrite(
                lock, json.dumps({"pid": process.pid, "host": socket.gethostname(), "since": started}).encode(), 0
            )
        url = f"http://{_reached_at(host)}:{port}"
        try:
            _wait(process, url, wait, lambda: _said(home.log, begun))
        except BaseException:
            process.kill()
            process.wait()
            raise
        home.moved_to(url, host, port)
        return url
    finally:
        os.close(lock)  # the server holds it by a handle of its own


def down(home: Home, *, wait: float = STOP_S) -> str:
    """Tell the server to finish what is under way and stop; how it went. UsageError where none is up."""
    holder = running(home)
    if holder is None:
        raise UsageError(f"{home.path}: no Argilla is up")
    pid = int(holder["pid"])
    os.kill(pid, signal.SIGTERM)
    until = time.monotonic() + wait
    while running(home) is not None:
        if time.monotonic() > until:
            os.kill(pid, signal.SIGKILL)
            while running(home) is not None:
                time.sleep(0.05)
            return "killed, for it did not stop when told; every acknowledged answer is in the database"
        time.sleep(0.05)
    return "stopped"


def running(home: Home) -> dict[str, Any] | None:
    """Who holds the home: pid, host, since. None where no server is up."""
    try:
        handle = os.open(home.lock, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        try:
            holder: dict[str, Any] = json.loads(os.pread(handle, 1000, 0))
        except ValueError:
            holder = {}
        return holder if "pid" in holder else None
    finally:
        os.close(handle)
    return None


def _locked(home: Home) -> int:
    handle = os.open(home.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        holder = running(home) or {}
        raise Locked(
            f"{home.path}: an Argilla is up there already (process {holder.get('pid', 'unknown')}, since "
            f"{holder.get('since', 'now')}); see: align argilla status"
        ) from error
    return handle


def _bound(host: str, port: int) -> socket.socket:
    if not 0 <= port < 2**16:
        raise UsageError(f"--port {port}: not a port; they go from 1 to 65535, and 0 is any that is free")
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except OSError as error:
        raise UsageError(f"--host {host}: no such address ({error.strerror}); try 127.0.0.1") from error
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise UsageError(
            f"port {port} of {host} cannot be had ({error.strerror}); "
            "name another with --port, or any free one with --port 0"
        ) from error
    return bound


def _reached_at(host: str) -> str:
    """Where this machine finds what listens at `host`."""
    if host in ("0.0.0.0", ""):
        return "127.0.0.1"
    if host == "::":
        return "[::1]"
    return f"[{host}]" if ":" in host else host


def _spawned(home: Home, python: Path, lock: int, listening: int, order: str) -> subprocess.Popen[bytes]:
    command = [str(python), "-I", "-c", BOOT, str(SERVER), str(home.path), str(listening), order]
    handle = os.open(home.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=handle, stderr=handle, cwd=home.path, pass_fds=(lock, listening),
            start_new_session=True,
        )  # fmt: skip
    finally:
        os.close(handle)


def _wait(process: subprocess.Popen[bytes], url: str, wait: float, said: Any) -> None:
    until = time.monotonic() + wait
    while True:
        if process.poll() is not None:
            raise BackendError(f"Argilla did not start: {said()}")
        if is_ready(url):
            return
        if time.monotonic() > until:
            raise BackendError(f"Argilla did not answer within {wait:.0f} s: {said()}")
        time.sleep(0.1)


def is_ready(url: str) -> bool:
    """Does our own Argilla answer there? (Any unknown path gets a page and 200, so the answer itself is looked at.)"""
    try:
        told = call(url, "GET", "status", timeout=2.0)
    except BackendError:
        return False
    return bool(told.get("search_engine", {}).get("name") == ENGINE)


def _said(log: Path, begun: int) -> str:
    """What the server gave as its reason, or the last thing that it said."""
    with log.open("rb") as file:
        file.seek(begun)
        lines = file.read().decode("utf-8", errors="replace").split("\n")
    refused = [line for line in lines if line.startswith("refused: ")]
    if refused:
        return refused[-1].removeprefix("refused: ")
    last = next((line for line in reversed(lines) if line.strip()), "it said nothing")
    return f"{last.strip():.300}; its log is {log}"


def _rotate(log: Path) -> None:
    if log.exists() and log.stat().st_size > LARGEST_LOG_BYTES:
        log.replace(log.with_name(f"{log.name}.1"))
