"""From a recipe's knobs to a desk: which server, which key, and who says what an account counts as."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from align import recipe
from align.adapters.argilla.client import Argilla
from align.adapters.argilla.desk import ArgillaDesk
from align.adapters.argilla.home import Home
from align.adapters.argilla.people import People
from align.adapters.argilla.process import running
from align.configs import LabelConfig
from align.configs.argilla import ArgillaConfig
from align.errors import BackendError
from align.records import Provenance


def open_desk(config: LabelConfig, *, kept: Path, note: Callable[[str], None]) -> ArgillaDesk:
    """The desk that `config.argilla` names; BackendError where the server does not answer."""
    server, people = open_server(config.argilla)
    if server.warning:
        note(server.warning)
    at = None if config.argilla.url is not None else str(_home(config.argilla).path)
    return ArgillaDesk(config, server, people, kept=kept, at=at, note=note)


def open_server(asked: ArgillaConfig) -> tuple[Argilla, People]:
    """The server, and those who have accounts there."""
    if asked.url is None:
        home = _home(asked)
        if not running(home):
            home.credentials()
            raise BackendError(f"{home.path}: the Argilla of this machine is not up; run: align argilla up")
        ours = home.credentials()
        server = Argilla(ours.url, ours.api_key, timeout_s=asked.timeout_s)
        people = People(server, home.kind_of, advice="align argilla users add NAME")
    else:
        url = recipe.secret(asked.url) if asked.url.startswith("${") else asked.url
        server = Argilla(url, recipe.secret(asked.key or ""), timeout_s=asked.timeout_s)
        named = asked.kinds

        def kind_of(name: str) -> Provenance:
            return named.get(name, "human")

        people = People(server, kind_of, advice=f"add them to the workspace `{asked.workspace}` on the server")
    server.version()
    return server, people


def _home(asked: ArgillaConfig) -> Home:
    return Home(Path(asked.home) if asked.home is not None else None)
