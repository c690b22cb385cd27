"""Accounts, their kinds and who may read the keys."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import httpx
import pytest

from align.adapters.argilla.accounts import add_users, users
from align.adapters.argilla.home import KINDS, Home
from align.adapters.argilla.hosts import is_loopback, refuse_unsafe
from align.adapters.argilla.rest import call
from align.errors import BackendError, RecordError, UsageError
from tests.adapters.argilla.conftest import Argilla


def test_each_kind_is_kept_and_each_password_opens_its_account(argilla: Argilla) -> None:
    for kind in KINDS:
        made = argilla.add(kind)
        assert made.password is not None
        assert argilla.home.kind_of(made.username) == kind == Home(argilla.home.path).kind_of(made.username)
        for password, code in ((made.password, 201), ("wrong password", 401)):
            data = {"username": made.username, "password": password}
            told = httpx.post(f"{argilla.url}/api/v1/token", data=data, trust_env=False)
            assert told.status_code == code, told.text
        mine = call(argilla.url, "GET", "me/workspaces", api_key=made.api_key)["items"]
        assert [row["name"] for row in mine] == ["align"]


def test_made_again_an_account_is_the_same_and_its_password_is_not_shown_again(argilla: Argilla) -> None:
    first = argilla.add("human", "again")
    second = argilla.add("human", "again", workspace="elsewhere")
    assert (second.user_id, second.api_key, second.password) == (first.user_id, first.api_key, None)
    mine = call(argilla.url, "GET", "me/workspaces", api_key=first.api_key)["items"]
    assert {row["name"] for row in mine} == {"align", "elsewhere"}


def test_a_kind_is_for_ever_even_when_the_account_is_gone(argilla: Argilla) -> None:
    made = argilla.add("simulated", "robot")
    call(argilla.url, "DELETE", f"users/{made.user_id}", api_key=argilla.key)
    with pytest.raises(UsageError, match="robot: is a simulated account and stays one"):
        argilla.add("human", "robot")
    assert "robot" not in [one.username for one in users(argilla.home)]
    assert argilla.add("simulated", "robot").kind == "simulated"


def test_an_account_made_elsewhere_has_no_kind_until_it_is_said(argilla: Argilla) -> None:
    stranger = {"username": "stranger", "first_name": "s", "role": "annotator", "password": "a long password"}
    call(argilla.url, "POST", "users", stranger, api_key=argilla.key)
    assert {one.username: one.kind for one in users(argilla.home)}["stranger"] is None
    assert argilla.home.kind_of("stranger") is None
    said = argilla.add("human", "stranger")
    assert (said.kind, said.password) == ("human", None)


@pytest.mark.parametrize("name", ["", "a b", "-a", "é", "a/b", "x" * 101, "owner", "a\nb"])
def test_a_name_that_cannot_be_one_makes_nothing(argilla: Argilla, name: str) -> None:
    before = argilla.home.kinds()
    with pytest.raises(UsageError):
        add_users(argilla.home, ["fine", name], "human")
    assert argilla.home.kinds() == before


def test_the_credentials_are_random_and_readable_by_their_owner_alone(tmp_path: Path) -> None:
    found = set()
    for n in range(3):
        home = Home(tmp_path / str(n))
        home.prepare()
        kept = home.path / "credentials.json"
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
        assert stat.S_IMODE(home.path.stat().st_mode) == 0o700
        said = json.loads(kept.read_text())
        found |= {said["owner"]["api_key"], said["owner"]["password"], said["auth_key"]}
        home.prepare()
        assert json.loads(kept.read_text()) == said
    assert len(found) == 9
    assert all(len(one) >= 20 for one in found)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
def test_credentials_that_others_may_read_are_refused(tmp_path: Path, mode: int) -> None:
    home = Home(tmp_path)
    home.prepare()
    (tmp_path / "credentials.json").chmod(mode)
    with pytest.raises(UsageError, match=rf"others may read it \(mode {mode:04o}\).*chmod 600"):
        home.credentials()
    with pytest.raises(UsageError, match="others may read it"):
        home.prepare()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "null"])
def test_credentials_that_are_torn_are_refused_with_the_way_out(tmp_path: Path, text: str) -> None:
    home = Home(tmp_path)
    home.prepare()
    (tmp_path / "credentials.json").write_text(text)
    with pytest.raises(UsageError, match="not what was written there; remove it"):
        home.credentials()


def test_credentials_by_way_of_a_link_are_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("{}")
    (tmp_path / "credentials.json").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="cannot be read"):
        Home(tmp_path).credentials()


def test_where_nothing_was_ever_up_that_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no Argilla there yet; run: align argilla up"):
        Home(tmp_path).credentials()
    Home(tmp_path).prepare()
    with pytest.raises(UsageError, match="has never been up"):
        Home(tmp_path).credentials()
    Home(tmp_path).moved_to("http://127.0.0.1:9", "127.0.0.1", 9)
    with pytest.raises(BackendError, match="no Argilla answers there"):
        users(Home(tmp_path))


def test_a_kind_that_nobody_wrote_is_refused_where_it_stands(tmp_path: Path) -> None:
    (tmp_path / "people.jsonl").write_text('{"username": "a", "kind": "human"}\n{"username": "b", "kind": "robot"}\n')
    with pytest.raises((UsageError, RecordError), match=r"people.jsonl:2"):
        Home(tmp_path).kind_of("a")


@pytest.mark.parametrize(
    ("url", "key", "says"),
    [
        ("http://label.example.org", "a key of its own", "cross the internet in the clear; use https://"),
        ("http://8.8.8.8:6900", "a key of its own", "cross the internet in the clear"),
        ("https://label.example.org", "argilla.apikey", "one of Argilla's defaults"),
        ("http://192.168.1.7:6900", "owner.apikey", "one of Argilla's defaults"),
        ("http://argilla:6900", "argilla.apikey", "one of Argilla's defaults"),
        ("http://[2001:db8::1]:6900", "admin.apikey", "one of Argilla's defaults"),
        ("ftp://label.example.org", "a key", "not the address of a server"),
        ("label.example.org", "a key", "not the address of a server"),
    ],
)
def test_servers_that_are_open_to_all_are_refused(url: str, key: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        refuse_unsafe(url, key)


def test_servers_that_are_fit_to_be_spoken_to(argilla: Argilla) -> None:
    assert refuse_unsafe(argilla.url, argilla.key) is None
    for near in ("http://localhost:6900", "http://127.8.9.1:6900", "http://[::1]:6900"):
        assert refuse_unsafe(near, "argilla.apikey") is None
    assert refuse_unsafe("https://label.example.org", "a key of its own") is None
    for inside in ("http://192.168.1.7:6900", "http://argilla:6900", "http://label.internal"):
        assert "in the clear" in (refuse_unsafe(inside, "a key of its own") or "")
    assert is_loopback("LOCALHOST.")
    assert not is_loopback("localhost.example.org")
