"""`align chat`: what cannot be talked to is refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from align.cli import _refused_values
from align.records import Message
from tests.cli.conftest import Align


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["m", "--temperature", "-1"], "chat: temperature: -1.0 found, expected greater than or equal to 0"),
        (["m", "--temperature", "nan"], "chat: temperature: nan found, expected a finite number"),
        (["m", "--max-tokens", "0"], "chat: max_tokens: 0 found, expected greater than or equal to 1"),
        (["m", "m"], "m: the same model as m; name another, or one alone"),
        (["m", "./m/"], "./m/: the same model as m; name another"),
        (["m", "n", "o"], "3 models given"),
        (["gone"], "gone: no model there"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_one_line(
    align: Align, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "config.json").write_text("{}")
    code, _, err = align("chat", *words)
    assert code == 2
    assert err.startswith(f"align: {said}")
    assert err.count("\n") == 1


def test_values_that_nothing_else_has_refused_are_said_in_one_line() -> None:
    with pytest.raises(ValidationError) as caught:
        Message.model_validate({"role": "nobody", "content": "x"})
    assert _refused_values(caught.value) == (
        "Message.role: 'nobody' found: Input should be 'system', 'user', 'assistant' or 'tool'"
    )
    assert _refused_values(ValueError("another")) is None
