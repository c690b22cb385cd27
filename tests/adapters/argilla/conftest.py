"""A real Argilla for each test process: started when first asked for, on a free port, stopped at the end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import pytest

from align.adapters.argilla.accounts import Account, add_users
from align.adapters.argilla.home import Home, Kind, down, up
from align.adapters.argilla.process import running


@dataclass
class Argilla:
    """Where it is, its owner's key, its home; and accounts on it for whoever needs some."""

    url: str
    key: str
    home: Home
    _numbers: Iterator[int]

    def add(self, kind: Kind = "simulated", name: str | None = None, *, workspace: str | None = None) -> Account:
        """A new annotator with a password and an API key; without a name, one that nobody else has."""
        return add_users(self.home, [name or f"{kind}{next(self._numbers)}"], kind, workspace=workspace)[0]


STARTED: list[Argilla] = []
"""At most one: test files elsewhere import the fixture, and each import is a fixture of its own to pytest."""


@pytest.fixture(scope="session")
def argilla(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Argilla]:
    if not STARTED:
        home = Home(tmp_path_factory.mktemp("argilla"))
        url = up(home, port=0)
        STARTED.append(Argilla(url, home.credentials().api_key, home, count(1)))
    yield STARTED[0]
    if running(STARTED[0].home):
        down(STARTED[0].home)
