"""One stage in several processes, by torchrun: data-parallel, each with its share of every step.

`accelerate launch` starts one process on a CPU without a word, so torchrun does it, and each process looks how many it
is. The ranks tell this process what to show: progress, notes, and why they stopped.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from align.configs import TrainingConfig
from align.errors import TrainingError
from align.ports import Kept, Progress, Workshop
from align.training.checkpoints import newest_whole_checkpoint
from align.training.ranks import world

TAG = "align-rank "
"""What a line for us begins with; the rest is JSON."""


def launched() -> bool:
    """Whether this process is one of several already."""
    return world() > 1


def launch(
    method: str, config: TrainingConfig, paths: Mapping[str, Path | None], kept: Kept, workshop: Workshop
) -> None:
    """Run `align.training.<method>` in `runtime.processes` processes and wait; TrainingError with what a rank said."""
    n = workshop.runtime.processes
    if config.batch_size % n:
        raise TrainingError(
            f"runtime.processes: {n} does not divide batch_size {config.batch_size}; choose one that does"
        )
    # torn checkpoints are put aside by one process, before there are several
    newest_whole_checkpoint(workshop.work / "checkpoints")
    job = {
        "method": method,
        "config": config.model_dump(mode="json"),
        "config_class": type(config).__name__,
        "paths": {name: None if path is None else str(path) for name, path in paths.items()},
        "kept": {"rows": _text(kept.rows), "probe": _text(kept.probe)},
        "seed": workshop.seed,
        "runtime": workshop.runtime.model_dump(mode="json"),
        "work": str(workshop.work),
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "job.json"
        path.write_text(json.dumps(job), encoding="utf-8")
        command = [
            sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(n),
            "-m", "align.training.one_of_many", str(path),
        ]  # fmt: skip
        told = _listen(command, _environment(workshop, n), workshop)
    if told is not None:
        raise TrainingError(told)


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _environment(workshop: Workshop, n: int) -> dict[str, str]:
    threads = max(1, (workshop.runtime.threads or 1) // n)
    here = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))
    own = {"OMP_NUM_THREADS": str(threads), "PYTHONPATH": path, "TORCH_CPP_LOG_LEVEL": "ERROR"}
    # without it accelerate sees no process group on a CPU and trains the same thing n times
    plain = workshop.runtime.device == "cpu" and workshop.runtime.sharding == "none"
    return {**os.environ, **own, **({"ACCELERATE_USE_CPU": "true"} if plain else {})}


def _listen(command: list[str], environment: Mapping[str, str], workshop: Workshop) -> str | None:
    """Show what the ranks tell, until they are done; why they stopped, or None."""
    errors = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 -- it lives as long as the process
    process = subprocess.Popen(
        command, env=dict(environment), stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True,
        preexec_fn=die_with_parent,
    )  # fmt: skip
    fault: str | None = None
    tail: list[str] = []
    bars: dict[str, Progress] = {}
    try:
        with ExitStack() as stack:
            assert process.stdout is not None
            for line in process.stdout:
                if not line.startswith(TAG):
                    tail = [*tail[-20:], line.rstrip()]
                    continue
                said = json.loads(line.removeprefix(TAG))
                if "note" in said:
                    workshop.note(said["note"])
                elif "fault" in said:
                    fault = fault or str(said["fault"])
                elif said["what"] not in bars:
                    bars[said["what"]] = stack.enter_context(workshop.progress(said["what"], said["total"]))
                if "advance" in said:
                    bars[said["what"]].advance(said["advance"], said["note_beside"])
        if process.wait() and fault is None:
            errors.seek(0)
            named = [line for line in errors.read().splitlines() if re.match(r"(\[rank\d+\]: )?\w[\w.]*Error: ", line)]
            last = (named or tail[-1:] or ["no word of why"])[0].strip()[:300]
            fault = f"a training process ended with {process.returncode}: {last}"
        return fault
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        errors.close()


def die_with_parent() -> None:
    """Ask Linux to end this process when its parent ends: a killed run leaves nothing behind."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def tell(**said: Any) -> None:
    """Say something to the process that launched."""
    print(TAG + json.dumps(said), flush=True)


def told(job: Callable[[], None]) -> int:
    """Run a rank's job; what goes wrong is said in one line, and the exit code is 1."""
    from align.errors import AlignError

    try:
        job()
    except AlignError as error:
        tell(fault=str(error))
        return 1
    return 0
