"""Run in a file system of 48 MiB by `test_process`: a disk that fills while somebody answers."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from align.adapters.argilla.accounts import add_users
from align.adapters.argilla.backup import backup
from align.adapters.argilla.home import Home, down, up
from align.adapters.argilla.rest import Refused
from align.errors import StoreError
from tests.adapters.argilla.project import Project


def main(disk: Path) -> None:
    home = Home(disk / "home")
    url = up(home, port=0)
    try:
        who = add_users(home, ["one"], "simulated")[0]
        project = Project(url, home.credentials().api_key, "full", 10)

        def answer(n: int, why: str) -> str | None:
            values = {"choice": {"value": "a"}, "why": {"value": why}}
            item = {"record_id": project.records[n], "status": "submitted", "values": values}
            error = project.ask("POST", "me/responses/bulk", {"items": [item]}, who)["items"][0]["error"]
            return error and error["detail"]

        assert answer(0, "before") is None
        fill(disk / "ballast")
        long = "while it is full " * 5000
        assert "disk is full" in (answer(1, long) or "acknowledged, though there was no room for it")
        said = {"values": {"choice": {"value": "a"}, "why": {"value": long}}, "status": "submitted"}
        with pytest.raises(Refused, match=r"507 the server's disk: .*nothing was saved"):
            project.ask("POST", f"records/{project.records[1]}/responses", said, who)
        with pytest.raises(StoreError, match="the disk is full"):
            backup(home, disk / "copy")
        assert not (disk / "copy").exists()
        assert {record: said[1].get("why") for (record, _), said in project.pulled().items()} == {
            project.records[0]: "before"
        }
        (disk / "ballast").unlink()
        assert answer(1, "after") is None
        assert len(project.pulled()) == 2
    finally:
        down(home)
    fill(disk / "ballast")
    with pytest.raises(StoreError, match="the disk is full"):
        up(home)
    print("all as it should be")


def fill(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        for size in (2**20, 2**12, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                continue
    os.sync()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
