"""The embedded search engine against a search by brute force over what was pushed, through Argilla's own API."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest

from align.adapters.argilla.accounts import Account
from align.adapters.argilla.rest import Refused, call
from tests.adapters.argilla.conftest import Argilla

N_RECORDS = 160
N_QUERIES = 300
PAGE = 20
WORDS = [
    "river",
    "stone",
    "Lamp",
    "ÉCOLE",
    "straße",
    "Ωmega",
    "日本",
    "quick-fix",
    "a<b",
    "vector<int>",
    "100%",
    "$x",
    "#tag",
    "tea&milk",
    "don't",
]
TOPICS = ("history", "maths", "law")
LABELS = ("a", "b", "tie", "both_bad")

Row = dict[str, Any]


@dataclass
class World:
    """A data set on the server, and the same by heart."""

    argilla: Argilla
    dataset: str
    people: list[Account]
    rows: list[Row] = field(default_factory=list)

    def ask(self, method: str, path: str, body: Any = None, who: Account | None = None) -> dict[str, Any]:
        return call(self.argilla.url, method, path, body, api_key=who.api_key if who else self.argilla.key)

    def search(self, body: Row, who: Account | None, *, offset: int = 0, limit: int = 1000) -> tuple[list[str], int]:
        me = "me/" if who else ""
        told = self.ask("POST", f"{me}datasets/{self.dataset}/records/search?offset={offset}&limit={limit}", body, who)
        return [item["record"]["external_id"] for item in told["items"]], told["total"]


def escaped(text: str) -> str:
    return "".join(f"%{ord(mark):02X}" if mark in "%<$#&" else mark for mark in text)


@pytest.fixture(scope="module")
def world(argilla: Argilla) -> Iterator[World]:
    """160 records with every kind of field, question, metadata, suggestion and answer that can be searched for."""
    rng = Random(7)
    people = [argilla.add() for _ in range(3)]
    owner = World(argilla, "", people)
    place = next(row["id"] for row in owner.ask("GET", "me/workspaces")["items"] if row["name"] == "align")
    dataset = owner.ask("POST", "datasets", {"name": "searched", "workspace_id": place,
                        "distribution": {"strategy": "overlap", "min_submitted": 2}})["id"]  # fmt: skip
    world = World(argilla, dataset, people)

    def make(what: str, name: str, settings: Row, **more: Any) -> Row:
        return world.ask(
            "POST", f"datasets/{dataset}/{what}", {"name": name, "title": name, "settings": settings, **more}
        )

    make("fields", "text", {"type": "text"}, required=True)
    make("fields", "chat", {"type": "chat"})
    make("fields", "pair", {"type": "custom", "template": "<p></p>", "advanced_mode": True})
    options = [{"value": value, "text": value} for value in LABELS]
    questions = {
        name: make("questions", name, settings, required=name == "choice")["id"]
        for name, settings in {
            "choice": {"type": "label_selection", "options": options},
            "stars": {"type": "rating", "options": [{"value": n} for n in range(1, 6)]},
            "faults": {"type": "multi_label_selection", "options": options},
        }.items()
    }
    make("metadata-properties", "topic", {"type": "terms"}, visible_for_annotators=True)
    make("metadata-properties", "length", {"type": "integer"}, visible_for_annotators=True)
    make("metadata-properties", "score", {"type": "float"}, visible_for_annotators=True)
    world.ask("PUT", f"datasets/{dataset}/publish")

    def words(n: int) -> str:
        return " ".join(rng.choice((str.upper, str.lower, str))(rng.choice(WORDS)) for _ in range(n))

    for n in range(N_RECORDS):
        fields: Row = {"text": words(6)}
        if rng.random() < 0.6:
            fields["chat"] = [{"role": "user", "content": words(3)}, {"role": "assistant", "content": words(3)}]
        if rng.random() < 0.6:
            fields["pair"] = {"a": escaped(words(4)), "b": {"text": escaped(words(2)), "n": 3}}
        metadata: Row = {}
        if rng.random() < 0.8:
            metadata["topic"] = rng.choice([*TOPICS, ["history", "law"], ["maths"]])
        if rng.random() < 0.8:
            metadata["length"] = rng.randrange(10)
        if rng.random() < 0.8:
            metadata["score"] = rng.randrange(-8, 8) / 4
        suggestions = []
        if rng.random() < 0.5:
            suggestions.append({"question_id": questions["choice"], "value": rng.choice(LABELS), "type": "model",
                                "score": rng.randrange(9) / 8, "agent": rng.choice(("m1", "m2"))})  # fmt: skip
        if rng.random() < 0.5:
            suggestions.append({"question_id": questions["stars"], "value": rng.randrange(1, 6)})
        if rng.random() < 0.5:
            suggestions.append({"question_id": questions["faults"], "value": rng.sample(LABELS, 2), "type": "human",
                                "score": [rng.random() for _ in range(2)], "agent": "m3"})  # fmt: skip
        world.rows.append(
            {"external_id": f"r{n:03d}", "fields": fields, "metadata": metadata, "suggestions": suggestions}
        )
    for start in range(0, N_RECORDS, 100):
        world.ask("PUT", f"datasets/{dataset}/records/bulk", {"items": world.rows[start : start + 100]})
    by_question = {id: name for name, id in questions.items()}
    listed = world.ask("GET", f"datasets/{dataset}/records?limit=1000")["items"]
    for row, kept in zip(world.rows, listed, strict=True):
        assert row["external_id"] == kept["external_id"]
        row["said"] = {by_question[one["question_id"]]: one for one in row["suggestions"]}
        row["id"], row["responses"] = kept["id"], {}
    for who in people:
        answers = []
        for row in rng.sample(world.rows, 60):
            status = rng.choice(("submitted", "submitted", "draft", "discarded"))
            values: Row = {"choice": rng.choice(LABELS)}
            if rng.random() < 0.6:
                values["stars"] = rng.randrange(1, 6)
            if rng.random() < 0.6:
                values["faults"] = rng.sample(LABELS, rng.randrange(1, 3))
            row["responses"][who.username] = {"status": status, "values": values}
            said = {name: {"value": value} for name, value in values.items()}
            answers.append({"record_id": row["id"], "status": status, "values": said})
        told = world.ask("POST", "me/responses/bulk", {"items": answers}, who)
        assert not [item["error"] for item in told["items"] if item["error"]]
    for row, kept in zip(world.rows, world.ask("GET", f"datasets/{dataset}/records?limit=1000")["items"], strict=True):
        row.update({name: kept[name] for name in ("status", "inserted_at", "updated_at")})
    yield world
    world.ask("DELETE", f"datasets/{dataset}")


# The oracle: what a search means, over `world.rows`.


def texts(row: Row, name: str | None) -> list[str]:
    def inside(value: Any) -> Iterator[str]:
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            for one in value.values():
                yield from inside(one)

    found: list[str] = []
    for field_name, value in row["fields"].items():
        if name in (None, field_name):
            found += [turn["content"] for turn in value] if field_name == "chat" else inside(value)
    return found


def holds(row: Row, words: str, name: str | None) -> bool:
    unescaped = (re.sub("%(3C|24|23|26|25)", lambda hit: chr(int(hit[1], 16)), text) for text in texts(row, name))
    return any(words.casefold() in text.casefold() for text in (*texts(row, name), *unescaped))


def values(row: Row, scope: Row, who: Account | None) -> list[Any]:
    """What is in scope, as a list: of what kind soever, and however often."""
    entity = scope["entity"]
    if entity == "metadata":
        found = [row["metadata"].get(scope["metadata_property"])]
    elif entity == "suggestion":
        found = [row["said"].get(scope["question"], {}).get(scope.get("property") or "value")]
    elif entity == "record":
        found = [row[scope["property"]]]
    else:
        mine = [said for name, said in row["responses"].items() if who is None or name == who.username]
        key = scope.get("question")
        found = [said["values"].get(key) if key else said["status"] for said in mine]
    flat = [one for value in found for one in (value if isinstance(value, list) else [value])]
    return [one for one in flat if one is not None]


def matches(row: Row, wanted: Row, who: Account | None) -> bool:
    scope = wanted["scope"]
    found = values(row, scope, who)
    if wanted["type"] == "range":
        low, high = wanted.get("ge"), wanted.get("le")
        if scope.get("property") in ("inserted_at", "updated_at"):
            low, high = (str(x).rstrip("Z") if x else x for x in (low, high))
        return any((low is None or one >= low) and (high is None or one <= high) for one in found)
    if scope["entity"] == "response" and not scope.get("question"):
        return ("pending" in wanted["values"] and not found) or any(one in wanted["values"] for one in found)
    return any(str(one) in wanted["values"] for one in found)


def expected(world: World, body: Row, who: Account | None) -> list[Row]:
    found = world.rows
    text = body.get("query", {}).get("text")
    if text:
        groups, name = text["groups"], text.get("field")
        found = [
            row for row in found if all(any(holds(row, w, name) == wanted for wanted, w in group) for group in groups)
        ]
    for wanted in body.get("filters", {}).get("and", ()):
        found = [row for row in found if matches(row, wanted, who)]
    for order in reversed(body.get("sort", ())):
        down = order["order"] == "desc"

        def key(row: Row, scope: Row = order["scope"], down: bool = down) -> Any:
            several = values(row, scope, who)
            if scope["entity"] == "response" and isinstance(several[0], int):
                return sum(several) / len(several)
            return max(several) if down else min(several)

        valued = [row for row in found if values(row, order["scope"], who)]
        # `reverse` keeps equals in the order in which they came, as the server does
        found = sorted(valued, key=key, reverse=down) + [row for row in found if row not in valued]
    return found


# Random searches.


def some_text(rng: Random) -> Row:
    groups, said = [], []
    for _ in range(rng.choice((1, 1, 2, 3))):
        group = []
        for _ in range(rng.choice((1, 1, 1, 2))):
            wanted, words = rng.random() < 0.8, " ".join(rng.sample(WORDS, rng.choice((1, 1, 2))))
            words = rng.choice((words.upper(), words.lower(), words[: rng.randrange(2, 9)].strip()))
            group.append((wanted, words))
        groups.append(group)
        said.append(rng.choice(("|", " | ")).join(
            ("" if wanted else "-") + (f'"{w}"' if " " in w or rng.random() < 0.3 else w) for wanted, w in group
        ))  # fmt: skip
    text: Row = {"q": "  ".join(said), "groups": groups}
    if rng.random() < 0.3:
        text["field"] = rng.choice(("text", "chat", "pair"))
    return text


def some_scope(rng: Random) -> Row:
    return rng.choice((
        {"entity": "metadata", "metadata_property": rng.choice(("topic", "length", "score"))},
        {"entity": "suggestion", "question": rng.choice(("choice", "stars", "faults")),
         **rng.choice(({}, {"property": "value"}, {"property": "score"}, {"property": "agent"}, {"property": "type"}))},
        {"entity": "response", "question": rng.choice(("choice", "stars", "faults"))},
        {"entity": "response", "property": "status"},
        {"entity": "record", "property": rng.choice(("id", "external_id", "status", "inserted_at", "updated_at"))},
    ))  # fmt: skip


def some_filter(rng: Random, world: World, who: Account | None) -> Row:
    while True:
        scope = some_scope(rng)
        if scope == {"entity": "response", "property": "status"}:
            states = ("pending", "submitted", "draft", "discarded")
            return {"type": "terms", "scope": scope, "values": rng.sample(states, rng.choice((1, 1, 2)))}
        found = sorted({one for row in world.rows for one in values(row, scope, who)})
        if not found:
            continue
        if not isinstance(found[0], str) or scope.get("property") in ("inserted_at", "updated_at"):
            low, high = sorted(rng.choices(found, k=2))
            return {"type": "range", "scope": scope, **rng.choice(({"ge": low, "le": high}, {"ge": low}, {"le": high}))}
        return {"type": "terms", "scope": scope, "values": rng.sample(found, min(2, len(found)))}


def some_search(rng: Random, world: World, who: Account | None) -> Row:
    body: Row = {}
    if rng.random() < 0.5:
        body["query"] = {"text": some_text(rng)}
    if rng.random() < 0.6:
        body["filters"] = {"and": [some_filter(rng, world, who) for _ in range(rng.choice((1, 1, 2)))]}
    if rng.random() < 0.6:
        body["sort"] = [
            {"scope": some_scope(rng), "order": rng.choice(("asc", "desc"))} for _ in range(rng.choice((1, 2)))
        ]
    return body


def terms(scope: Row, *values: str) -> Row:
    return {"filters": {"and": [{"type": "terms", "scope": scope, "values": values}]}}


def sent(body: Row) -> Row:
    """Without what only the oracle reads."""
    said: Row = json.loads(json.dumps(body))
    said.get("query", {}).get("text", {}).pop("groups", None)
    return said


def test_three_hundred_random_searches_find_what_brute_force_finds(world: World) -> None:
    rng = Random(11)
    n_some = n_empty = 0
    for n in range(N_QUERIES):
        who = rng.choice((None, *world.people))
        body = some_search(rng, world, who)
        should = [row["external_id"] for row in expected(world, body, who)]
        offset = rng.choice((0, 0, rng.randrange(len(should) + 3)))
        found, total = world.search(sent(body), who, offset=offset, limit=PAGE)
        complaint = f"query {n} {json.dumps(body, ensure_ascii=False)} as {who.username if who else 'owner'}"
        assert total == len(should), complaint
        if who is None or "sort" in body:
            assert found == should[offset : offset + PAGE], complaint
        else:  # in an order of the user's own
            assert len(found) == len(should[offset : offset + PAGE]), complaint
            assert len(set(found)) == len(found), complaint
            assert set(found) <= set(should), complaint
        n_some += bool(should) and len(should) < N_RECORDS
        n_empty += not should
    assert n_some >= 120, "too few of the searches tell one record from another"
    assert n_empty <= 75


def test_without_an_order_each_user_has_one_of_their_own_and_pages_of_it_fit_together(world: World) -> None:
    orders = []
    for who in world.people:
        whole, total = world.search({}, who)
        assert total == N_RECORDS
        pages = [world.search({}, who, offset=offset, limit=50)[0] for offset in range(0, N_RECORDS, 50)]
        assert [one for page in pages for one in page] == whole
        orders.append(whole)
    assert all(sorted(order) == [row["external_id"] for row in world.rows] for order in orders)
    assert len({tuple(order) for order in orders}) == 3
    assert sorted(orders[0]) not in orders


def test_what_somebody_has_begun_is_given_out_first_where_several_are_to_judge(world: World) -> None:
    who = world.people[0]
    pending = terms({"entity": "response", "property": "status"}, "pending")
    found, _ = world.search(pending, who)
    begun = {
        row["external_id"]: sum(said["status"] == "submitted" for said in row["responses"].values())
        for row in world.rows
    }
    counts = [begun[one] for one in found]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[-1] == 0


@pytest.mark.parametrize("name", ["topic", "length", "score"])
def test_metadata_values_and_bounds_are_counted_exactly(world: World, name: str) -> None:
    listed = world.ask("GET", f"me/datasets/{world.dataset}/metadata-properties")["items"]
    told = world.ask("GET", f"metadata-properties/{next(one['id'] for one in listed if one['name'] == name)}/metrics")
    found = [one for row in world.rows for one in values(row, {"entity": "metadata", "metadata_property": name}, None)]
    if name == "topic":
        assert {one["term"]: one["count"] for one in told["values"]} == {term: found.count(term) for term in TOPICS}
        assert told["total"] == len(found)
    else:
        assert (told["min"], told["max"]) == (min(found), max(found))


def test_progress_counts_records_and_each_users_answers(world: World) -> None:
    told = world.ask("GET", f"datasets/{world.dataset}/progress")
    completed = sum(row["status"] == "completed" for row in world.rows)
    assert (told["total"], told["completed"], told["pending"]) == (N_RECORDS, completed, N_RECORDS - completed)
    assert 0 < completed < N_RECORDS
    for who in world.people:
        mine = [row["responses"][who.username]["status"] for row in world.rows if who.username in row["responses"]]
        told = world.ask("GET", f"me/datasets/{world.dataset}/metrics", who=who)["responses"]
        counted = {status: mine.count(status) for status in ("submitted", "draft", "discarded")}
        assert told == {"total": N_RECORDS, "pending": N_RECORDS - len(mine), **counted}


def refused(do: Callable[[], object]) -> Refused:
    with pytest.raises(Refused) as caught:
        do()
    return caught.value


def test_what_cannot_be_searched_is_refused_and_not_an_error_of_the_server(world: World) -> None:
    vector = {"name": "v", "title": "v", "dimensions": 2}
    said = refused(lambda: world.ask("POST", f"datasets/{world.dataset}/vectors-settings", vector))
    assert said.status == 422
    assert "vectors are not available with the embedded search engine" in str(said)
    strange = terms({"entity": "metadata", "metadata_property": "none"}, "x")
    assert refused(lambda: world.search(strange, None)).status == 422
    for hostile in ("'; DROP TABLE records; --", '"', "|", "-", '"unclosed', "%_\\", "\0", "(a", "a" * 5000):
        found, total = world.search({"query": {"text": {"q": hostile}}}, None)
        assert len(found) == total
