"""The testbed's annotators sit down at our own Argilla and answer as its page would: a rehearsal without people.

Their accounts are `simulated` for ever, and so is everything they say.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from align.adapters.argilla.accounts import add_users
from align.adapters.argilla.book import Book
from align.adapters.argilla.client import Argilla
from align.adapters.argilla.home import Home
from align.adapters.argilla.settings import FLAG, PREFERENCE
from align.configs import SimulatedPeople
from align.errors import RecordError
from align.records import Candidate, Judgment, Ordering, Prompt
from align.testbed.people import assigned, judge, panel
from align.testbed.truth import KINDS, assess

ANSWERS = 50
"""In one call; Argilla takes a hundred, and a busy server is slow with them."""


def sit(
    home: Home,
    book: Book,
    prompts: Mapping[str, Prompt],
    candidates: Mapping[str, Candidate],
    people: SimulatedPeople,
    *,
    per_comparison: int,
    seed: int,
) -> dict[str, int]:
    """How many records each of them answered now; what they answered before is left as it is.

    RecordError where something is asked that is not of the testbed: they know no other world.
    """
    shown = book.published()
    everyone = panel(people)
    if per_comparison > len(everyone):
        raise RecordError(
            f"label.people: {len(everyone)} annotators, but {per_comparison} are to judge each comparison"
        )
    known = [prompts[one.prompt_id] for one in shown.values() if one.prompt_id in prompts]
    if any(prompt.meta.get("kind") not in KINDS for prompt in known):
        raise RecordError("label: a prompt that is not of the testbed; its annotators know no other world")
    dataset = book.dataset()["id"]
    done = {}
    for person, account in zip(everyone, add_users(home, [one.name for one in everyone], "simulated"), strict=True):
        with Argilla(home.credentials().url, account.api_key) as seat:
            pending = _pending(seat, dataset)
            items = []
            for record, name in pending.items():
                asked = shown.get(name)
                if asked is None or not {*asked.candidate_ids} <= candidates.keys() or asked.prompt_id not in prompts:
                    continue
                if person in assigned(everyone, asked, per_comparison, seed=seed):
                    prompt = prompts[asked.prompt_id]
                    if len(asked.candidate_ids) == 1:
                        told_of = {FLAG: refusal(prompt, candidates[asked.candidate_ids[0]])}
                    else:
                        told_of = as_sent(judge(person, asked, prompt, candidates, seed=seed, labels=people.labels))
                    values = {key: {"value": value} for key, value in told_of.items()}
                    items.append({"record_id": record, "status": "submitted", "values": values})
            for start in range(0, len(items), ANSWERS):
                told = seat.ask("POST", "/api/v1/me/responses/bulk", json={"items": items[start : start + ANSWERS]})
                if refused := [one["error"]["detail"] for one in told["items"] if one.get("error")]:
                    raise RecordError(f"{person.name}: {len(refused)} answers were refused: {refused[0]}")
            done[person.name] = len(items)
    return done


def refusal(prompt: Prompt, answer: Candidate) -> str:
    """What is true of an answer alone: whoever is asked says so."""
    return "refuses" if assess(prompt, answer.text).refused else "answers"


def as_sent(said: Judgment) -> dict[str, Any]:
    """The questions' values: where neither is acceptable, that is said in place of an order."""
    assert isinstance(said.verdict, Ordering)
    first, *_ = said.verdict.groups
    choice = "a" if first == said.candidate_ids[:1] else "b" if len(first) == 1 else "tie"
    strength = {"strength": said.strength} if said.strength and not said.verdict.both_bad else {}
    return {PREFERENCE: "both_bad" if said.verdict.both_bad else choice, **strength}


def _pending(seat: Argilla, dataset: str) -> dict[str, str]:
    """Record id → external id, of all that this account has not answered."""
    found: dict[str, str] = {}
    path = f"/api/v1/me/datasets/{dataset}/records/search"
    status = {"type": "terms", "scope": {"entity": "response", "property": "status"}, "values": ["pending"]}
    while True:
        query = {"filters": {"type": "and", "and": [status]}}
        page = seat.ask("POST", path, json=query, params={"limit": 500, "offset": len(found)})
        found |= {one["record"]["id"]: one["record"]["external_id"] for one in page["items"]}
        if not page["items"] or len(found) >= page["total"]:
            return found
