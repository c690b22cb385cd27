"""What a step is made from, the key that this gives, and the reason when an artifact does not fit any more."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from align.configs import Drawing
from align.configs.base import Config, Located
from align.plan import STAGES, Step
from align.ports import Inputs
from align.runner.machine import chosen
from align.store.fingerprint import Digests


def made_from(
    step: Step, inputs: Inputs, *, seed: int, dtype: str, snapshot: int | None, digests: Digests
) -> dict[str, Any]:
    """Everything that decides the step's result, as JSON, with the names of its files: `key_of` gives the key."""
    stage = STAGES[step.stage]
    document: dict[str, Any] = {
        "stage": step.stage,
        "version": stage.module.VERSION,
        "config": _contents(step.config.keyed(), digests),
        "inputs": {name: artifact.digest for name, artifact in inputs.items()},
    }
    if stage.seeded:
        document["seed"] = seed
    if stage.computes:
        document["dtype"] = dtype
    if isinstance(step.config, Drawing):
        document["engine"] = chosen(step.config)[0]
    if snapshot is not None:
        document["snapshot"] = snapshot
    if desk := _desk(step.config):
        document["desk"] = desk
    return document


def _desk(config: Config) -> str | None:
    """Who is asked: other people's judgments are another result, though the file they are written to may grow.

    A file of judgments has no identity but its name before it is read: the name as the recipe has it, so that a
    project may be moved.
    """
    judgments = getattr(config, "judgments", None)
    return judgments.written if isinstance(judgments, Located) else judgments


def located(value: Any) -> Iterator[Path]:
    """The files and folders that a config names."""
    if isinstance(value, Located):
        yield Path(value)
    elif isinstance(value, dict):
        for item in value.values():
            yield from located(item)
    elif isinstance(value, list):
        for item in value:
            yield from located(item)


def _contents(value: Any, digests: Digests) -> Any:
    if isinstance(value, Located):
        path = Path(value)
        return {"file": path.name, "sha256": digests.anything(path)}
    if isinstance(value, dict):
        return {key: _contents(item, digests) for key, item in value.items()}
    if isinstance(value, list):
        return [_contents(item, digests) for item in value]
    return value


def differences(before: Mapping[str, Any], now: Mapping[str, Any], step: Step) -> list[str]:
    """What changed, each as `name old → new`."""
    found = []
    for name, old, new in _changed(before, now, ()):
        head, *rest = name
        if head == "inputs":
            found.append(f"its input `{step.inputs.get(rest[0], rest[0])}` changed")
        elif head == "config":
            dotted = ".".join(rest)
            if dotted.endswith(".sha256"):
                found.append(f"the content of {now_file(now, rest)} changed")
            else:
                found.append(f"{dotted} {_shown(old)} → {_shown(new)}")
        elif head == "desk":
            found.append("another file of judgments")
        elif head == "version":
            found.append(f"the stage's code: VERSION {old} → {new}")
        else:
            found.append(f"{'.'.join(name)} {_shown(old)} → {_shown(new)}")
    return found


def now_file(now: Mapping[str, Any], place: list[str]) -> str:
    """The name of the file whose digest stands at `place` of the config."""
    value: Any = now["config"]
    for name in place[:-1]:
        value = value[int(name)] if isinstance(value, list) else value[name]
    return str(value.get("file", ".".join(place[:-1])))


def _changed(before: Any, now: Any, place: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        for name in sorted({*before, *now}):
            yield from _changed(before.get(name), now.get(name), (*place, name))
    elif isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for i, (old, new) in enumerate(zip(before, now, strict=True)):
            yield from _changed(old, new, (*place, str(i)))
    elif before != now:
        yield place, before, now


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    text = str(value)
    return text if len(text) <= 40 else text[:39] + "…"
