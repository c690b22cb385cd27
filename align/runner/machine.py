"""What this machine can do, found out without importing torch: `plan` must answer in a blink."""

from __future__ import annotations

import os
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from align.configs import Drawing, Engine, RuntimeConfig

PACKAGES = ("align-prefs", "torch", "transformers", "trl", "peft", "datasets", "accelerate", "tokenizers")


def resolved(runtime: RuntimeConfig) -> RuntimeConfig:
    """`runtime` with every `auto` replaced by what it means here."""
    device = runtime.device
    if device == "auto":
        device = "cuda" if has_gpu() else "cpu"
    dtype = runtime.dtype
    if dtype == "auto":
        dtype = "bfloat16" if (gpu_has_bf16() if device == "cuda" else cpu_has_bf16()) else "float32"
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    threads = runtime.threads or (int(wanted) if wanted.isdigit() else 0) or cores()
    return runtime.model_copy(update={"device": device, "dtype": dtype, "threads": threads})


def chosen(config: Drawing | None) -> tuple[Engine, str]:
    """The engine that draws answers, and why that one where it was left to us."""
    if config is None:
        return "transformers", ""
    if config.engine != "auto":
        return config.engine, ""
    if find_spec("vllm") is not None:
        return "vllm", "auto: vllm is installed here"
    return "transformers", "auto: vllm is not installed here"


@cache
def cpu_has_bf16() -> bool:
    """Native bfloat16 arithmetic: AVX512-BF16 or AMX. Emulated, it is three times slower than float32."""
    try:
        flags = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("flags"))
    except (OSError, StopIteration):
        return False
    return bool({"avx512_bf16", "amx_bf16"} & set(flags.split()))


@cache
def has_gpu() -> bool:
    """An NVIDIA device that this process may see."""
    return Path("/proc/driver/nvidia/version").exists() and os.environ.get("CUDA_VISIBLE_DEVICES", "0") not in (
        "",
        "-1",
    )


@cache
def gpu_has_bf16() -> bool:
    """Compute capability 8.0 or newer on the first device."""
    asked = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
    try:
        told = subprocess.run(asked, capture_output=True, text=True, timeout=20, check=True).stdout
        return float(told.split()[0]) >= 8.0
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return False


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def packages() -> dict[str, str]:
    """Installed versions of what decides results."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@cache
def commit() -> str | None:
    """The commit of the source tree this package is run from, if it is one; `+` where it has been edited since."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        head = subprocess.run(["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5)
        dirty = subprocess.run(["git", "-C", str(root), "diff", "--quiet", "HEAD", "--", "align"], timeout=5).returncode
    except (OSError, subprocess.SubprocessError):
        return None
    return head.stdout.strip() + ("+" if dirty else "") if head.returncode == 0 else None
