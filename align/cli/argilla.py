"""`align argilla`: the server at which people judge, run on this machine; who may sign in there, how far they are."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from align.adapters.argilla.home import Home


def add_commands(parser: argparse.ArgumentParser) -> None:
    """Its own commands, below `align argilla`."""
    parser.set_defaults(obey=lambda _: _helped(parser))
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    def command(name: str, about: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=about, description=about[0].upper() + about[1:] + ".")
        made.add_argument("--home", type=Path, metavar="FOLDER", help="where it is kept (default: $ALIGN_ARGILLA_HOME, "
                          "or ~/.local/share/align-prefs/argilla)")  # fmt: skip
        made.set_defaults(obey=lambda arguments: _obey(globals()[name.replace("import", "bring")], arguments))
        return made

    start = command("up", "start the server, and wait until it answers; builds its environment the first time")
    start.add_argument("--host", default="127.0.0.1", help="who may reach it (default: this machine alone)")
    start.add_argument("--port", type=int, help="default: that of last time, or 6900; 0 is any free one")
    start.add_argument("--wait", type=float, default=120.0, metavar="SECONDS", help="longest wait (default 120)")
    start.add_argument("--order", choices=("started", "random"), default="started", help="where several people judge "
                       "each record: begun ones first (the default), or at random")  # fmt: skip
    command("down", "let the server finish what is under way, and stop it")
    state = command("status", "say where it is, and how far each data set and each annotator is")
    state.add_argument("--json", action="store_true", help="print JSON")
    people = command("users", "list accounts, or make some: `users add alice bob`")
    people.add_argument("--json", action="store_true", help="print JSON")
    people.set_defaults(names=None)
    add = people.add_subparsers(title="commands", metavar="COMMAND").add_parser("add", help="make accounts")
    add.add_argument("names", nargs="+", metavar="NAME")
    kinds = add.add_mutually_exclusive_group()
    kinds.add_argument("--simulated", action="store_const", dest="kind", const="simulated", default="human",
                       help="accounts that scripts use: their judgments are marked so for ever")  # fmt: skip
    kinds.add_argument("--judge", action="store_const", dest="kind", const="judge", help="accounts that models use")
    add.add_argument("--workspace", metavar="NAME", help="whose data sets they see (default: align)")
    # said before `add` or after it
    add.add_argument("--home", type=Path, metavar="FOLDER", default=argparse.SUPPRESS, help="where Argilla is kept")
    add.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON")
    copy = command("backup", "make a whole copy while people work; `--home` on the copy brings it up")
    copy.add_argument("folder", type=Path, metavar="FOLDER", help="must not exist yet")
    bring = command("import", "read a data set that somebody labelled at any Argilla into records of ours")
    bring.add_argument("url", metavar="URL", help="the server's address; `local` is this machine's own")
    bring.add_argument("dataset", metavar="DATASET", help="the data set's name there")
    bring.add_argument("--out", type=Path, metavar="FOLDER", required=True, help="must not exist yet")
    bring.add_argument("--workspace", metavar="NAME", help="where the name stands in more than one")
    bring.add_argument("--recipe", type=Path, metavar="FILE", help="take its `label.argilla`, with the mapping")
    bring.add_argument("--set", dest="sets", action="append", default=[], metavar="KNOB=VALUE",
                       help="one knob of `label.argilla`, mapping.prompt=instruction for instance")  # fmt: skip
    rehearse = command("simulate", "have the testbed's annotators answer a recipe's comparisons, marked as simulated")
    rehearse.add_argument("recipe", type=Path, metavar="RECIPE", help="one that has been run, and waits")
    rehearse.add_argument("--store", type=Path, default=Path(os.environ.get("ALIGN_STORE", "runs")), metavar="FOLDER",
                          help="where its artifacts are kept (default: $ALIGN_STORE, or ./runs)")  # fmt: skip
    install = command("install", "build the server's environment, and nothing else")
    install.add_argument("--again", action="store_true", help="even where it stands already")


def _helped(parser: argparse.ArgumentParser) -> int:
    parser.print_help()
    return 0


def _obey(do: Callable[[argparse.Namespace], int], arguments: argparse.Namespace) -> int:
    try:
        return do(arguments)
    except OSError as error:
        from align.store.disk import raise_unwritable

        where = {"says": "Argilla's folder cannot be written", "remedy": "choose another with --home"}
        raise_unwritable(error, getattr(arguments, "folder", None) or _home(arguments).path, **where)
        raise


def _home(arguments: argparse.Namespace) -> Home:
    from align.adapters.argilla.home import Home

    return Home(arguments.home)


def up(arguments: argparse.Namespace) -> int:
    from align.adapters.argilla import environment
    from align.adapters.argilla import home as homes
    from align.adapters.argilla.hosts import is_loopback

    home = _home(arguments)
    if not is_loopback(arguments.host):
        print(
            f"align: --host {arguments.host}: whoever can reach this machine can try to sign in, and passwords and "
            "answers cross the network in the clear; put a proxy with https in front of it",
            file=sys.stderr,
        )
    if not environment.is_whole(environment.folder()):
        print("building Argilla's own environment, once: about a minute", file=sys.stderr)
    url = homes.up(home, host=arguments.host, port=arguments.port, wait=arguments.wait, order=arguments.order)
    print(f"Argilla is up at {url}")
    print(f"its owner's name, password and key are in {home.path / 'credentials.json'}")
    if len(home.kinds()) == 0:
        print("next: align argilla users add NAME …   (whoever is to judge)")
    return 0


def down(arguments: argparse.Namespace) -> int:
    from align.adapters.argilla import home as homes

    print(homes.down(_home(arguments)))
    return 0


def users(arguments: argparse.Namespace) -> int:
    from dataclasses import asdict

    from align.adapters.argilla import accounts

    home = _home(arguments)
    if arguments.names is None:
        found = accounts.users(home)
    else:
        found = accounts.add_users(home, arguments.names, arguments.kind, workspace=arguments.workspace)
    if arguments.json:
        print(json.dumps([{k: v for k, v in asdict(one).items() if k != "api_key"} for one in found], indent=1))
        return 0
    for one in found:
        told = one.kind or ("runs the server" if one.role == "owner" else "of no known kind; say it by `users add`")
        print(f"{one.username:<24} {told:<16} {f'password {one.password}' if one.password else ''}".rstrip())
    if any(one.password for one in found):
        print("these passwords are shown this once; people sign in at " + home.credentials().url)
    return 0


def status(arguments: argparse.Namespace) -> int:
    from align.adapters.argilla.progress import progress

    home = _home(arguments)
    told: dict[str, Any] = progress(home)
    if arguments.json:
        print(json.dumps(told, indent=1))
    elif not told["running"]:
        print(f"not running; its folder is {home.path}; run: align argilla up")
    else:
        print(f"{told['url']} (process {told['pid']}, since {told['since']})")
        for one in told["datasets"]:
            print(f"{one['workspace']}/{one['name']}: {one['completed']} of {one['records']} records completed "
                  f"({one['min_submitted']} answers each)")  # fmt: skip
            for name, said in one["annotators"].items():
                print(f"  {name:<24} {said['submitted']:>6} submitted {said['draft']:>6} drafts "
                      f"{said['discarded']:>6} discarded")  # fmt: skip
        if not told["datasets"]:
            print("no data sets yet; `align run` on a recipe with `label: {desk: argilla}` makes one")
    return 0 if told["running"] else 1


def backup(arguments: argparse.Namespace) -> int:
    from align.adapters.argilla.backup import backup as copied

    told = copied(_home(arguments), arguments.folder)
    print(f"{arguments.folder}: {told['records']} records, {told['responses']} answers, {told['users']} accounts")
    return 0


def bring(arguments: argparse.Namespace) -> int:
    from align import recipe as recipes
    from align.adapters.argilla.imported import bring as brought
    from align.configs.argilla import ArgillaConfig

    values: dict[str, Any] = {}
    if arguments.recipe is not None:
        values = recipes.load(arguments.recipe).label.argilla.model_dump(exclude_unset=True)
    lines: dict[tuple[str | int, ...], int] = {}
    for assignment in arguments.sets:
        recipes.put(values, lines, assignment)
    values.pop("url", None)
    if arguments.url == "local":
        values |= {"home": str(arguments.home)} if arguments.home else {}
        values.pop("key", None)
    else:
        values |= {"url": arguments.url, "key": values.get("key", "${env:ARGILLA_API_KEY}")}
    asked = recipes.checked(ArgillaConfig, values, lines, where="label.argilla", folder=Path.cwd())
    told = brought(asked, arguments.dataset, arguments.out, workspace=arguments.workspace)
    print(f"{told['n_judgments']} judgments by {told['n_annotators']} annotators of {told['n_comparisons']} "
          f"comparisons ({told['n_prompts']} prompts, {told['n_candidates']} answers)")  # fmt: skip
    for reason, n in told["set_aside"].items():
        print(f"set aside: {n} {reason}")
    out = arguments.out
    print(f"in a recipe: data: {{prompts: [{{path: {out}/prompts.jsonl}}], test_share: 0}}, "
          f"generate: {{ready: {out}/candidates.jsonl}}, label: {{ready: {out}/judgments.jsonl}}")  # fmt: skip
    return 0


def simulate(arguments: argparse.Namespace) -> int:
    from align import recipe as recipes
    from align.adapters.argilla.book import Book
    from align.adapters.argilla.sitting import sit
    from align.errors import UsageError
    from align.records import Candidate, Prompt
    from align.store import jsonl

    recipe = recipes.load(arguments.recipe)
    label, store = recipe.label, arguments.store
    desks = [label.argilla] if label.desk == "argilla" else []
    desks += [recipe.audit.there] if recipe.audit.desk == "argilla" else []
    desks = desks or [label.argilla]
    begins = tuple(one.dataset.replace(" ", "_") for one in desks)
    place = next((one.home for one in desks if one.home), None)
    home = _home(arguments) if arguments.home or not place else _at(place)
    books = [path for path in sorted(store.glob("desks/*")) if path.name.startswith(begins)]
    if not books:
        raise UsageError(f"{store}: nothing of this recipe is put up; run: align run {arguments.recipe}")
    asked = [*store.glob("prepare/*/prompts.jsonl"), *store.glob("prepare/*/test_prompts.jsonl")]
    prompts = {one.id: one for path in asked for one in jsonl.read(path, Prompt)}
    answered = store.glob("generate/*/candidates.jsonl")
    candidates = {one.id: one for path in answered for one in jsonl.read(path, Candidate)}
    for folder in books:
        alone = any(len(one.candidate_ids) == 1 for one in Book(folder).published().values())
        n = recipe.audit.annotators_per_answer if alone else label.annotators_per_comparison
        done = sit(home, Book(folder), prompts, candidates, label.people, per_comparison=n, seed=recipe.seed)
        print(f"{folder.name}: " + ", ".join(f"{name} answered {n}" for name, n in done.items()))
    return 0


def _at(path: str) -> Home:
    from align.adapters.argilla.home import Home

    return Home(Path(path))


def install(arguments: argparse.Namespace) -> int:
    from align.adapters.argilla import environment

    python, seconds = environment.built(again=arguments.again)
    print(f"{python.parents[1]}: " + (f"built in {seconds:.0f} s" if seconds else "stands already"))
    return 0
