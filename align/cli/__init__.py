"""The command line: `align run recipe.yaml`, and each stage by its name. What is heavy is imported when needed."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

STAGES = (
    "prepare", "base", "sft", "generate", "label", "pair", "dpo", "kto", "reward", "rlhf", "best_of",
    "benchmark", "evaluate", "harness", "audit", "gate", "export",
)  # fmt: skip
EXIT_CODES = """exit codes: 0 done · 1 failed · 2 bad recipe, input or usage · 3 gate failed · 4 gate inconclusive
· 5 gate in error · 6 locked by another run · 75 waiting for people · 130 Ctrl-C · 143 SIGTERM (both resumable)"""


def main(argv: Sequence[str] | None = None) -> int:
    """Obey one command line; the exit code."""
    arguments = _parser().parse_args(argv)
    obey: Callable[[argparse.Namespace], int] | None = getattr(arguments, "obey", None)
    if obey is None:
        _parser().print_help()
        return 0
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    signal.signal(signal.SIGTERM, _terminated)
    from align.errors import AlignError

    try:
        return obey(arguments)
    except AlignError as error:
        print(f"align: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("\nalign: stopped; what was made is kept: run the same command again to go on", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except SystemExit as stop:
        if stop.code == 143:
            print("align: told to stop; what was made is kept: run the same command again to go on", file=sys.stderr)
        raise
    except OSError as error:
        from align.store.disk import raise_unwritable

        try:
            raise_unwritable(error, Path(getattr(arguments, "store", ".")))
        except AlignError as said:
            print(f"align: {said}", file=sys.stderr)
            return said.exit_code
        raise
    except Exception as error:
        said_of_values = _refused_values(error)
        if said_of_values is None:
            raise
        print(f"align: {said_of_values}", file=sys.stderr)
        return 2


def _refused_values(error: Exception) -> str | None:
    """The first of the values that a record or a group of knobs refused, where that is what went wrong."""
    from pydantic import ValidationError

    if not isinstance(error, ValidationError):
        return None
    problem = error.errors(include_url=False)[0]
    place = ".".join(map(str, (error.title, *problem["loc"])))
    return f"{place}: {problem['input']!r:.80} found: {problem['msg']}"


def _helped(parser: argparse.ArgumentParser) -> int:
    parser.print_help()
    return 0


def _terminated(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(143)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="align",
        description="Turns people's preferences into a language model one can trust.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="store_true", help="print the version and stop")
    parser.set_defaults(obey=lambda a: _late("version", a) if a.version else _helped(parser))
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    run = _with_recipe(commands, "run", "run a recipe: reuse what is made, make what is missing")
    run.add_argument("--until", metavar="STEP", help="make this step or stage and what it reads, no more")
    run.add_argument("--redo", metavar="STEP", action="append", default=[], help="make this step or stage again")
    run.add_argument(
        "--refresh", metavar="STEP", action="append", default=[], help="pull this stage's judgments into a new snapshot"
    )
    plan = _with_recipe(commands, "plan", "say what a run would do, and why, without doing it")
    plan.add_argument("--until", metavar="STEP", help="make this step or stage and what it reads, no more")
    check = _with_recipe(
        commands, "check", "check a recipe, its files and this environment without running", optional=True
    )
    check.add_argument("--deep", action="store_true", help="also read every byte of every artifact of the store")
    check.add_argument(
        "--conformance", metavar="MODEL", help="put a model folder through what preference training takes for granted"
    )

    show = _command(
        commands, "show", "list runs and artifacts, or go back from one to the data and judgments it stands on"
    )
    show.add_argument(
        "what",
        nargs="?",
        metavar="ARTIFACT",
        help="a path, the start of a key, STAGE/KEY, RECIPE:STEP, or the id of a preference",
    )
    show.add_argument("--models", nargs="*", metavar="MODEL",
                      help="measured models side by side: MODEL, RUN or RUN:MODEL; all without a name")  # fmt: skip
    show.add_argument("--rollouts", type=int, metavar="N", help="the last N answers that stage `rlhf` learnt from")
    _store(show)
    show.add_argument("--json", action="store_true", help="print JSON")
    report = _with_recipe(
        commands, "report", "write a run's report again and say where it is; of two recipes, what sets them apart"
    )
    report.add_argument(
        "other", nargs="?", type=Path, metavar="OTHER", help="a second recipe, to hold beside the first"
    )
    report.add_argument("--out", type=Path, metavar="FILE", help="write it here instead")
    chat = _command(commands, "chat", "talk to a model, or to two side by side")
    chat.add_argument(
        "models", nargs="+", metavar="MODEL", help="an artifact (as in `show`) or a model folder; one or two"
    )
    chat.add_argument("--temperature", type=float, default=0.0, help="0 (the default) is greedy")
    chat.add_argument("--max-tokens", type=int, default=256)
    chat.add_argument(
        "--prompt", action="append", default=[], help="ask this instead of reading the terminal; may be repeated"
    )
    chat.add_argument("--seed", type=int, default=0)
    _store(chat)
    score = _command(commands, "score", "score the answers in a file with a reward model, or serve it on this machine")
    score.add_argument("model", metavar="MODEL", help="an artifact of stage `reward`, or a folder with a reward model")
    score.add_argument(
        "file", nargs="?", type=Path, metavar="FILE", help="JSON Lines or Parquet: answers, pairs, records"
    )
    score.add_argument(
        "--prompts", type=Path, action="append", default=[], metavar="FILE", help="prompts of candidates"
    )
    score.add_argument("--out", type=Path, metavar="FILE", help="write the scores here instead of printing them")
    score.add_argument("--serve", action="store_true", help="answer on loopback instead: POST /reward, GET /health")
    score.add_argument("--port", type=int, default=0, help="the port to serve on (default: a free one)")
    _store(score)
    clean = _command(commands, "clean", "remove what no recipe of the store needs")
    clean.add_argument("--yes", action="store_true", help="remove it; without this, only say what and how much")
    clean.add_argument(
        "--earlier", action="store_true", help="also what earlier variants of a recipe, with other knobs, stood on"
    )
    clean.add_argument("--forget", metavar="RECIPE", action="append", default=[], help="also forget this recipe's run")
    _store(clean)
    schema = _command(commands, "schema", "write the JSON Schema of every record and of the recipe")
    schema.add_argument("folder", nargs="?", type=Path, default=Path("data_schemas"), metavar="FOLDER")

    from align.cli.argilla import add_commands

    add_commands(_command(commands, "argilla", "run the server at which people judge: up, down, status, users, backup"))

    for name in STAGES:
        stage = _command(commands, name, f"run the stage `{name}` alone")
        stage.add_argument(
            "--in",
            dest="inputs",
            action="append",
            default=[],
            metavar="NAME=PATH",
            help="an artifact that the stage reads",
        )
        stage.add_argument("--out", type=Path, metavar="FOLDER", help="where to put the result; must not exist yet")
        stage.add_argument(
            "--recipe", type=Path, metavar="FILE", help="take the stage's knobs and the seed from this recipe"
        )
        stage.add_argument(
            "--set", dest="sets", action="append", default=[], metavar="KNOB=VALUE", help="set one of the stage's knobs"
        )
        stage.add_argument("--seed", type=int, help="the recipe's seed (default 0)")
        stage.set_defaults(obey=lambda a, name=name: _late("stage", a, name))
        if name == "evaluate":
            _benchmark_face(stage)
        if name == "generate":
            stage.description = "Answer a file of prompts; or, with --in, run the stage alone."
            stage.add_argument("files", nargs="*", metavar="PROMPTS CANDIDATES", help="JSON Lines in, JSON Lines out")
            stage.add_argument("--model", type=Path, metavar="FOLDER", help="the model that answers")
            stage.set_defaults(obey=lambda a: _late("generate", a))
    return parser


def _benchmark_face(stage: argparse.ArgumentParser) -> None:
    stage.description = "Measure models side by side on published benchmarks; or, with --in, run the stage alone."
    stage.set_defaults(obey=lambda a: _late("evaluate", a))
    stage.add_argument("models", nargs="*", metavar="MODEL",
                       help="a folder, an adapter's, a .gguf, org/name@commit, RECIPE:STEP or URL#NAME")  # fmt: skip
    stage.add_argument("--against", metavar="BASE", help="hold every model against this one, by the default margins")
    stage.add_argument("--suite", choices=("bias", "safety", "ability", "quick"), help="these benchmarks alone")
    stage.add_argument("--instrument", action="append", default=[], metavar="NAME", help="this one; may be repeated")
    stage.add_argument("--lm-eval", action="append", default=[], metavar="TASK", help="a task of lm-eval's, by name")
    stage.add_argument("--tasks", type=Path, metavar="FOLDER", help="lm-eval task files of one's own")
    stage.add_argument("--data", type=Path, metavar="FOLDER", help="where the published benchmarks lie")
    stage.add_argument("--max-items", type=int, metavar="N", help="at most so many of each kind, chosen by hash")
    stage.add_argument("--max-tokens", type=int, metavar="N", help="longest answer; each instrument's own by default")
    stage.add_argument("--form", choices=("chat", "plain"), default="chat",
                       help="put questions in the chat template (the default) or as plain text")  # fmt: skip
    stage.add_argument("--chat-template", type=Path, metavar="FILE", help="for models that have none of their own")
    stage.add_argument("--labels", action="append", default=[], metavar="[MODEL=]FILE",
                       help="people's labels of a model's answers: its safety gate needs 100")  # fmt: skip
    stage.add_argument("--judge", metavar="URL#NAME", help="the served classifier or grader that some instruments need")
    stage.add_argument("--judge-template", metavar="FILE", help="the text that this classifier reads, from its card")
    stage.add_argument("--judge-key", metavar="${env:NAME}", help="the variable that holds the judge's key")
    stage.add_argument("--key", metavar="${env:NAME}", help="the variable that holds an endpoint's key")
    stage.add_argument("--batch-size", type=int, default=32, metavar="N", help="answers drawn at once")
    stage.add_argument("--redo", action="append", default=[], metavar="STEP", help="make this step or stage again")
    stage.add_argument("--csv", type=Path, metavar="FILE", help="also write every number to a CSV file")
    stage.add_argument("--harness-json", type=Path, metavar="FILE", help="also write results as lm-eval does")
    stage.add_argument("--json", action="store_true", help="print JSON")
    stage.add_argument("--list", action="store_true", help="list the instruments and what each has been run on")
    _store(stage)


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, about: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=about, description=about[0].upper() + about[1:] + ".", epilog=EXIT_CODES,
                                 formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.set_defaults(obey=lambda a: _late(name, a))
    return parser


def _with_recipe(
    commands: argparse._SubParsersAction[argparse.ArgumentParser], name: str, about: str, *, optional: bool = False
) -> argparse.ArgumentParser:
    parser = _command(commands, name, about)
    parser.add_argument("recipe", type=Path, metavar="RECIPE", nargs="?" if optional else None, help="a YAML file")
    parser.add_argument(
        "--set", dest="sets", action="append", default=[], metavar="A.B=VALUE", help="turn one knob of the recipe"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    _store(parser)
    return parser


def _store(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--store", type=Path, default=Path(os.environ.get("ALIGN_STORE", "runs")), metavar="FOLDER",
                        help="where artifacts are kept (default: $ALIGN_STORE, or ./runs)")  # fmt: skip


def _late(command: str, arguments: argparse.Namespace, *more: str) -> int:
    from importlib import import_module

    room = {"plan": "run", "report": "run", "version": "schema"}.get(command, command)
    code: int = getattr(import_module(f"align.cli.{room}"), command)(arguments, *more)
    return code
