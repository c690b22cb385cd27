"""`align score MODEL FILE`: what a reward model makes of the answers in a file; or the model served, for rollouts."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from align.cli.chat import model_folder
from align.configs import DataFile, RuntimeConfig
from align.data.answers import conversations
from align.data.rows import Row, read
from align.errors import RecordError, UsageError
from align.ports import Rewarder
from align.records import Prompt
from align.runner.console import Console
from align.runner.machine import resolved
from align.runner.toolbox import Toolbox
from align.store import jsonl
from align.store.artifacts import Store

ROWS_AT_ONCE = 256
T = TypeVar("T")


def score(arguments: argparse.Namespace) -> int:
    """Score a file, row by row in its order; or serve the model until told to stop."""
    if (arguments.file is None) == (not arguments.serve):
        raise UsageError("score: give a FILE of answers, or --serve, and not both")
    folder = model_folder(Store(arguments.store), arguments.model)
    with tempfile.TemporaryDirectory() as work:
        console = Console(quiet=True)
        tools = Toolbox("score", seed=0, runtime=resolved(RuntimeConfig()), work=Path(work), console=console)
        rewarder = tools.rewarder(folder)
        try:
            if arguments.serve:
                return _serve(rewarder, arguments)
            prompts = {p.id: p for path in arguments.prompts for p in jsonl.read(path, Prompt)}
            file = DataFile(path=str(arguments.file.resolve()))
            rows = scored(read(file, _no_hub), prompts, rewarder)
            if arguments.out is None:
                for row in rows:
                    print(jsonl.dumps(row), flush=True)
            else:
                if arguments.out.exists():
                    raise UsageError(f"{arguments.out}: exists already; name a file that does not")
                n = _written(arguments.out, rows)
                print(f"score  done  {n} rows in {arguments.out}", file=sys.stderr)
        finally:
            tools.close()
    return 0


def scored(rows: Iterable[Row], prompts: dict[str, Prompt], rewarder: Rewarder) -> Iterator[dict[str, Any]]:
    """A row for each row: where it stands, its own `id` if it has one, a score for each answer, the best's place."""
    n = 0
    for some in _chunks(rows, ROWS_AT_ONCE):
        asked = [conversations(row, prompts) for row in some]
        found = iter(list(rewarder.reward([one for each in asked for one in each])))
        for row, each in zip(some, asked, strict=True):
            scores = list(islice(found, len(each)))
            name = {"id": row.data["id"]} if "id" in row.data else {}
            best = max(range(len(scores)), key=scores.__getitem__)
            yield {"row": row.source, **name, "scores": scores, "best": best}
            n += 1
    if not n:
        raise RecordError("score: 0 rows found, expected answers to score")


def _written(out: Path, rows: Iterable[dict[str, Any]]) -> int:
    """How many rows; the file has its name only once it is whole."""
    partial = out.with_name(f"{out.name}.partial")
    try:
        n = jsonl.write(partial, rows)
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)
    return n


def _chunks(items: Iterable[T], n: int) -> Iterator[list[T]]:
    left = iter(items)
    while some := list(islice(left, n)):
        yield some


def _serve(rewarder: Rewarder, arguments: argparse.Namespace) -> int:
    from align.runner.reward_server import serving

    with closing(serving(rewarder, name=Path(arguments.model).name, port=arguments.port)) as server:
        print(f"score  serving  {server.url}  (Ctrl-C stops)", flush=True)
        server.wait()
    return 0


def _no_hub(*_: Any) -> Iterator[dict[str, Any]]:
    raise UsageError("score: reads a local file")
