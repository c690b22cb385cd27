"""What is changed in the Argilla that runs: its pages, its jobs, its webhooks, and what it says when it cannot."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from align.adapters.argilla.rest import Refused, call
from tests.adapters.argilla.conftest import Argilla
from tests.adapters.argilla.project import Annotator, Project

NAIVE = "JSON.stringify(this.sdkRecord)"
SAFE = NAIVE + r'.replace(/</g,"\\u003c").replace(/\$/g,"\\u0024").replace(/#/g,"\\u0023").replace(/&/g,"\\u0026")'


def served(argilla: Argilla) -> Iterator[tuple[str, str]]:
    """Every script, style and page as it comes over HTTP."""
    statics = next((argilla.home.path / "tmp").glob("*/statics"))
    with httpx.Client(base_url=argilla.url, trust_env=False) as client:
        for path in sorted(statics.rglob("*")):
            if path.suffix in (".js", ".css", ".html"):
                reply = client.get(f"/{path.relative_to(statics)}")
                assert reply.status_code == 200
                yield path.name, reply.text


def test_the_pages_as_served_keep_a_record_in_its_string_and_ask_no_other_host_for_fonts(argilla: Argilla) -> None:
    pages = dict(served(argilla))
    assert len(pages) > 50
    assert sum(text.count(SAFE) for text in pages.values()) == 8
    assert sum(text.count(NAIVE) for text in pages.values()) == 8, "a place is left where a record is pasted as it is"
    assert not [name for name, text in pages.items() if "fonts.googleapis" in text or "fonts.gstatic" in text]


def test_a_page_may_load_nothing_from_elsewhere(argilla: Argilla) -> None:
    for path in ("/", "/sign-in", "/api/v1/status"):
        headers = httpx.get(argilla.url + path, trust_env=False).headers
        policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
        assert policy["default-src"] == "'self'"
        assert policy["img-src"] == "'self' data: blob:"
        assert "connect-src" not in policy, "what default-src says holds for it"
        assert headers["x-content-type-options"] == "nosniff"


def test_a_changed_overlap_is_applied_to_what_was_judged_before(argilla: Argilla) -> None:
    project = Project(argilla.url, argilla.key, "overlap", 12, min_submitted=1)
    annotator = Annotator(project, argilla.add())
    annotator.work()
    submitted = sum(status == "submitted" for status, _ in annotator.acknowledged.values())
    assert project.statuses().count("completed") == submitted >= 6
    for least, completed in ((2, 0), (1, submitted)):
        spread = {"strategy": "overlap", "min_submitted": least}
        project.ask("PATCH", f"datasets/{project.id}", {"distribution": spread})
        until = time.monotonic() + 20
        while project.statuses().count("completed") != completed:
            assert time.monotonic() < until, "the job that recomputes statuses did not run"
            time.sleep(0.1)


class Receiver(BaseHTTPRequestHandler):
    got: list[tuple[dict[str, str], Any]] = []

    def do_POST(self) -> None:
        self.got.append((dict(self.headers), json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


def test_webhooks_are_delivered_and_a_dead_receiver_holds_up_nobody(argilla: Argilla) -> None:
    dead = socket.create_server(("127.0.0.1", 0))  # takes connections and never says a word
    alive = HTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=alive.serve_forever, daemon=True).start()
    hooks = []
    try:
        for port in (dead.getsockname()[1], alive.server_address[1]):
            hook = {"url": f"http://127.0.0.1:{port}/", "events": ["response.created", "record.created"]}
            hooks.append(call(argilla.url, "POST", "webhooks", hook, api_key=argilla.key)["id"])
        started = time.monotonic()
        project = Project(argilla.url, argilla.key, "hooks", 3)
        annotator = Annotator(project, argilla.add())
        annotator.work()
        assert annotator.errors == []
        assert len(annotator.acknowledged) == 3
        assert time.monotonic() - started < 15, "the dead receiver's 20 seconds were waited for"
        until = time.monotonic() + 15
        while len(Receiver.got) < 6 and time.monotonic() < until:
            time.sleep(0.05)
        assert sorted(body["type"] for _, body in Receiver.got) == ["record.created"] * 3 + ["response.created"] * 3
        assert all("webhook-signature" in {name.lower() for name in headers} for headers, _ in Receiver.got)
    finally:
        for hook in hooks:
            call(argilla.url, "DELETE", f"webhooks/{hook}", api_key=argilla.key)
        alive.shutdown()
        alive.server_close()
        dead.close()


def test_two_tabs_of_one_person_end_with_one_answer_and_no_error_of_the_server(argilla: Argilla) -> None:
    project = Project(argilla.url, argilla.key, "tabs", 8)
    who = argilla.add()
    codes: list[int] = []

    def tab(choice: str) -> None:
        with httpx.Client(headers={"X-Argilla-Api-Key": who.api_key}, trust_env=False) as client:
            for record in project.records:
                said = {"values": {"choice": {"value": choice}}, "status": "submitted"}
                reply = client.post(f"{argilla.url}/api/v1/records/{record}/responses", json=said)
                codes.append(reply.status_code)

    tabs = [threading.Thread(target=tab, args=(choice,)) for choice in "ab"]
    for thread in tabs:
        thread.start()
    for thread in tabs:
        thread.join()
    assert sorted(codes) == [201] * 8 + [409] * 8
    assert len(project.pulled()) == 8


def test_records_put_in_bulk_are_checked_and_kept_as_ever(argilla: Argilla) -> None:
    project = Project(argilla.url, argilla.key, "bulk", 4, min_submitted=1)
    path = f"datasets/{project.id}/records/bulk"
    who = argilla.add()
    for name, settings in {
        "length": {"type": "integer", "min": 0, "max": 9},
        "topic": {"type": "terms", "values": ["law"]},
    }.items():
        project.ask(
            "POST", f"datasets/{project.id}/metadata-properties", {"name": name, "title": name, "settings": settings}
        )
    choice = next(
        one for one in project.ask("GET", f"datasets/{project.id}/questions")["items"] if one["name"] == "choice"
    )

    def put(**record: Any) -> dict[str, Any]:
        return project.ask("PUT", path, {"items": [{"external_id": "new", "fields": {"text": "t"}} | record]})["items"][
            0
        ]

    for wrong in (
        {"fields": {"text": 3}},
        {"fields": {}},
        {"fields": {"text": "t", "other": "x"}},
        {"metadata": {"length": 10}},
        {"metadata": {"length": "many"}},
        {"metadata": {"topic": "history"}},
        {"suggestions": [{"question_id": choice["id"], "value": "no such option"}]},
        {
            "responses": [
                {"user_id": who.user_id, "status": "submitted", "values": {"choice": {"value": "no such option"}}}
            ]
        },
        {"vectors": {"v": [1.0]}},
    ):
        with pytest.raises(Refused, match=r"422 Record at position 0 is not valid|422 .*fields") as caught:
            put(**wrong)
        assert caught.value.status == 422
    assert len(project.statuses()) == 4, "a record that was refused is not there"
    made = put(metadata={"length": 9, "topic": "law"}, suggestions=[{"question_id": choice["id"], "value": "tie"}])
    assert made["fields"] == {"text": "t"}
    assert made["status"] == "pending"
    assert [one["value"] for one in made["suggestions"]] == ["tie"]
    answered = put(responses=[{"user_id": who.user_id, "status": "submitted", "values": {"choice": {"value": "a"}}}])
    assert (answered["id"], answered["status"]) == (made["id"], "completed")
    again = put(fields={"text": "other"}, metadata={"length": 1})
    assert (again["id"], again["status"], again["fields"]) == (made["id"], "completed", {"text": "other"})
    assert len(project.pulled()) == 1


def test_who_prefers_a_short_reply_gets_names_and_the_same_records(argilla: Argilla) -> None:
    project = Project(argilla.url, argilla.key, "short", 1)
    items = [{"external_id": f"s{n}", "fields": {"text": f"text {n}"}} for n in range(5)]
    url = f"{argilla.url}/api/v1/datasets/{project.id}/records/bulk"
    headers = {"X-Argilla-Api-Key": argilla.key, "Prefer": "return=minimal"}
    reply = httpx.put(url, json={"items": items}, headers=headers, trust_env=False)
    assert (reply.status_code, reply.headers["Preference-Applied"]) == (200, "return=minimal")
    assert [set(one) for one in reply.json()["items"]] == [{"id", "external_id"}] * 5
    listed = project.ask("GET", f"datasets/{project.id}/records")["items"]
    assert [(one["id"], one["external_id"]) for one in listed[1:]] == [
        (one["id"], one["external_id"]) for one in reply.json()["items"]
    ]
    assert [one["fields"]["text"] for one in listed[1:]] == [f"text {n}" for n in range(5)]
    plain = httpx.put(url, json={"items": items}, headers={"X-Argilla-Api-Key": argilla.key}, trust_env=False)
    assert plain.json()["items"][0]["fields"] == {"text": "text 0"}


def test_what_needs_a_hub_is_refused_at_once(argilla: Argilla) -> None:
    project = Project(argilla.url, argilla.key, "hub", 1)
    wanted = {"name": "me/x", "subset": "default", "split": "train", "private": True, "token": "t"}
    with pytest.raises(Refused, match="422 data sets cannot be fetched from a hub or put there by this server"):
        project.ask("POST", f"datasets/{project.id}/export", wanted)


def test_a_job_that_nobody_knows_is_not_found(argilla: Argilla) -> None:
    with pytest.raises(Refused, match="404 Job with id `none` not found"):
        call(argilla.url, "GET", "jobs/none", api_key=argilla.key)


def test_nothing_that_was_asked_was_an_error_of_the_server(argilla: Argilla) -> None:
    """The last of this file: of whatever the others did."""
    assert "Exception in ASGI application" not in Path(argilla.home.log).read_text()
