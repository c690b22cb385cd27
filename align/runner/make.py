"""Makes one artifact: run a stage in an empty folder, see that what it read stood still, seal what it wrote."""

from __future__ import annotations

import gc
import resource
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from align.configs import RuntimeConfig
from align.errors import InputChanged, RecordError
from align.plan import STAGES, Step
from align.ports import Artifact, Inputs
from align.runner.console import Console
from align.runner.keys import located, made_from
from align.runner.machine import commit, packages
from align.runner.toolbox import Toolbox
from align.store.artifacts import Making, Store, torn
from align.store.fingerprint import Digests, key_of, seed_for


def make(
    step: Step, inputs: Inputs, making: Making, document: Mapping[str, Any], *, seed: int, runtime: RuntimeConfig,
    store: Store, console: Console, shared: bool = False,
) -> Artifact:  # fmt: skip
    """The sealed artifact of a step, whose lock is held; InputChanged, and nothing sealed, if an input was edited.

    `document` is what `made_from` gave when the lock was taken; `seed` is the recipe's; `runtime` has no `auto` left.
    With `shared`, what other runs in the store have drawn need not be drawn again.
    """
    tools = Toolbox(
        step.name,
        seed=seed_for(seed, step.stage),
        runtime=runtime,
        work=making.work,
        console=console,
        kept=store.root / "desks",
        shelves=store.root / "shelves" if shared else None,
    )
    began, start = datetime.now(UTC), time.monotonic()
    try:
        STAGES[step.stage].module.run(step.config, inputs, making.out, tools)
    finally:
        tools.close()
        gc.collect()
    try:
        now = made_from(
            step, inputs, seed=seed, dtype=runtime.dtype, snapshot=document.get("snapshot"), digests=store.digests
        )
        same = now == document
    except RecordError:  # a file is gone
        same = False
    if not same:
        names = ", ".join(path.name for path in located(step.config.keyed()))
        raise InputChanged(f"{step.name}: {names} was edited while the stage read it; nothing was kept: run again")
    for name, artifact in inputs.items():
        if problem := torn(artifact) or _edited(artifact, store.digests):
            raise InputChanged(f"{step.name}: its input `{name}` changed while the stage ran: {problem}; run again")
    read = {
        name: {"step": step.inputs[name], "key": artifact.key, "digest": artifact.digest}
        for name, artifact in inputs.items()
    }
    return store.seal(making, {
        "schema": 1, "stage": step.stage, "step": step.name, "key": key_of(document), "made_from": document,
        "config": document["config"], "notes": tools.notes, "figures": tools.figures, "inputs": read,
        "packages": packages(), "commit": commit(),
        "created": began.isoformat(timespec="seconds"), "seconds": round(time.monotonic() - start, 3),
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "runtime": runtime.model_dump(mode="json"),
    })  # fmt: skip


def _edited(artifact: Artifact, digests: Digests) -> str | None:
    """What is wrong with an input that nobody sealed: only its bytes can tell that it stood still."""
    if "key" in artifact.manifest or digests.anything(artifact.path) == artifact.digest:
        return None
    return "its files were edited"
