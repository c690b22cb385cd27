"""The whole chain through the real command line: run, killed and gone on with, traced back, talked to."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.e2e

RECIPE = """\
title: A tiny run through every stage
model:
  scratch: {vocabulary: 400, layers: 2, width: 32, heads: 2, context: 128, steps: 40, batch_size: 8,
            sequence_length: 32}
data: {testbed: {demonstrations: 60, prompts: 16, test_prompts: 12, test_items: 12}}
sft: {epochs: 1, batch_size: 16, learning_rate: 1.0e-3, max_tokens: 128, checkpoint_every: 2}
generate: {samples_per_prompt: 3, max_tokens: 12}
label: {comparisons_per_prompt: 2}
# answers of so small a model are all bad: the chain is what is tested
pair: {both_bad: keep, min_agreement: 0, test_share: 0.3, accept_low_agreement: true}
dpo: {learning_rate: 1.0e-4, epochs: 1, batch_size: 8, max_tokens: 128, checkpoint_every: 2}
evaluate:
  instruments: [facts, utility, refusal, pronouns, length, dpo_accuracy]
  answers: {temperature: 0.0, max_tokens: 12}
gate: {on_fail: report}
runtime: {dtype: float32, threads: 1}
"""
ALIGN = (sys.executable, "-m", "align.cli")


def align(*words: str | Path, cwd: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """One command, to its end."""
    return subprocess.run(
        [*ALIGN, *map(str, words)], cwd=cwd, capture_output=True, text=True, timeout=300, env=home(env)
    )


def home(env: dict[str, str] | None) -> dict[str, str]:
    root = str(Path(__file__).parents[2])
    return {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONPATH": root, **(env or {})}


def told(*words: str | Path, cwd: Path) -> Any:
    """What a command says as JSON."""
    done = align(*words, "--json", cwd=cwd)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def digests(store: Path, recipe: str = "tiny") -> dict[str, str]:
    """The digest of each step of a recipe's last run."""
    state = json.loads((store / "recipes" / f"{recipe}.json").read_text(encoding="utf-8"))
    return {name: step["digest"] for name, step in state["steps"].items()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an unbroken run."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "tiny.yaml").write_text(RECIPE, encoding="utf-8")
    done = align("run", "tiny.yaml", cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return folder


def killed_when(pattern: str, folder: Path, *sets: str) -> None:
    """Start the run, and kill it by SIGKILL as soon as a file of this name with something in it is in the store."""
    child = subprocess.Popen(
        [*ALIGN, "run", "tiny.yaml", *sets], cwd=folder, stdout=subprocess.DEVNULL, env=home(ELSEWHERE)
    )
    deadline = time.monotonic() + 120
    while not any(path.stat().st_size for path in existing((folder / "runs").glob(pattern))):
        assert child.poll() is None, f"the run ended before {pattern} came"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    child.send_signal(signal.SIGKILL)
    assert child.wait(30) == -signal.SIGKILL


def existing(paths: Iterable[Path]) -> list[Path]:
    try:
        return [path for path in paths if path.exists()]
    except FileNotFoundError:  # a folder went while we looked
        return []


ELSEWHERE = {"PYTHONHASHSEED": "4242", "TZ": "Pacific/Chatham", "LC_ALL": "C"}


def test_a_run_killed_three_times_in_another_folder_ends_in_the_bytes_of_an_unbroken_one(
    whole: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "other place" / "ünterwegs"
    folder.mkdir(parents=True)
    (folder / "tiny.yaml").write_text("# the same recipe\n" + RECIPE, encoding="utf-8")
    store = folder / "runs"

    killed_when("base/*.partial/work/**/checkpoint-*/trainer_state.json", folder)
    assert not list(store.glob("base/*/manifest.json"))
    killed_when("shelves/*/*.jsonl", folder, "--set", "generate.batch_size=8")
    assert list(store.glob("sft/*/manifest.json"))
    assert not list(store.glob("generate/*/manifest.json"))
    died = align("run", "tiny.yaml", cwd=folder, env={**ELSEWHERE, "ALIGN_CRASH_AT": "dpo:manifest-written"})
    assert died.returncode == -signal.SIGKILL
    assert not list(store.glob("dpo/*/manifest.json"))

    done = align("run", "tiny.yaml", cwd=folder, env=ELSEWHERE)
    assert done.returncode == 0, done.stdout + done.stderr
    assert digests(store) == digests(whole / "runs")
    assert [path.name for path in store.rglob("*.partial")] == []
    for path in store.rglob("*"):
        if path.is_file():
            assert str(tmp_path).encode() not in path.read_bytes(), f"{path} names the folder it was made in"


def test_a_second_run_reuses_everything_within_two_seconds_of_work(whole: Path) -> None:
    taken = []
    for _ in range(3):
        before = os.times()
        done = align("run", "tiny.yaml", cwd=whole)
        after = os.times()
        # the processor's time: what others do on this machine is not counted
        taken.append(after.children_user + after.children_system - before.children_user - before.children_system)
        assert done.returncode == 0
        lines = [line.split()[2:4] for line in done.stdout.splitlines() if re.match(r" +\d+\.\d s  ", line)]
        assert len(lines) == 31
        assert {word for _, word in lines} == {"reuse"}
    assert min(taken) <= 2


def test_the_plan_of_a_changed_beta_names_exactly_what_stands_on_it(whole: Path) -> None:
    steps = told("plan", "tiny.yaml", "--set", "dpo.beta=0.2", cwd=whole)["steps"]
    assert all(set(step) >= {"name", "action", "why"} for step in steps)
    why = {step["name"]: step["why"] for step in steps if step["action"] == "run"}
    instruments = ("facts", "utility", "refusal", "pronouns", "length", "dpo_accuracy")
    standing = {"dpo", "answers/tuned", "audit/tuned", "gate", "export"}
    assert set(why) == standing | {f"evaluate/tuned/{name}" for name in instruments}
    assert why["dpo"] == ["beta 0.1 → 0.2"]
    assert why["answers/tuned"] == ["its input `dpo` is made anew"]
    assert {step["action"] for step in steps} == {"run", "reuse"}


def test_a_gate_that_says_no_stops_the_export_with_a_code_of_its_own(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "copy")
    cases = {
        3: "{metric: facts.accuracy, against: null, at_least: 0.999}",  # a model of nothing knows nothing
        4: "{metric: dpo_accuracy.reward, against: null, at_least: 0.5}",  # a handful of pairs cannot tell
        5: "{metric: refusal.xstest_safe, against: base, at_most_worse: 0.5}",  # there are no such items
    }
    for code, margin in cases.items():
        sets = ["--set", f"gate.margins=[{margin}]", "--set", "gate.on_fail=stop"]
        done = align("run", "tiny.yaml", *sets, cwd=tmp_path / "copy")
        assert done.returncode == code, done.stdout + done.stderr
        assert re.fullmatch(r"align: gate: (fail|inconclusive|error): .*; nothing was exported\n", done.stderr)
        assert "export" not in digests(tmp_path / "copy" / "runs")


def test_the_way_back_goes_from_a_measurement_to_a_judgment(whole: Path) -> None:
    found = told("show", "evaluate/tuned/dpo_accuracy", cwd=whole)
    assert found["numbers"]

    def below(node: dict[str, Any]) -> Iterable[dict[str, Any]]:
        yield node
        for inner in node["inputs"].values():
            yield from below(inner)

    stages = {node["stage"]: node for node in below(found) if "stage" in node}
    assert {"evaluate", "dpo", "pair", "label", "generate", "sft", "base", "prepare"} <= set(stages)
    pairs = Path(whole, stages["pair"]["path"], "preferences.train.jsonl").read_text(encoding="utf-8")
    preference = json.loads(pairs.split("\n")[0])
    traced = told("show", preference["id"][:12], cwd=whole)
    assert traced["preference"]["id"] == preference["id"]
    assert sorted(judgment["id"] for judgment in traced["judgments"]) == sorted(preference["judgment_ids"])
    assert {judgment["provenance"] for judgment in traced["judgments"]} == {"simulated"}
    assert align("show", preference["id"][:12], cwd=whole).stdout.startswith("preference ")


def test_a_model_of_the_run_answers_alone_and_beside_another(whole: Path) -> None:
    asked = ["--prompt", "Where was Anna born?", "--max-tokens", "8"]
    alone = align("chat", "dpo", *asked, cwd=whole)
    assert alone.returncode == 0, alone.stderr
    both = align("chat", "dpo", "base", *asked, cwd=whole)
    assert [line.partition(":")[0] for line in both.stdout.splitlines()][:2] == ["dpo", "base"]
    assert both.stdout.startswith("dpo: " + alone.stdout.splitlines()[0])


def test_the_report_is_one_page_that_needs_nothing_else_and_says_it_is_simulated(whole: Path) -> None:
    page = (whole / "runs" / "reports" / "tiny.html").read_text(encoding="utf-8")
    assert "simulated" in page
    assert page.lstrip().lower().startswith("<!doctype html>")
    assert not re.findall(r"""(?:src|href)\s*=\s*["'](?!#|data:)|@import|url\((?!["']?(?:#|data:))""", page)


def test_every_byte_of_the_store_is_as_it_was_sealed(whole: Path) -> None:
    done = align("check", "tiny.yaml", "--deep", cwd=whole)
    assert done.returncode == 0, done.stdout
    assert "31 read to the last byte" in done.stdout


def test_the_python_face_is_the_same_engine(whole: Path) -> None:
    code = (
        "import align\n"
        "recipe = align.load('tiny.yaml', ['title=Seen from Python'])\n"
        "assert {seen.action for seen in align.plan(recipe)} == {'reuse'}\n"
        "result = align.run(recipe, quiet=True)\n"
        "print(result.verdict, (result.model / 'config.json').exists(), result.report.exists(), result.ran)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=whole, capture_output=True, text=True, timeout=120, env=home(None)
    )
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"(pass|fail|inconclusive|error) True True \(\)\n", done.stdout)


def test_the_report_can_be_written_elsewhere(whole: Path, tmp_path: Path) -> None:
    assert told("report", "tiny.yaml", "--out", tmp_path / "page.html", cwd=whole)["report"] == str(
        tmp_path / "page.html"
    )
    assert (tmp_path / "page.html").stat().st_size > 10_000
