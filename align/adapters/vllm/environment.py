"""Which Python has vLLM, whether its version is one that works, and the settings its engine needs on this machine."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from align.configs import RuntimeConfig, VLLMConfig
from align.errors import BackendError

FLOOR, CEILING = (0, 28), (0, 33)
"""Versions of vLLM that were tried with this TRL and transformers; below the floor the server lacks what is asked of
it, from the ceiling on vLLM asks for another torch."""
CONSTRAINTS = Path(__file__).with_name("constraints-cpu.txt")


@dataclass(frozen=True)
class Found:
    """A Python with vLLM in it."""

    python: str
    version: str
    where: str


def find(config: VLLMConfig) -> Found:
    """The Python that the recipe names, this one, or the environment that `make vllm-cpu` built; BackendError."""
    if config.python is not None:
        return _tried(config.python, "generate.vllm.python")
    if find_spec("vllm") is not None:
        return _checked(Found(sys.executable, here(), "this environment"))
    built = cpu_environment()
    if (built / "ready").exists():
        return _tried(str(built / "bin" / "python"), "the environment of `make vllm-cpu`")
    raise BackendError(
        "the vllm engine is not installed; run: pip install 'align-prefs[vllm]' (GPU) or make vllm-cpu, or use "
        "generate.engine: transformers"
    )


def cpu_environment() -> Path:
    """Where `make vllm-cpu` builds: named by the hash of its set of versions."""
    cache_root = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    digest = hashlib.sha256(CONSTRAINTS.read_bytes()).hexdigest()[:12]
    return Path(cache_root) / "align-prefs" / f"vllm-cpu-{digest}"


def here() -> str:
    """The version installed beside us, under whichever of its names."""
    for name in ("vllm", "vllm-cpu"):
        try:
            return version(name)
        except PackageNotFoundError:
            continue
    return "unknown"


@cache
def _tried(python: str, where: str) -> Found:
    script = (
        "from importlib import metadata as m, util as u\n"
        "def v(n):\n try: return m.version(n)\n except m.PackageNotFoundError: return ''\n"
        "print(v('vllm') or v('vllm-cpu'), v('torch'), v('torchvision') or '-')"
    )
    try:
        told = subprocess.run([python, "-c", script], capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise BackendError(f"{where}: {python} cannot be run as a Python: {str(error)[:200]}") from error
    found = told.split()
    if len(found) != 3:
        raise BackendError(f"{where}: vllm is not installed there; install it, or name another Python")
    vllm, torch, torchvision = found
    if torch.endswith("+cpu") and torchvision != "-" and "+cpu" not in torchvision:
        raise BackendError(
            f"{where}: torchvision {torchvision} is a CUDA build beside torch {torch}, which breaks imports; "
            f"run: {python} -m pip uninstall -y torchvision torchaudio torchcodec triton"
        )
    return _checked(Found(python, vllm, where))


def _checked(found: Found) -> Found:
    numbers = tuple(int(part) for part in found.version.split("+")[0].split(".")[:2] if part.isdigit())
    if len(numbers) == 2 and not FLOOR <= numbers < CEILING:
        raise BackendError(
            f"vllm {found.version} in {found.where}: expected at least {FLOOR[0]}.{FLOOR[1]} and below "
            f"{CEILING[0]}.{CEILING[1]}; run: pip install 'align-prefs[vllm]'"
        )
    return found


def variables(config: VLLMConfig, runtime: RuntimeConfig) -> dict[str, str]:
    """The environment for an engine: nothing of ours leaks in but what it needs."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    told = {
        "VLLM_LOGGING_LEVEL": os.environ.get("VLLM_LOGGING_LEVEL", "ERROR"),
        "VLLM_NO_USAGE_STATS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
    }
    if runtime.device == "cpu":
        # without a bound vLLM wants nine tenths of the machine's memory
        told |= {
            "VLLM_CPU_KVCACHE_SPACE": str(config.kv_cache_gib),
            "OMP_NUM_THREADS": str(runtime.threads or 1),
            # bound to fixed cores, an engine waits for whatever else runs on them
            "VLLM_CPU_OMP_THREADS_BIND": os.environ.get("VLLM_CPU_OMP_THREADS_BIND", "nobind"),
        }
    return {**kept, **told}


def engine_arguments(
    model: Path, config: VLLMConfig, runtime: RuntimeConfig, *, ranks: tuple[int, ...]
) -> dict[str, Any]:
    """What `LLM(...)` is called with; the server takes the same as flags."""
    arguments: dict[str, Any] = {
        "model": str(model),
        "dtype": runtime.dtype if runtime.device == "cuda" else "float32",
        "generation_config": "vllm",
        "tensor_parallel_size": config.tensor_parallel,
        "disable_log_stats": True,
    }
    if runtime.device == "cpu":
        # a seeded request whose prompt is read in pieces ends the engine: "CPU Generator does not use offset"
        arguments |= {"enable_chunked_prefill": False, "enforce_eager": config.enforce_eager is not False}
    else:
        arguments |= {"gpu_memory_utilization": config.gpu_memory, "enforce_eager": bool(config.enforce_eager)}
    if config.context is not None:
        arguments["max_model_len"] = config.context
    if config.sequences is not None:
        arguments["max_num_seqs"] = config.sequences
    if ranks:
        allowed = (8, 16, 32, 64, 128, 256, 320, 512)
        arguments |= {
            "enable_lora": True,
            "max_lora_rank": next((rank for rank in allowed if rank >= max(ranks)), max(ranks)),
            "max_loras": len(ranks),
        }
    return arguments
