"""One process that is a whole Argilla: its API, its pages, its search and its jobs, over one SQLite file.

Started by `align argilla up` with the home, two open files (the lock that it holds for as long as it lives, the socket
on which it is to listen) and the order in which people are given records. It reads its secrets from the home.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import warnings
from pathlib import Path
from shutil import rmtree
from typing import Any

from .database import Refused, examine, listen, migrate, settle

SQLITE_TIMEOUT_S = 15
SIGNED_IN_S = 30 * 24 * 3600
GRACE_S = 10


def main(home: Path, listening: int, order: str) -> None:
    """Serve until told to stop; SystemExit with `refused: …` on stderr where the server cannot start."""
    try:
        application = prepared(home)
        from .search import EmbeddedSearchEngine

        EmbeddedSearchEngine.started_first = order == "started"
        asyncio.run(serve(application, listening))
    except Refused as reason:
        raise SystemExit(f"refused: {reason}") from None
    except ImportError as error:
        raise SystemExit(f"refused: {error}; build the environment again: align argilla install --again") from error
    except OSError as error:
        raise SystemExit(f"refused: {error.filename or home}: {error.strerror}") from error
    except Exception as error:
        if "disk is full" in str(error):
            raise SystemExit(f"refused: {home}: the disk is full; free space and run again") from error
        raise
    finally:
        rmtree(home / "tmp", ignore_errors=True)


def environment(home: Path, auth_key: str) -> dict[str, str]:
    """Every setting that Argilla reads as it is imported; none is taken from whoever started us."""
    return {
        "ARGILLA_HOME_PATH": str(home),
        "ARGILLA_SEARCH_ENGINE": "embedded",
        "ARGILLA_AUTH_SECRET_KEY": auth_key,  # drawn anew at each start otherwise: everybody would be signed out
        "ARGILLA_AUTH_TOKEN_EXPIRATION": str(SIGNED_IN_S),
        "ARGILLA_AUTH_OAUTH_CFG": str(home / "no-oauth.yaml"),
        "ARGILLA_DATABASE_SQLITE_TIMEOUT": str(SQLITE_TIMEOUT_S),
        "ARGILLA_CORS_ORIGINS": "[]",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_OFFLINE": "1",
        "COLUMNS": "200",  # of the log, whose lines would be broken after a few words
    }


def prepared(home: Path) -> Any:
    """The application over a database that is of the right version, indexed, and has its owner."""
    from . import hub, people, queue, statics

    os.umask(0o077)
    credentials = json.loads((home / "credentials.json").read_text(encoding="utf-8"))
    for name in [name for name in os.environ if name.startswith("ARGILLA_")]:
        del os.environ[name]
    os.environ.update(environment(home, credentials["auth_key"]))
    file = home / "argilla.db"
    examine(file)
    statics.place(home / "tmp")
    sys.modules["argilla_server.jobs.queues"] = queue.module()
    sys.modules["argilla_server.contexts.hub"] = hub.module()
    warnings.simplefilter("ignore")

    import argilla_server
    from argilla_server._version import __version__
    from argilla_server.api.handlers.v1 import jobs

    from . import patches, search  # noqa: F401 -- the engine registers itself

    if __version__ != "2.8.0":
        raise Refused(f"the environment holds argilla-server {__version__}, expected 2.8.0")
    jobs.Job = queue.Job
    statics.harden(home / "tmp")
    patches.apply(argilla_server.app)
    listen(SQLITE_TIMEOUT_S)
    migrate()
    wrong = settle(file)
    if wrong:
        print(f"statuses set right: {wrong}", flush=True)
    asyncio.run(people.ensure(credentials["owner"], credentials["workspace"]))
    return argilla_server.app


async def serve(application: Any, listening: int) -> None:
    """Until SIGTERM or SIGINT; what is under way then is finished, and the write-ahead log folded into the database."""
    import uvicorn
    from argilla_server.database import async_engine

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)  # uvicorn raises it again when it has stopped, which would end us there

    config = uvicorn.Config(application, log_level="warning", access_log=False, timeout_graceful_shutdown=GRACE_S)
    await uvicorn.Server(config).serve(sockets=[socket.socket(fileno=listening)])
    await async_engine.dispose()
