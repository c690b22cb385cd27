"""Stage `gate`: every measurement against its margin. It only says; the runner stops what must be stopped."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from align.configs import GateConfig
from align.errors import AlignError, GateBroken, GateFailed, GateInconclusive, RecordError
from align.evals import comparisons, gates, harness, instruments, validation
from align.evals.comparisons import Measured
from align.ports import Inputs, Tools
from align.records import GateVerdict, ItemScore, Measurement, Source
from align.store import jsonl

VERSION = 5
SCORES, MEASURED = "scores.jsonl", "measurements.jsonl"
PREVIOUS = "previous"

REFUSALS: Mapping[str, type[AlignError]] = {"fail": GateFailed, "inconclusive": GateInconclusive, "error": GateBroken}
NAMED = 3
"""So many of the lines that block are told in one message."""


def run(config: GateConfig, inputs: Inputs, out: Path, tools: Tools) -> None:
    """Write `compared.jsonl`, `verdicts.jsonl` and `summary.json`."""
    for margin in config.margins:
        instruments.metric(margin.metric)
    results = {(m.model, m.instrument): m for name in sorted(inputs) if (m := _measured(name, inputs)) is not None}
    results |= {(PREVIOUS, m.instrument): m for m in previous(config)}
    audits = {
        name.split("/")[1]: validation.read(jsonl.parse((artifact.path / "summary.json").read_bytes(), name))
        for name, artifact in inputs.items()
        if name.startswith("audit/")
    }
    verdicts = gates.judge(config, results, audits)
    jsonl.write(out / "compared.jsonl", comparisons.compared(results))
    jsonl.write(out / "verdicts.jsonl", verdicts)
    told = json.dumps(summarised(config, verdicts), indent=1, sort_keys=True, ensure_ascii=False)
    (out / "summary.json").write_text(told + "\n", encoding="utf-8")


def summarised(config: GateConfig, verdicts: list[GateVerdict]) -> dict[str, object]:
    """The verdict on the whole, and each line as a person reads it."""
    verdict = gates.overall(verdicts, config)
    return {
        "verdict": verdict,
        "blocks": verdict != "pass" and config.on_fail == "stop",
        "on_fail": config.on_fail,
        "margins": "the recipe's" if config.margins else "default",
        "accepted": sorted(
            {
                f"{v.instrument}.{v.metric}"
                for v in verdicts
                if v.verdict == "inconclusive" and f"{v.instrument}.{v.metric}" in config.accept_inconclusive
            }
        ),
        "lines": [
            {
                "metric": f"{v.instrument}.{v.metric}",
                "model": v.model,
                "against": v.against,
                "verdict": v.verdict,
                "why": v.why,
            }
            for v in verdicts
        ],
    }


def refusal(summary: Mapping[str, Any]) -> AlignError | None:
    """What a gate's `summary.json` forbids, to be raised where something would go out; None where nothing blocks."""
    verdict = summary.get("verdict")
    if verdict not in ("pass", *REFUSALS):
        raise RecordError(f"gate: summary.json: verdict: {verdict!r} is not one of pass, {', '.join(REFUSALS)}")
    if verdict == "pass" or not summary.get("blocks", summary.get("on_fail", "stop") == "stop"):
        return None
    said = [f"{line['metric']}: {line['why']}" for line in summary.get("lines", ()) if line["verdict"] == verdict]
    more = f" (and {len(said) - NAMED} more)" if len(said) > NAMED else ""
    why = "; ".join(said[:NAMED]) or "see the report"
    return REFUSALS[verdict](f"gate: {verdict}: {why}{more}; nothing was exported")


def previous(config: GateConfig) -> Iterator[Measured]:
    """What was measured of the release before this one, once an instrument."""
    places: dict[str, Path] = {}
    for given in map(Path, config.previous):
        found = sorted(path.parent for path in given.rglob(SCORES)) if given.is_dir() else []
        if not found:
            raise RecordError(f"gate.previous: {given}: holds no {SCORES}; expected artifacts of `evaluate`")
        for folder in found:
            measured = _read(folder, PREVIOUS, Source(name=PREVIOUS, digest=None))
            if (before := places.setdefault(measured.instrument, folder)) != folder:
                raise RecordError(
                    f"gate.previous: {measured.instrument} is measured twice, in {before.name} and {folder.name}; "
                    "name the folders of one model"
                )
            yield measured


def _measured(name: str, inputs: Inputs) -> Measured | None:
    """The rows of the artifact called `evaluate/<model>/<instrument>`."""
    parts = name.split("/")
    if parts[0] != "evaluate":
        return None
    if len(parts) != 3:
        raise RecordError(f"gate: input `{name}`: expected evaluate/<model>/<instrument>")
    artifact = inputs[name]
    return _read(artifact.path, parts[1], Source(name=name, digest=artifact.digest), parts[2])


def _read(folder: Path, model: str, source: Source, instrument: str | None = None) -> Measured:
    measurements = list(jsonl.read(folder / MEASURED, Measurement))
    if not measurements and instrument is None:
        raise RecordError(f"{folder / MEASURED}: 0 rows, expected Measurement records")
    outputs = measurements[0].meta.get("outputs") if measurements else None
    foreign = [m for m in measurements if m.instrument == harness.NAME]
    return Measured(
        model=model,
        instrument=instrument or measurements[0].instrument,
        rows=list(jsonl.read(folder / SCORES, ItemScore)),
        outputs=str(outputs) if outputs else None,
        provenance=measurements[0].provenance if measurements else None,
        source=source,
        foreign={m.metric: harness.metric(m.metric, m.better, m.unit) for m in foreign},
    )
