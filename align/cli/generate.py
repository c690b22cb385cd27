"""`align generate PROMPTS CANDIDATES --model FOLDER`: a file of prompts in, a file of answers out, and nothing else."""

from __future__ import annotations

import argparse
import os
import shutil
from pathlib import Path

from align.cli import given
from align.cli.stage import settings, stage
from align.errors import UsageError
from align.plan import Step
from align.runner.console import Console
from align.runner.keys import made_from
from align.runner.make import make
from align.store import locks
from align.store.artifacts import Store, making
from align.store.fingerprint import Digests, sync_folder


def generate(arguments: argparse.Namespace) -> int:
    """Answer a file of prompts; with `--in`, run the stage alone.

    What was drawn is kept beside the answers, in `.<name>.align`: the same command with more prompts or samples draws
    only the new ones, and one that was killed goes on.
    """
    if not arguments.files:
        if arguments.model is not None:
            raise UsageError("generate: --model needs two files: align generate in.jsonl out.jsonl --model FOLDER")
        return stage(arguments, "generate")
    if len(arguments.files) != 2 or arguments.model is None:
        raise UsageError("generate: expected two files and a model: align generate in.jsonl out.jsonl --model FOLDER")
    if arguments.inputs or arguments.out is not None:
        raise UsageError("generate: give PROMPTS CANDIDATES --model FOLDER, or --in and --out, not both")
    prompts, candidates = (Path(one) for one in arguments.files)
    if not prompts.is_file():
        raise UsageError(f"{prompts}: no such file; expected JSON Lines of prompts")
    if candidates.is_dir():
        raise UsageError(f"{candidates}: a folder found, expected the name of a file to write the answers to")
    candidates.parent.mkdir(parents=True, exist_ok=True)
    beside = candidates.resolve().with_name(f".{candidates.name}.align")
    beside.mkdir(exist_ok=True)
    with locks.held(beside / "lock", str(candidates)):
        return _drawn(arguments, prompts, candidates, beside)


def _drawn(arguments: argparse.Namespace, prompts: Path, candidates: Path, beside: Path) -> int:
    own, of_data = given.own_and_data(arguments.sets)
    config, seed, runtime = settings(arguments, "generate", own)
    for old in ("inputs", "made"):
        shutil.rmtree(beside / old, ignore_errors=True)
    inputs = {}
    for name, path in (("data", prompts), ("model", Path(arguments.model))):
        sets = ["test_share=0", *of_data] if name == "data" else []
        found = given.made(name, path, "generate", sets, aside=beside / "inputs", seed=seed, runtime=runtime)
        if found is None:
            raise UsageError(f"--model {path}: no model folder (expected config.json and safetensors weights)")
        inputs[name] = found
    store = Store(beside)
    store.digests = Digests(None)
    step = Step("generate", "generate", config, {name: name for name in inputs})
    document = made_from(step, inputs, seed=seed, dtype=runtime.dtype, snapshot=None, digests=store.digests)
    console, made = Console(), beside / "made"
    with making(made, str(candidates), beside, lasting_lock=False) as place:
        make(step, inputs, place, document, seed=seed, runtime=runtime, store=store, console=console, shared=True)
    for name, target in (("candidates.jsonl", candidates), ("unanswered.jsonl", _unanswered(candidates))):
        if (made / name).exists():
            os.replace(made / name, target)
        else:
            target.unlink(missing_ok=True)
    sync_folder(candidates.resolve().parent)
    for old in ("inputs", "made"):
        shutil.rmtree(beside / old, ignore_errors=True)
    console.line("generate", "done", str(candidates))
    return 0


def _unanswered(candidates: Path) -> Path:
    return candidates.with_name(f"{candidates.stem}.unanswered.jsonl")
