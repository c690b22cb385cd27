"""Several models in one stage, on every engine: the recipe's own earlier ones, and adapters on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from align.configs import GenerateStep
from align.ports import Artifact
from align.records import Candidate, Message, Prompt
from align.runner.console import Console
from align.runner.toolbox import Toolbox
from align.stages import generate
from align.store import jsonl
from tests.adapters.vllm.conftest import RUNTIME, Models, heavy

PROMPTS = [Prompt(messages=(Message(role="user", content=f"Where does {who} live?"),)) for who in ("Ada", "Bob", "Cy")]


def answers(models: Models, root: Path, engine: dict[str, Any], *writers: dict[str, Any]) -> dict[str, list[str]]:
    """The texts of each writer, in the prompts' order."""
    root.mkdir()
    for name in ("data", "out", "before", "after"):
        (root / name).mkdir()
    (root / "before" / "model").symlink_to(models.base)
    (root / "after" / "model").symlink_to(models.tuned)
    jsonl.write(root / "data" / "prompts.jsonl", PROMPTS)
    inputs = {"model": Artifact(root / "after", "a", "a" * 64), "base": Artifact(root / "before", "b", "b" * 64),
              "data": Artifact(root / "data", "d", "d" * 64)}  # fmt: skip
    fixed = {"temperature": 0, "max_tokens": 24, "preflight": "off", "writers": writers}
    tools = Toolbox("generate", seed=0, runtime=RUNTIME, work=root / "work", console=Console(quiet=True))
    try:
        generate.run(GenerateStep.model_validate(fixed | engine), inputs, root / "out", tools)
    finally:
        tools.close()
    found: dict[str, list[str]] = {}
    for one in jsonl.read(root / "out" / "candidates.jsonl", Candidate):
        found.setdefault(one.model, []).append(str(one.completion[-1].content))
    return found


@pytest.mark.parametrize(
    "engine",
    [
        {"engine": "transformers"},
        pytest.param({"engine": "vllm"}, marks=pytest.mark.slow),
        pytest.param({"engine": "server", "server": {"launch": True}}, marks=pytest.mark.slow),
    ],
    ids=lambda engine: engine["engine"],
)
def test_the_policy_its_base_and_an_adapter_on_the_base_answer_each_as_itself(
    models: Models, tmp_path: Path, engine: dict[str, Any]
) -> None:
    writers = ({"name": "policy"}, {"name": "before", "model": "base"},
               {"name": "adapted", "model": "base", "adapter": str(models.adapter)})  # fmt: skip
    with heavy():
        found = answers(models, tmp_path / "all", engine, *writers)
    alone = answers(models, tmp_path / "alone", {"engine": "transformers"}, {"name": "before", "model": "base"})
    assert list(found) == ["policy", "before", "adapted"]
    assert found["before"] == alone["before"]
    assert found["adapted"] == found["policy"], "the policy is the base with the adapter merged"
    assert found["policy"] != found["before"]
