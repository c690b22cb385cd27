"""Where and how things run: nothing here changes a result, except what `auto` resolves to."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from align.configs.base import Config, LocalPath, Secret


class RayConfig(Config):
    """Candidates over Ray: plain actors, each with an engine or an endpoint of its own."""

    workers: int = Field(2, ge=1, le=4096)
    address: str | None = None
    """Of a running cluster, `auto` or `ray://host:port`; by default one is started on this machine."""
    cpus_per_worker: float = Field(1, ge=0)
    gpus_per_worker: float = Field(0, ge=0)
    prompts_per_task: int = Field(32, ge=1)
    """How many prompts a worker is given at a time, and at most loses."""


class RuntimeConfig(Config):
    """Devices and number formats."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """`auto` takes bfloat16 only where the processor has it natively: emulated, it is thrice as slow as float32."""
    threads: int | None = Field(None, ge=1)
    """CPU threads for torch; by default the cores this process may use."""
    processes: int = Field(1, ge=1, le=1024)
    """Processes that `sft` and `dpo` train in together, each with its share of every batch and of the threads."""
    sharding: Literal["none", "zero2", "zero3", "fsdp2"] = "none"
    """What the processes split besides the batch: gradients and optimizer states (zero2), weights too (zero3 and, on
    GPUs, fsdp2). With zero3 batches are padded, as TRL pads them."""
    report_to: tuple[Literal["tensorboard", "wandb", "mlflow", "trackio"], ...] = ()
    """Trackers that training also reports to, each with its own package and settings; nothing is sent by default."""
    offline: bool = False
    """Refuse anything that would need a network."""
    ray: RayConfig | None = None
    """Draw candidates on several workers or machines."""


class ExportConfig(Config):
    """Stage `export`: a folder that transformers and vLLM load, with a model card."""

    unkeyed: ClassVar[frozenset[str]] = frozenset({"folder", "push_to", "private", "token"})

    form: Literal["merged", "adapter"] = "merged"
    folder: LocalPath | None = None
    """Also copy the result here."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    push_to: str | None = None
    """A hub repository (`owner/name`) to push to; the token is read from the environment."""
    token: Secret = "${env:HF_TOKEN}"
    """Which variable holds the hub token."""
    private: bool = True
    licence: str | None = None
    """SPDX name for the model card; by default the most restrictive of what went in, if that is known."""
