"""The hub's adapter, as far as it can be tried without a network: a local data set, and failures in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from align.adapters import hub
from align.errors import BackendError

REVISION = "0" * 40


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def test_rows_come_in_the_order_of_the_split(tmp_path: Path) -> None:
    rows = [{"prompt": f"question {n}", "chosen": "a", "rejected": "b"} for n in range(20)]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert list(hub.rows(str(tmp_path), REVISION, None, "train")) == rows


def test_a_split_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_text('{"prompt": "a"}\n')
    with pytest.raises(BackendError, match=r"split `validation` cannot be loaded") as caught:
        list(hub.rows(str(tmp_path), REVISION, None, "validation"))
    assert "\n" not in str(caught.value)


def test_a_push_without_a_network_says_so_in_one_line_and_keeps_the_token_to_itself(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("a card\n")
    with pytest.raises(BackendError, match=r"nobody/nothing: cannot be pushed to") as caught:
        hub.push(tmp_path, "nobody/nothing", private=True, token="hf_canarycanarycanarycanary")
    assert "canary" not in str(caught.value)
    assert "\n" not in str(caught.value)
