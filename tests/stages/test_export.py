"""Export: what the gate blocks never leaves, and what leaves never falls on somebody else's files."""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from align.configs import ExportConfig, RuntimeConfig
from align.errors import AlignError, BackendError, GateBroken, GateFailed, GateInconclusive, RecipeError, UsageError
from align.ports import Artifact
from align.stages import export
from align.store.delivery import MARK

sys.path.insert(0, str(Path(__file__).parents[1]))
from workshop import TestTools


class Copyist:
    """A trainer that exports a model as it is."""

    def __init__(self) -> None:
        self.asked = 0

    def export(self, config: ExportConfig, model: Path, out: Path, workshop: Any) -> None:
        self.asked += 1
        shutil.copytree(model, out / "model")


class PushingTools(TestTools):
    """A workshop whose hub is a folder."""

    def push(self, folder: Path, repo: str, *, private: bool, token: str) -> str:
        self.pushed = {path.name: path.read_bytes() for path in folder.iterdir()}
        self.token = token
        return f"{repo} at 1"


def artifact(root: Path, step: str, stage: str, config: dict[str, Any] | None = None) -> Artifact:
    path = root / "store" / step
    path.mkdir(parents=True, exist_ok=True)
    digest = (step.encode().hex() * 64)[:64]
    return Artifact(path, "key " + step, digest, {"step": step, "stage": stage, "config": config or {}, "inputs": {}})


def inputs(root: Path, verdict: str = "pass", **summary: Any) -> dict[str, Artifact]:
    tuned, gate = artifact(root, "dpo", "dpo", {"beta": 0.1}), artifact(root, "gate", "gate")
    (tuned.path / "model").mkdir(exist_ok=True)
    (tuned.path / "model" / "config.json").write_text("{}")
    lines = [
        {"metric": "refusal.harmless", "model": "tuned", "verdict": verdict, "why": "worse by +0.09, at most 0.05"}
    ]
    (gate.path / "summary.json").write_text(json.dumps({"verdict": verdict, "lines": lines, **summary}))
    return {"model": tuned, "gate": gate, "data": artifact(root, "prepare", "prepare")}


def run(root: Path, given: dict[str, Artifact], tools: TestTools | None = None, **knobs: Any) -> Path:
    out = root / "out"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    export.run(ExportConfig(**knobs), given, out, tools or TestTools(root / "work", trainer=Copyist()))  # type: ignore[arg-type]
    return out


@pytest.mark.parametrize(
    ("verdict", "error"), [("fail", GateFailed), ("inconclusive", GateInconclusive), ("error", GateBroken)]
)
def test_what_the_gate_blocks_is_never_made(tmp_path: Path, verdict: str, error: type[AlignError]) -> None:
    trainer = Copyist()
    with pytest.raises(error, match=f"gate: {verdict}: refusal.harmless: worse by"):
        run(tmp_path, inputs(tmp_path, verdict), TestTools(tmp_path / "work", trainer=trainer))  # type: ignore[arg-type]
    assert trainer.asked == 0
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("summary", [{"blocks": False}, {"on_fail": "report"}])
def test_a_gate_that_only_reports_lets_through_and_the_card_says_what_it_said(
    tmp_path: Path, summary: dict[str, Any]
) -> None:
    out = run(tmp_path, inputs(tmp_path, "fail", **summary))
    assert (out / "model" / "config.json").exists()
    assert "pass" not in (out / "README.md").read_text().split("## Gate")[1].split("## Limits")[0]


def test_equal_inputs_give_equal_bytes_wherever_they_lie(tmp_path: Path) -> None:
    one, two = (run(tmp_path / name, inputs(tmp_path / name)) for name in ("one", "two"))
    assert (one / "README.md").read_bytes() == (two / "README.md").read_bytes()
    assert str(tmp_path) not in (one / "README.md").read_text()


def test_the_copy_is_a_folder_that_loads_with_its_card_beside_the_weights(tmp_path: Path) -> None:
    run(tmp_path, inputs(tmp_path), folder=str(tmp_path / "for" / "others"))
    names = {path.name for path in (tmp_path / "for" / "others").iterdir()}
    assert names == {"config.json", "README.md", MARK}


def test_an_earlier_copy_is_replaced_but_not_once_somebody_edited_it(tmp_path: Path) -> None:
    target = tmp_path / "others"
    run(tmp_path, inputs(tmp_path), folder=str(target))
    run(tmp_path, inputs(tmp_path), folder=str(target))
    (target / "README.md").write_text("mine")
    with pytest.raises(UsageError, match=r"holds README\.md, which no export wrote or somebody edited"):
        run(tmp_path, inputs(tmp_path), folder=str(target))
    assert (target / "README.md").read_text() == "mine"


def test_a_copy_that_is_already_there_is_left_as_it_is(tmp_path: Path) -> None:
    target = tmp_path / "others"
    run(tmp_path, inputs(tmp_path), folder=str(target))
    before = target.stat().st_ino
    run(tmp_path, inputs(tmp_path), folder=str(target))
    assert target.stat().st_ino == before
    (target / "config.json").unlink()
    run(tmp_path, inputs(tmp_path), folder=str(target))
    assert (target / "config.json").exists(), "a copy that lost a file is made whole again"


def test_somebody_elses_folder_is_left_alone_and_said_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "thesis.tex").write_text("years")
    trainer = Copyist()
    with pytest.raises(UsageError, match=r"holds thesis\.tex"):
        run(tmp_path, inputs(tmp_path), TestTools(tmp_path / "work", trainer=trainer), folder=str(tmp_path / "others"))  # type: ignore[arg-type]
    assert trainer.asked == 0
    assert (tmp_path / "others" / "thesis.tex").read_text() == "years"


@pytest.mark.parametrize("folder", ["/", "~", "."])
def test_a_root_a_home_and_the_working_folder_are_refused(tmp_path: Path, folder: str) -> None:
    with pytest.raises(UsageError, match="is a root, a home or this folder"):
        run(tmp_path, inputs(tmp_path), folder=folder)


def test_a_push_carries_the_card_and_the_token_stays_out_of_what_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "a-canary")
    tools = PushingTools(tmp_path / "work", trainer=Copyist())  # type: ignore[arg-type]
    out = run(tmp_path, inputs(tmp_path), tools, push_to="owner/name")
    assert set(tools.pushed) == {"config.json", "README.md"}
    assert tools.token == "a-canary"
    assert tools.notes == ["pushed: owner/name at 1"]
    assert all(b"a-canary" not in path.read_bytes() for path in out.rglob("*") if path.is_file())


def test_a_push_without_its_token_or_without_a_network_is_said_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    trainer = Copyist()
    tools = PushingTools(tmp_path / "work", trainer=trainer)  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match="HF_TOKEN is not set"):
        run(tmp_path, inputs(tmp_path), tools, push_to="owner/name")
    tools.runtime = RuntimeConfig(offline=True)
    with pytest.raises(BackendError, match=r"runtime\.offline forbids the network"):
        run(tmp_path, inputs(tmp_path), tools, push_to="owner/name")
    assert trainer.asked == 0


def test_a_model_can_be_exported_by_itself_and_the_card_says_that_no_gate_was_asked(tmp_path: Path) -> None:
    out = run(tmp_path, {"model": inputs(tmp_path)["model"]})
    assert "No gate was asked" in (out / "README.md").read_text()


def test_a_half_made_copy_of_a_killed_export_is_swept_away(tmp_path: Path) -> None:
    left = tmp_path / ".others.partial"
    left.mkdir()
    (left / "half").write_text("x")
    run(tmp_path, inputs(tmp_path), folder=str(tmp_path / "others"))
    assert not left.exists()
    assert not os.path.lexists(tmp_path / "others" / "half")


def test_a_summary_that_is_no_gates_is_refused(tmp_path: Path) -> None:
    given = inputs(tmp_path, "splendid")
    with pytest.raises(UsageError, match="'splendid' is not one of pass, fail, inconclusive, error"):
        run(tmp_path, given)
    (given["gate"].path / "summary.json").unlink()
    with pytest.raises(UsageError, match="cannot be read as a gate's summary"):
        run(tmp_path, {**given, "gate": replace(given["gate"])})
