"""The plan of `align evaluate MODEL…`: each model and each benchmark once, every model on every benchmark, a gate."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from align.configs import BenchmarkData, Drawing, ModelConfig, RewardConfig, Survey
from align.errors import UsageError
from align.evals import INSTRUMENTS, instruments, validation
from align.evals.evidence import Instrument
from align.plan import Step, benchmark_steps, harness_steps

SUITES = ("bias", "safety", "ability", "quick")
ENDPOINT = re.compile(r"^https?://")
HUB = re.compile(r"^[\w.-]+/[\w.-]+@[0-9a-f]{40}$")


def steps(survey: Survey) -> tuple[Step, ...]:
    """Every step, each after what it reads."""
    models = {name: f"model/{name}" for name in survey.models}
    here = {name: step for name, step in models.items() if name not in survey.endpoints}
    rewards = {name: f"reward/{name}" for name in here}
    of_rewards = [name for name in survey.benchmarks if "rewarder" in INSTRUMENTS[name].needs]
    found = []
    if len(of_rewards) < len(survey.benchmarks) or survey.lm_eval is not None:
        found += [Step(models[name], "base", config, {}) for name, config in survey.models.items()]
    if of_rewards:
        found += [Step(step, "reward", RewardConfig(ready=_scores(survey, name)), {}) for name, step in rewards.items()]
    came_from = {
        name: models[survey.against] for name in here if survey.against in here and survey.against not in (None, name)
    }
    for name, where in survey.benchmarks.items():
        asked = rewards if name in of_rewards else here
        found += benchmark_steps(name, where, asked, survey.answers, came_from)
        if {"scorer", "rewarder"} & set(INSTRUMENTS[name].needs):
            continue
        for model, endpoint in survey.endpoints.items():
            drawn = Drawing(engine="server", server=endpoint, **dict(survey.answers))
            found += list(benchmark_steps(name, where, {model: models[model]}, drawn, {}))[1:]  # its data stand already
    if survey.lm_eval is not None:
        found += harness_steps(survey.lm_eval, here)
    measured = {step.name for step in found if step.name.startswith("evaluate/")}
    return (*found, *_gates(survey, measured)) if survey.against else tuple(found)


def _scores(survey: Survey, name: str) -> str:
    """The folder of a model that is to be measured as a reward model."""
    folder = survey.models[name].folder
    if folder is None or survey.models[name].adapter is not None:
        raise UsageError(f"{name}: a reward model is measured from its folder alone; give that")
    return folder


def _gates(survey: Survey, measured: set[str]) -> Iterator[Step]:
    """One for each model but the one that they are held against, which plays the base."""
    counting = [name for name in survey.benchmarks if validation.rule_of(name)]
    for name in survey.models:
        if name == survey.against:
            continue
        read = {
            f"evaluate/{part}/{instrument}": f"evaluate/{model}/{instrument}"
            for part, model in (("tuned", name), ("base", survey.against))
            for instrument in (*survey.benchmarks, "lm_eval")
            if f"evaluate/{model}/{instrument}" in measured
        }
        if name in survey.labels and counting:
            labels = survey.labels[name]
            told = {"answers": f"answers/{name}/{counting[0]}", "data": f"benchmark/{counting[0]}"}
            yield Step(f"audit/{name}", "audit", labels, {} if labels.published else told)
            read["audit/tuned"] = f"audit/{name}"
        yield Step(f"gate/{name}", "gate", survey.gate, read)


def named(models: Sequence[str]) -> dict[str, str]:
    """A short name for each model that was given, by what was given: the last part of its path, numbered if need be."""
    names: dict[str, str] = {}
    for given in models:
        path = given.rpartition("#")[2] if ENDPOINT.match(given) else given.partition("@")[0].rstrip("/")
        parts = [part for part in re.split(r"[/:]", path) if part not in ("", ".", "..")]
        last = parts[-2] if len(parts) > 1 and parts[-1] in ("model", "adapter", "export") else (parts or ["model"])[-1]
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", last).strip("-.") or "model"
        taken, n = set(names.values()), 2
        short = name
        while short in taken:
            short, n = f"{name}-{n}", n + 1
        if given in names:
            raise UsageError(f"{given}: given twice; name each model once")
        names[given] = short
    return names


def model_config(given: str, *, against: str | None, template: Path | None) -> ModelConfig:
    """What a word of the command line means: a hub id at a commit, a folder, an adapter's folder, a GGUF file."""
    if ENDPOINT.match(given):
        _, _, served = given.partition("#")
        if not served:
            raise UsageError(f"{given}: which model of that endpoint? expected URL#NAME")
        return ModelConfig(served=served)
    chat_template = {"chat_template": str(template)} if template else {}
    path = Path(given).expanduser()
    if path.is_dir():
        for inner in (path, path / "model"):
            if (inner / "config.json").exists():
                return ModelConfig.model_validate({"folder": str(inner), **chat_template})
        if (path / "adapter").is_dir():
            path = path / "adapter"
        if (path / "adapter_config.json").exists():
            base = _base_of(path, against)
            return ModelConfig.model_validate({**base, "adapter": str(path), **chat_template})
        raise UsageError(f"{given}: holds neither config.json nor adapter_config.json; expected a model's folder")
    if path.is_file() and path.suffix == ".gguf":
        return ModelConfig.model_validate({"gguf": str(path), **chat_template})
    if HUB.match(given):
        name, _, revision = given.partition("@")
        return ModelConfig.model_validate({"name": name, "revision": revision, **chat_template})
    if given.count("/") == 1 and not given.startswith((".", "/", "~")):
        raise UsageError(f"{given}: no such folder; a hub model needs its commit: {given}@<40 hex digits>")
    raise UsageError(f"{given}: no such model; expected a folder, a .gguf file, org/name@commit or URL#NAME")


def _base_of(adapter: Path, against: str | None) -> dict[str, str]:
    """The model that an adapter goes on: what its settings name if that can be had, else the one it is held against."""
    try:
        written = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8")).get(
            "base_model_name_or_path"
        )
    except (OSError, ValueError, AttributeError) as error:
        raise UsageError(f"{adapter / 'adapter_config.json'}: cannot be read: {error}") from error
    for place in (written, against):
        if place and Path(place).is_dir():
            found = model_config(place, against=None, template=None)
            return {"folder": str(found.folder)} if found.folder and not found.adapter else {}
        if place and HUB.match(place):
            name, _, revision = place.partition("@")
            return {"name": name, "revision": revision}
    raise UsageError(
        f"{adapter}: an adapter of {written or 'an unnamed model'}, which is no folder here; name it with --against"
    )


def chosen(suite: str | None, names: Sequence[str]) -> list[Instrument]:
    """The instruments of a suite, or those named; those that have met real data only, unless they are named."""
    if names:
        found = [instruments.instrument(name) for name in names]
        for one in found:
            if one.published is None:
                raise UsageError(f"{one.name}: reads no published data, and belongs to a recipe's run; see --list")
        return found
    known = [one for one in INSTRUMENTS.values() if one.published is not None and one.last_run is not None]
    return [one for one in known if suite is None or suite in one.suites]


def found_data(
    of: Sequence[Instrument], folder: Path, *, max_items: int | None
) -> tuple[dict[str, BenchmarkData], list[str]]:
    """Where each instrument's data lie under `folder`, and the names of those whose do not."""
    here: dict[str, BenchmarkData] = {}
    missing = []
    for one in of:
        assert one.published is not None
        places = [folder / one.published.folder, folder / Path(one.published.folder).name, folder]
        place = next((p for p in places if p.is_dir() and _holds(p, one.published.files)), None)
        if place is None:
            missing.append(one.name)
        else:
            here[one.name] = BenchmarkData.model_validate({"path": str(place), "max_items": max_items})
    return here, missing


def _holds(folder: Path, patterns: Sequence[str]) -> bool:
    return any(next(folder.glob(pattern + end), None) for pattern in patterns for end in ("", ".gz"))


def survey_name(models: Mapping[str, str], benchmarks: Sequence[str]) -> str:
    """The name under which a survey is remembered: its models', and a digest of the rest."""
    rest = hashlib.sha256(json.dumps([sorted(models), sorted(benchmarks)]).encode()).hexdigest()[:6]
    return f"evaluate-{'-'.join(models.values())[:60].strip('-.')}-{rest}"
