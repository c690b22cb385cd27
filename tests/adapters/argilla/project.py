"""A small data set to judge, and annotators who judge it as fast as they can, noting what the server acknowledged."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Any

import httpx

from align.adapters.argilla.accounts import Account
from align.adapters.argilla.rest import call

CHOICES = ("a", "b", "tie", "both_bad")
Said = tuple[str, dict[str, Any]]


@dataclass
class Project:
    """One data set of `n` records with a choice, a rating and a free text."""

    url: str
    key: str
    name: str
    n: int
    min_submitted: int = 2
    id: str = ""
    records: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        place = next(row["id"] for row in self.ask("GET", "me/workspaces")["items"] if row["name"] == "align")
        spread = {"strategy": "overlap", "min_submitted": self.min_submitted}
        self.id = self.ask("POST", "datasets", {"name": self.name, "workspace_id": place, "distribution": spread})["id"]
        self._make("fields", "text", {"type": "text"}, required=True)
        options = [{"value": one, "text": one} for one in CHOICES]
        self._make("questions", "choice", {"type": "label_selection", "options": options}, required=True)
        self._make("questions", "strength", {"type": "rating", "options": [{"value": n} for n in (1, 2, 3)]})
        self._make("questions", "why", {"type": "text"})
        self.ask("PUT", f"datasets/{self.id}/publish")
        rows = [{"external_id": f"{self.name}-{n}", "fields": {"text": f"text {n} " * 20}} for n in range(self.n)]
        for start in range(0, self.n, 100):
            made = self.ask("PUT", f"datasets/{self.id}/records/bulk", {"items": rows[start : start + 100]})
            self.records += [row["id"] for row in made["items"]]

    def _make(self, what: str, name: str, settings: Any, **more: Any) -> None:
        self.ask("POST", f"datasets/{self.id}/{what}", {"name": name, "title": name, "settings": settings, **more})

    def ask(self, method: str, path: str, body: Any = None, who: Account | None = None) -> dict[str, Any]:
        return call(self.url, method, path, body, api_key=who.api_key if who else self.key)

    def pulled(self) -> dict[tuple[str, str], Said]:
        """Every answer that the server has: by record and user."""
        told = self.ask("GET", f"datasets/{self.id}/records?include=responses&limit=1000")["items"]
        return {
            (one["id"], said["user_id"]): (said["status"], {k: v["value"] for k, v in (said["values"] or {}).items()})
            for one in told
            for said in one["responses"]
        }

    def statuses(self) -> list[str]:
        return [one["status"] for one in self.ask("GET", f"datasets/{self.id}/records?limit=1000")["items"]]


def answer(n: int, who: Account) -> Said:
    """What that annotator says of record n, whenever they are asked: with marks that a careless server would spoil."""
    if (n + len(who.username)) % 11 == 0:
        return "discarded", {}
    why = f"{who.username} on {n}: \u2028 </script> $& 'quoted' \"too\" Ω🦉 {'long ' * (n % 7)}"
    return "submitted", {"choice": CHOICES[(n * 7 + len(why)) % 4], "strength": n % 3 + 1, "why": why}


@dataclass
class Annotator:
    """A thread that goes through the records; `acknowledged` is written after the server's 200, never before."""

    project: Project
    who: Account
    step: int = 1
    acknowledged: dict[tuple[str, str], Said] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    repeated: int = 0
    """Answers sent again because no reply came."""

    def start(self) -> threading.Thread:
        thread = threading.Thread(target=self.work, daemon=True)
        thread.start()
        return thread

    def work(self, patience_s: float = 120.0) -> None:
        order = range(self.project.n)[:: self.step]
        with httpx.Client(base_url=f"{self.project.url}/api/v1", timeout=30, trust_env=False) as client:
            client.headers["X-Argilla-Api-Key"] = self.who.api_key
            for n in order:
                status, values = answer(n, self.who)
                until = time.monotonic() + patience_s
                while not self._sent(client, self.project.records[n], status, values):
                    if time.monotonic() > until:
                        self.errors.append(f"record {n}: no reply for {patience_s} s")
                        return

    def _sent(self, client: httpx.Client, record: str, status: str, values: dict[str, Any]) -> bool:
        said = {name: {"value": value} for name, value in values.items()}
        try:
            item = {"record_id": record, "status": status, "values": said or None}
            reply = client.post("/me/responses/bulk", json={"items": [item]})
        except httpx.TransportError:
            self.repeated += 1
            time.sleep(0.1)
            return False
        told = reply.json() if reply.status_code == 200 else None
        if told is None or told["items"][0]["error"]:
            self.errors.append(f"{reply.status_code} {reply.text:.200}")
            return True
        self.acknowledged[record, self.who.user_id] = (status, values)
        return True
