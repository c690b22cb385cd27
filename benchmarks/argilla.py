"""Records to and from Argilla side by side: the client of the desk against Argilla's own SDK in its best setting.

Both speak to the same embedded server, take turns, and move the same 2,000 records: about 1.6 kB of text in three
fields, four metadata, nothing else. Data sets are made before and records are plain dictionaries before; timed is what
it takes until the server has acknowledged the last of them. Before the pull each record is given two submitted answers.
The SDK is given the largest batches that the server takes (500 to push, 1,000 to pull), which suits it best.

Also measured: how long the second `up` of a home takes until the server answers, and the memory of its process when all
is done.

Prediction, written before the first measurement: a push costs the server 1.2 ms a record and the SDK 2 ms more (it
makes a pydantic model of each record going and another of each that comes back), so 2.5 times; of a pull the server's
share is 0.8 ms and the SDK's 0.5, so 1.6 times. Ready in 5 s, 320 MB.

$ make bench NAME=argilla            # 3 rounds, about 2 minutes on a quiet machine
$ make bench NAME=argilla FULL=1     # 7 rounds
"""

from __future__ import annotations

import json
import logging
import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TQDM_DISABLE", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.remove(str(Path(__file__).resolve().parent))  # where `argilla` would be this file

from align.adapters.argilla.accounts import add_users
from align.adapters.argilla.client import Argilla
from align.adapters.argilla.home import Home, down, up
from align.adapters.argilla.process import running

FULL = bool(os.environ.get("FULL"))
ROUNDS = 7 if FULL else 3
RECORDS = 2000
ANSWERS = 2
CHOICES = ("a", "b", "tie", "both_bad")
Json = dict[str, Any]


def rows(round_: int) -> list[Json]:
    """2,000 records whose texts hold what models write: words, marks, code, other scripts."""
    rng = Random(round_)
    words = ["the", "answer", "of", "which", "one", "is", "asked", "was", "given", "before", "and", "after"]
    words += ["naïve", "日本語", "`x < y`", "$x^2$", "</p>", "🦉", "&amp;"]

    def text(n: int) -> str:
        said = ""
        while len(said.encode()) < n:
            said += rng.choice(words) + " "
        return said

    return [
        {
            "external_id": f"pair-{round_}-{n:05d}",
            "fields": {"prompt": text(300), "first": text(650), "second": text(650)},
            "metadata": {
                "topic": rng.choice(("law", "maths")),
                "model": rng.choice("ab"),
                "length": n,
                "gap": rng.random(),
            },
        }
        for n in range(RECORDS)
    ]


def new_dataset(server: Argilla, name: str, place: str) -> str:
    """An empty, published data set; its id."""

    def make(path: str, body: Json) -> Json:
        return dict(server.ask("POST", f"/api/v1/datasets{path}", json=body))

    spread = {"strategy": "overlap", "min_submitted": ANSWERS}
    made = make("", {"name": name, "workspace_id": place, "distribution": spread})["id"]
    for field in ("prompt", "first", "second"):
        settings = {"type": "text", "use_markdown": False}
        make(f"/{made}/fields", {"name": field, "title": field, "required": True, "settings": settings})
    options = [{"value": one, "text": one} for one in CHOICES]
    settings = {"type": "label_selection", "options": options}
    make(f"/{made}/questions", {"name": "preference", "title": "which", "required": True, "settings": settings})
    for name, kind in {"topic": "terms", "model": "terms", "length": "integer", "gap": "float"}.items():
        make(f"/{made}/metadata-properties", {"name": name, "title": name, "settings": {"type": kind}})
    server.ask("PUT", f"/api/v1/datasets/{made}/publish")
    return str(made)


def answer(server: Argilla, dataset: str, names: list[str], users: list[str]) -> None:
    """Two submitted answers to every record, put in by the owner, for here it is only their number that counts."""
    for start in range(0, len(names), 500):
        items = [
            {"external_id": name, "responses": [
                {"user_id": user, "status": "submitted", "values": {"preference": {"value": CHOICES[n % 4]}}}
                for user in users
            ]}
            for n, name in enumerate(names[start : start + 500])
        ]  # fmt: skip
        server.ask("PUT", f"/api/v1/datasets/{dataset}/records/bulk", json={"items": items})


class Ours:
    """The client that the desk has."""

    def __init__(self, url: str, key: str) -> None:
        self.server = Argilla(url, key)

    def push(self, name: str, dataset: str, records: list[Json]) -> None:
        assert sum(self.server.put_records(dataset, records)) == len(records)

    def pull(self, name: str, dataset: str) -> list[tuple[str, str, int]]:
        told = self.server.records(dataset)
        return [(one["external_id"], one["fields"]["second"], len(one["responses"])) for one in told]


class Sdk:
    """Argilla's own: `dataset.records.log` and iteration with responses."""

    def __init__(self, url: str, key: str) -> None:
        import argilla

        logging.disable(logging.WARNING)
        self.client = argilla.Argilla(api_url=url, api_key=key, timeout=120)
        self.sdk = argilla

    def push(self, name: str, dataset: str, records: list[Json]) -> None:
        place = self.client.datasets(name=name, workspace="align")
        made = [
            self.sdk.Record(id=one["external_id"], fields=one["fields"], metadata=one["metadata"]) for one in records
        ]
        place.records.log(made, batch_size=500)

    def pull(self, name: str, dataset: str) -> list[tuple[str, str, int]]:
        place = self.client.datasets(name=name, workspace="align")
        found = place.records(with_responses=True, with_suggestions=False, batch_size=1000)
        return [(one.id, one.fields["second"], len(list(one.responses))) for one in found]


def timed(do: Callable[[], Any]) -> tuple[Any, float]:
    started = time.perf_counter()
    result = do()
    return result, time.perf_counter() - started


def main() -> None:
    warnings.simplefilter("ignore")
    print(
        f"prediction: push 2.5 times the SDK's records a second, pull 1.6 times; {ROUNDS} rounds of {RECORDS} records"
    )
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder) / "home")
        _, first_s = timed(lambda: up(home, port=0))
        ready, ready_cpu = [], []
        for _ in range(3):
            down(home)
            url, seconds = timed(lambda: up(home))
            ready.append(seconds)
            ready_cpu.append(processor_s(home))
        try:
            seen = rounds(home, url)
            rss_mb = memory(home)
        finally:
            down(home)

    def middle(side: str, what: str) -> float:
        return statistics.median(one[side][what] for one in seen)

    def ratio(what: str) -> list[float]:
        return [one["sdk"][what] / one["ours"][what] for one in seen]

    print(json.dumps({
        "push_per_s": round(RECORDS / middle("ours", "push_s")),
        "pull_per_s": round(RECORDS / middle("ours", "pull_s")),
        "push_vs_sdk": round(statistics.median(ratio("push_s")), 2),
        "pull_vs_sdk": round(statistics.median(ratio("pull_s")), 2),
        "ready_s": round(statistics.median(ready), 2),
        "rss_mb": rss_mb,
        "raw": {"rounds": seen, "first_start_s": round(first_s, 2), "ready_s": [round(one, 2) for one in ready],
                "ready_cpu_s": ready_cpu,
                "push_ratios": ratio("push_s"), "pull_ratios": ratio("pull_s"), "records": RECORDS,
                "bytes_a_record": len(json.dumps(rows(0)[0]["fields"], ensure_ascii=False).encode()),
                "answers_a_record": ANSWERS, "cores": len(os.sched_getaffinity(0))},
    }))  # fmt: skip


def rounds(home: Home, url: str) -> list[dict[str, dict[str, float]]]:
    """Seconds of each side's push and pull, one after the other and then the other way round."""
    key = home.credentials().api_key
    users = [one.user_id for one in add_users(home, ["one", "two"], "simulated")]
    server = Argilla(url, key)
    place = server.workspaces()["align"]
    sides: dict[str, Any] = {"ours": Ours(url, key), "sdk": Sdk(url, key)}
    seen = []
    for n in range(ROUNDS):
        round_: dict[str, dict[str, float]] = {}
        records = rows(n)
        order = sorted(sides, reverse=bool(n % 2))
        places = {side: (f"{side}{n}", new_dataset(server, f"{side}{n}", place)) for side in order}
        for side in order:
            _, push_s = timed(partial(sides[side].push, *places[side], records))
            round_[side] = {"push_s": push_s}
        for side in order:
            answer(server, places[side][1], [one["external_id"] for one in records], users)
        for side in order:
            pulled, pull_s = timed(partial(sides[side].pull, *places[side]))
            expected = [(one["external_id"], one["fields"]["second"], ANSWERS) for one in records]
            if sorted(pulled) != expected:
                raise SystemExit(f"{side} did not get back what was put up; its times mean nothing")
            round_[side]["pull_s"] = pull_s
        for _, dataset in places.values():
            server.ask("DELETE", f"/api/v1/datasets/{dataset}")
        print(f"round {n + 1} " + "  ".join(
            f"{side} push {RECORDS / one['push_s']:6.0f}/s pull {RECORDS / one['pull_s']:6.0f}/s"
            for side, one in round_.items()), flush=True)  # fmt: skip
        seen.append(round_)
    return seen


def processor_s(home: Home) -> float:
    """Seconds of processor time that the server has taken: what others do on this machine is not counted."""
    holder = running(home)
    assert holder is not None
    fields = Path(f"/proc/{holder['pid']}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(home: Home) -> int:
    """Resident memory of the server's process, in MB (10⁶ bytes)."""
    holder = running(home)
    assert holder is not None
    status = Path(f"/proc/{holder['pid']}/status").read_text()
    kib = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    return round(kib * 1024 / 1e6)


if __name__ == "__main__":
    main()
