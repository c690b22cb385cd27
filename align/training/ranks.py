"""Which process of how many this is, as torchrun tells it: one process unless it does."""

from __future__ import annotations

import os
from typing import Any


def rank() -> int:
    """0 for the process that writes."""
    return int(os.environ.get("RANK", "0"))


def world() -> int:
    """Processes that train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def writes() -> bool:
    """Whether this process writes what the run leaves."""
    return rank() == 0


def together() -> None:
    """Wait until every process has come this far."""
    if world() > 1:
        import torch.distributed as dist

        if dist.is_initialized():
            dist.barrier()


def from_all(mine: Any) -> list[Any]:
    """What each process brings, by rank."""
    if world() == 1:
        return [mine]
    import torch.distributed as dist

    found: list[Any] = [None] * world()
    dist.all_gather_object(found, mine)
    return found
