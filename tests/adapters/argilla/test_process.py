"""The server of one home: up once, found, told to stop; what it needs is refused in one line where it is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from align.adapters.argilla.home import up
from align.adapters.argilla.process import is_ready, running
from align.adapters.argilla.rest import call
from align.errors import Locked
from tests.adapters.argilla.conftest import Argilla


def test_it_answers_as_itself_on_the_loopback_alone(argilla: Argilla) -> None:
    assert is_ready(argilla.url)
    told = call(argilla.url, "GET", "status")
    assert told["version"] == "2.8.0"
    port = int(argilla.url.rsplit(":", 1)[1])
    listening = Path("/proc/net/tcp").read_text().split("\n")
    assert [line.split()[1] for line in listening if f":{port:04X} 00000000:0000" in line] == [f"0100007F:{port:04X}"]


def test_a_second_up_on_the_same_home_is_refused(argilla: Argilla) -> None:
    with pytest.raises(Locked, match=rf"up there already \(process {running(argilla.home)['pid']}, since"):
        up(argilla.home, port=0)
    assert is_ready(argilla.url)
