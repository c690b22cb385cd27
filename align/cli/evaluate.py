"""`align evaluate MODEL…`: any models, side by side, on published benchmarks; without a model, the stage alone."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from align.cli.show import find
from align.configs import AuditConfig, BenchmarkData, HarnessConfig, Survey
from align.errors import UsageError
from align.evals import instruments, listing
from align.recipe import checked
from align.runner import Runner
from align.runner.console import Console
from align.runner.survey import ENDPOINT, chosen, found_data, model_config, named, survey_name
from align.store.artifacts import Store

EXIT = {"pass": 0, "fail": 3, "inconclusive": 4, "error": 5}


def evaluate(arguments: argparse.Namespace) -> int:
    """Measure models side by side, hold them against one of them, and write a report; or obey as a stage."""
    if arguments.list:
        return _list(arguments)
    if not arguments.models:
        from align.cli.stage import stage

        return stage(arguments, "evaluate")
    for name in ("inputs", "out", "recipe", "sets"):
        if getattr(arguments, name):
            flag = {"inputs": "in", "sets": "set"}.get(name, name)
            raise UsageError(f"evaluate: --{flag} belongs to the stage alone, and models were named; leave one out")
    store = Store(arguments.store)
    survey = asked(arguments, store)
    console = Console(sys.stderr if arguments.json else sys.stdout)
    result = Runner(survey, store, console, redo=arguments.redo).run()
    assert result.report is not None
    _told(arguments, survey, result.verdict, result.report, store, console)
    return EXIT[result.verdict] if result.verdict else 0


def asked(arguments: argparse.Namespace, store: Store) -> Survey:
    """What the command line asks for, as a survey; UsageError where something of it is not there."""
    given = list(dict.fromkeys([*arguments.models, *([arguments.against] if arguments.against else [])]))
    if len(given) < len(arguments.models):
        raise UsageError("evaluate: a model is given twice; name each once")
    names = named(given)
    folders = {word: _folder(word, store) for word in given}
    against = folders[arguments.against] if arguments.against else None
    models = {names[w]: model_config(folders[w], against=against, template=arguments.chat_template) for w in given}
    here = {} if arguments.lm_eval and arguments.data is None else _benchmarks(arguments)
    labels = {names[word]: path for word, path in _labels(arguments.labels, names).items()}
    audits = {
        name: AuditConfig.model_validate({"desk": "file", "published": str(path)}) for name, path in labels.items()
    }
    harness = None
    if arguments.lm_eval:
        harness = HarnessConfig.model_validate(
            {"tasks": arguments.lm_eval, "folder": str(arguments.tasks) if arguments.tasks else None,
             "max_items": arguments.max_items, "form": arguments.form,
             **({"max_tokens": arguments.max_tokens} if arguments.max_tokens else {})}
        )  # fmt: skip
    values: dict[str, Any] = {
        "name": survey_name(names, [*here, *arguments.lm_eval]),
        "title": f"{', '.join(names[word] for word in arguments.models)} measured",
        "seed": arguments.seed or 0,
        "models": {name: config.model_dump() for name, config in models.items()},
        "endpoints": {
            names[w]: {"urls": [w.partition("#")[0]], "api": "chat", "model": w.partition("#")[2], "key": arguments.key}
            for w in given
            if ENDPOINT.match(w)
        },
        "against": names[arguments.against] if arguments.against else None,
        "benchmarks": {name: where.model_dump() for name, where in here.items()},
        "lm_eval": harness.model_dump() if harness else None,
        "answers": {"temperature": 0.0, "batch_size": arguments.batch_size},
        "labels": {name: config.model_dump() for name, config in audits.items()},
    }
    return checked(Survey, {k: v for k, v in values.items() if v is not None}, {}, where="evaluate", folder=Path.cwd())


def _benchmarks(arguments: argparse.Namespace) -> dict[str, BenchmarkData]:
    """Where the data of each instrument that is asked for lie; one whose data are not there is left out and named."""
    if arguments.data is None:
        raise UsageError("evaluate: --data FOLDER is missing: where the published benchmarks lie (see --list)")
    if not arguments.data.is_dir():
        raise UsageError(f"--data {arguments.data}: no such folder")
    wanted = chosen(arguments.suite, arguments.instrument)
    if arguments.against is None:
        alone = [one.name for one in wanted if one.compares]
        if alone and arguments.instrument:
            raise UsageError(f"{alone[0]}: holds a model against the one it came from; give --against BASE")
        wanted = [one for one in wanted if not one.compares]
    here, missing = found_data(wanted, arguments.data, max_items=arguments.max_items)
    if missing and arguments.instrument:
        raise UsageError(f"--data {arguments.data}: no published files of {', '.join(missing)} there; see --list")
    if not here:
        known = ", ".join(missing) or "none that has been run against real data"
        raise UsageError(f"--data {arguments.data}: holds no benchmark of this suite; they are: {known}")
    for name in missing:
        print(f"align: {name}: its data are not in {arguments.data}, so it is left out", file=sys.stderr)
    turned = {"form": arguments.form, "max_tokens": arguments.max_tokens}
    graded = {"judge": _judge(arguments), "template": arguments.judge_template}
    return {
        name: checked(
            BenchmarkData,
            {**where.model_dump(), **turned, **(graded if "judge" in instruments.instrument(name).needs else {})},
            {}, where=f"evaluate.{name}", folder=Path.cwd(),
        )
        for name, where in here.items()
    }  # fmt: skip


def _judge(arguments: argparse.Namespace) -> dict[str, Any] | None:
    """Where the classifier or grader is served that some instruments need."""
    if arguments.judge is None:
        return None
    url, mark, name = arguments.judge.partition("#")
    if not ENDPOINT.match(url) or not (mark and name):
        raise UsageError(f"--judge {arguments.judge}: expected URL#NAME, as the model is served there")
    return {"urls": [url], "model": name, "key": arguments.judge_key}


def _folder(word: str, store: Store) -> str:
    """A model of a run (`recipe:step`, as in `show`) by its folder; any other word as it is."""
    if (
        ":" in word
        and not ENDPOINT.match(word)
        and not Path(word).exists()
        and store.root.is_dir()
        and (found := find(store, word)) is not None
    ):
        return str(found.path / "model")
    return word


def _labels(texts: list[str], names: dict[str, str]) -> dict[str, Path]:
    found = {}
    for text in texts:
        word, equals, place = text.partition("=")
        if not equals:
            word, place = next(iter(names)), text
        if word not in names:
            raise UsageError(f"--labels {text}: {word} is not one of the models")
        if not Path(place).is_file():
            raise UsageError(f"--labels {text}: no such file; expected rows of `answer` and `refused`")
        found[word] = Path(place)
    return found


def _told(
    arguments: argparse.Namespace, survey: Survey, verdict: str | None, report: Path, store: Store, console: Console
) -> None:
    from rich.console import Console as Rich

    from align.report.measures import verdicts
    from align.report.side_by_side import harness_json, rows_of, table, write_csv
    from align.runner.views import run_view

    view = run_view(store, store.remembered()[survey.name])
    rows = rows_of(view)
    if arguments.csv is not None:
        write_csv(rows, arguments.csv)
    if arguments.harness_json is not None:
        text = json.dumps(harness_json(rows), indent=1, ensure_ascii=False)
        arguments.harness_json.write_text(text + "\n", encoding="utf-8")
    if arguments.json:
        told = {"survey": survey.name, "verdict": verdict, "report": str(report), "rows": [row.told() for row in rows]}
        print(json.dumps(told, indent=1, ensure_ascii=False))
        return
    console.say()
    Rich(file=console.stream).print(table(rows))
    if verdict is not None:
        lines = verdicts(view)
        console.say(
            f"gate against {survey.against}: {verdict}" + ("" if lines else "; no default line speaks of these")
        )
        for line in lines:
            console.say(f"  {line.verdict:<12} {line.model} {line.instrument}.{line.metric}: {line.why}")
    console.say(f"report: {report}")


def _list(arguments: argparse.Namespace) -> int:
    rows = listing()
    if arguments.json:
        print(json.dumps(rows, indent=1, ensure_ascii=False))
        return 0
    for row in rows:
        print(f"{row['name']:<16} {row['measures']}\n{'':<16} needs {row['needs']}; {row['last_run']}")
        print(f"{'':<16} {row['metrics']}")
    return 0
