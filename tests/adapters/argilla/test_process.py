"""The server of one home: up once, found, told to stop; what it needs is refused in one line where it is missing."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from align.adapters.argilla.disks import is_network, kind_at, refuse_network
from align.adapters.argilla.home import Home, down, up
from align.adapters.argilla.process import is_ready, running
from align.adapters.argilla.rest import call
from align.errors import AlignError, BackendError, Locked, UsageError
from tests.adapters.argilla.conftest import Argilla

ROOT = Path(__file__).resolve().parents[3]


def complaint(home: Path, **how: object) -> str:
    """What `up` says instead of starting; nothing runs afterwards."""
    with pytest.raises(AlignError) as caught:
        up(Home(home), **({"port": 0} | how))  # type: ignore[arg-type]
    assert running(Home(home)) is None
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_it_answers_as_itself_on_the_loopback_alone(argilla: Argilla) -> None:
    assert is_ready(argilla.url)
    assert call(argilla.url, "GET", "status")["version"] == "2.8.0"
    port = int(argilla.url.rsplit(":", 1)[1])
    listening = Path("/proc/net/tcp").read_text().split("\n")
    assert [line.split()[1] for line in listening if f":{port:04X} 00000000:0000" in line] == [f"0100007F:{port:04X}"]


def test_a_page_that_is_no_argilla_is_not_taken_for_one(argilla: Argilla) -> None:
    assert not is_ready(f"{argilla.url}/api/v1")  # any unknown path answers 200 with the start page
    assert not is_ready("http://127.0.0.1:9")


def test_a_second_up_on_the_same_home_is_refused_and_the_first_goes_on(argilla: Argilla) -> None:
    holder = running(argilla.home)
    assert holder is not None
    with pytest.raises(Locked, match=rf"up there already \(process {holder['pid']}, since 2") as caught:
        up(argilla.home, port=0)
    assert caught.value.exit_code == 6
    assert is_ready(argilla.url)


def test_it_is_one_process_and_its_secrets_are_in_no_command_line(argilla: Argilla) -> None:
    holder = running(argilla.home)
    assert holder is not None
    process = Path(f"/proc/{holder['pid']}")
    assert (process / "task" / str(holder["pid"]) / "children").read_text() == ""
    known = argilla.home.credentials()
    for secret in (known.api_key, known.password):
        assert secret.encode() not in (process / "cmdline").read_bytes()
        assert secret.encode() not in (process / "environ").read_bytes()
        assert secret not in argilla.home.log.read_text()


def test_the_files_of_a_home_are_their_owners_alone(argilla: Argilla) -> None:
    modes = {path.name: path.stat().st_mode & 0o077 for path in argilla.home.path.iterdir()}
    assert {"argilla.db", "credentials.json", "people.jsonl", "server.log"} <= modes.keys() | {"people.jsonl"}
    assert not any(modes.values()), modes


def test_commits_are_on_the_disk_before_they_are_acknowledged(argilla: Argilla) -> None:
    with sqlite3.connect(argilla.home.database) as file:
        assert file.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    listen = ROOT / "align/adapters/argilla/server/database.py"
    assert "synchronous = FULL" in listen.read_text()


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        said = complaint(tmp_path / "home", port=port)
    assert said == (
        f"port {port} of 127.0.0.1 cannot be had (Address already in use); "
        "name another with --port, or any free one with --port 0"
    )


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"port": 70000}, "--port 70000: not a port"),
        ({"host": "203.0.113.7"}, "port 0 of 203.0.113.7 cannot be had (Cannot assign requested address)"),
        ({"host": "no such host"}, "--host no such host: no such address"),
    ],
)
def test_an_address_that_cannot_be_had_is_refused(tmp_path: Path, how: dict[str, object], says: str) -> None:
    assert says in complaint(tmp_path / "home", **how)


def test_a_database_of_another_argilla_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.prepare()
    with sqlite3.connect(home.database) as file:
        file.execute("CREATE TABLE alembic_version (version_num TEXT)")
        file.execute("INSERT INTO alembic_version VALUES ('feedfacecafe')")
    file.close()
    before = home.database.read_bytes()
    said = complaint(home.path)
    assert "its tables are at feedfacecafe, which Argilla 2.8.0 does not know" in said
    assert "another Argilla made it" in said
    assert home.database.read_bytes() == before


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.prepare()
    home.database.write_bytes(b"something else entirely, and long enough to be read as a header" * 100)
    assert "argilla.db: file is not a database; put a backup in its place" in complaint(home.path)


def test_a_database_of_something_else_is_refused(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.prepare()
    with sqlite3.connect(home.database) as file:
        file.execute("CREATE TABLE recipes (name TEXT)")
    file.close()
    assert "its tables are at no version" in complaint(home.path)


def test_a_server_that_does_not_come_in_time_is_stopped(tmp_path: Path) -> None:
    assert "Argilla did not answer within 0 s" in complaint(tmp_path / "home", wait=0.2)


def test_down_where_nothing_is_up_says_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no Argilla is up"):
        down(Home(tmp_path))


def test_network_file_systems_are_known_by_the_mount_that_lies_on_top(tmp_path: Path) -> None:
    mounts = (
        "21 1 254:0 / / rw - ext4 /dev/vda rw\n"
        "30 21 0:50 / /srv/team rw,relatime shared:1 - nfs4 host:/x rw\n"
        "31 21 0:51 / /srv/team/local rw - xfs /dev/vdb rw\n"
        "32 21 0:52 / /home/me/with\\040space rw - fuse.sshfs me@host: rw\n"
        "33 21 0:53 / /over rw - ext4 /dev/vdc rw\n"
        "34 21 0:54 / /over rw - cifs //host/x rw\n"
    )
    kinds = {
        "/var/x": "ext4",
        "/srv/team/a/b": "nfs4",
        "/srv/teamwork": "ext4",
        "/srv/team/local/x": "xfs",
        "/home/me/with space/x": "fuse.sshfs",
        "/over/x": "cifs",
    }
    assert {path: kind_at(Path(path), mounts) for path in kinds} == kinds
    assert [kind for kind in sorted(set(kinds.values())) if is_network(kind)] == ["cifs", "fuse.sshfs", "nfs4"]
    refuse_network(tmp_path)  # where tests run is a disk


def test_the_server_imports_nothing_of_ours(argilla: Argilla) -> None:
    """By what the running process has open: no file of ours but its own folder's, no package of our environment."""
    for path in (ROOT / "align/adapters/argilla/server").glob("*.py"):
        assert not re.findall(r"^\s*(?:from|import) align\b", path.read_text(), re.M)
    holder = running(argilla.home)
    assert holder is not None
    mapped = Path(f"/proc/{holder['pid']}/maps").read_text()
    assert "argilla-server-2.8.0-" in mapped
    assert f"{sys.prefix}/lib" not in mapped


DISK = """
set -e
mount -t tmpfs -o size=48m tmpfs "$1"
exec "$2" -m tests.adapters.argilla.full_disk "$1"
"""


@pytest.mark.slow
def test_a_full_disk_is_said_loses_nothing_and_work_goes_on_when_there_is_room(tmp_path: Path) -> None:
    done = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "sh", "-c", DISK, "sh", str(tmp_path), sys.executable],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[-1] == "all as it should be"


@pytest.mark.slow
def test_a_server_that_does_not_stop_when_told_is_killed_and_that_is_said(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    up(home, port=0)
    holder = running(home)
    assert holder is not None
    os.kill(holder["pid"], signal.SIGSTOP)
    started = time.monotonic()
    assert down(home, wait=1.0).startswith("killed, for it did not stop")
    assert time.monotonic() - started < 10
    assert running(home) is None


@pytest.mark.slow
def test_a_start_over_an_older_argilla_keeps_a_copy_of_its_database(tmp_path: Path) -> None:
    """Made by downgrading a real one by one migration."""
    from align.adapters.argilla.environment import python

    home = Home(tmp_path / "home")
    up(home, port=0)
    down(home)
    downgrade = (
        "import sys, types; m = types.ModuleType('argilla_server.contexts.hub'); sys.modules[m.__name__] = m; "
        "m.HubDataset = m.HubDatasetExporter = object; "
        "from alembic import command; from alembic.config import Config; "
        "from argilla_server.database import ALEMBIC_CONFIG_FILE as f; command.downgrade(Config(f), '660d6c6b3360')"
    )
    env = {"ARGILLA_HOME_PATH": str(home.path), "PATH": os.environ["PATH"], "HF_HUB_OFFLINE": "1"}
    subprocess.run([python(), "-c", downgrade], env=env, check=True, cwd=home.path, capture_output=True)
    try:
        assert is_ready(up(home))
    finally:
        down(home)
    with sqlite3.connect(home.path / "argilla.db.660d6c6b3360") as kept:
        assert kept.execute("SELECT version_num FROM alembic_version").fetchall() == [("660d6c6b3360",)]


def test_nothing_is_left_of_a_start_that_failed(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.prepare()
    home.database.write_bytes(b"not a database, and never one" * 100)
    with pytest.raises(BackendError):
        up(home, port=0)
    assert not (home.path / "tmp").exists()
    shutil.rmtree(home.path)
