"""vLLM's OpenAI server, started on loopback with a key of its own, waited for, and stopped with us however we end."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path
from typing import IO

from align.adapters.vllm import environment
from align.configs import Drawing, RuntimeConfig
from align.errors import BackendError
from align.models.load import adapter_rank

NAME = "model"
START = """import ctypes, os, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 15)
if os.getppid() != int(sys.argv[1]):
    sys.exit(0)
os.execv(sys.executable, [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *sys.argv[2:]])
"""
"""`vllm serve` fails with the CPU wheel, whose distribution has another name; the module does not. The server hears the
signal to stop when its parent dies, and stops its engine."""


class Launched:
    """A running server; `url`, `key`, and the `name` it serves the stage's model under."""

    name = NAME

    def __init__(self, python: str, folder: Path, config: Drawing, runtime: RuntimeConfig) -> None:
        self.key = secrets.token_urlsafe(24)
        port = _free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._told: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        variables = environment.variables(config.vllm, runtime) | {"VLLM_API_KEY": self.key}
        self._process = subprocess.Popen(
            [python, "-c", START, str(os.getpid()), *flags(folder, config, runtime), "--port", str(port)],
            stdin=subprocess.DEVNULL, stdout=self._told, stderr=subprocess.STDOUT, env=variables,
            start_new_session=True, cwd=tempfile.gettempdir(),
        )  # fmt: skip
        began = time.monotonic()
        try:
            self._wait(config.vllm.silence_s)
        except BaseException:
            self.close()
            raise
        self.start_s = round(time.monotonic() - began, 3)

    @property
    def pid(self) -> int:
        """The server's process."""
        return self._process.pid

    def _wait(self, patience_s: float) -> None:
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            if (code := self._process.poll()) is not None:
                raise BackendError(f"the vllm server ended with code {code} while it started: {self.last_words()}")
            if self._healthy():
                return
            time.sleep(0.25)
        raise BackendError(
            f"the vllm server was not ready within {patience_s:g} s (generate.vllm.silence_s): {self.last_words()}"
        )

    def _healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def last_words(self) -> str:
        """The last line that tells what went wrong."""
        self._told.seek(max(0, self._told.seek(0, os.SEEK_END) - 16_000))
        lines = [line.strip() for line in self._told.read().decode("utf-8", "replace").splitlines() if line.strip()]
        telling = [line for line in lines if "Error" in line or "error" in line] or lines
        return telling[-1][-300:].replace(self.key, "…") if telling else "it said nothing"

    def close(self) -> None:
        """Stop the server and its engine."""
        if self._process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=10)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._told.close()


def flags(folder: Path, config: Drawing, runtime: RuntimeConfig) -> list[str]:
    """What the server is started with: the same as an offline engine. No key, and no address but loopback."""
    adapters = {w.name: Path(w.adapter) for w in config.writers if w.adapter is not None}
    ranks = tuple(adapter_rank(adapter) for adapter in adapters.values())
    arguments = environment.engine_arguments(folder, config.vllm, runtime, ranks=ranks)
    found = ["--host", "127.0.0.1", "--served-model-name", NAME, "--uvicorn-log-level", "warning"]
    for name, value in arguments.items():
        flag = "--" + name.replace("_", "-")
        if value is True:
            found.append(flag)
        elif value is False:
            found += [flag.replace("--", "--no-", 1)] if name == "enable_chunked_prefill" else []
        else:
            found += [flag, str(value)]
    if adapters:
        found += ["--lora-modules", *(f"{name}={adapter}" for name, adapter in adapters.items())]
    return found


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])
