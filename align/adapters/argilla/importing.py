"""A data set that somebody already has: its records, answers and users, read into ours by a small mapping."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError

from align.adapters.argilla.client import Argilla
from align.adapters.argilla.meaning import meant, reasons
from align.adapters.argilla.people import People
from align.adapters.argilla.verdicts import moment
from align.configs.argilla import ImportMapping
from align.errors import RecordError
from align.records import Candidate, Comparison, Judgment, Message, Prompt

Json = dict[str, Any]
KINDS = ("label_selection", "rating", "ranking")


@dataclass
class Imported:
    """What came of a data set; judgments in the order of its records, then by annotator."""

    prompts: dict[str, Prompt] = field(default_factory=dict)
    candidates: dict[str, Candidate] = field(default_factory=dict)
    comparisons: dict[str, Comparison] = field(default_factory=dict)
    judgments: list[Judgment] = field(default_factory=list)
    set_aside: list[Json] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


def find(server: Argilla, name: str, workspace: str | None) -> Json:
    """The data set of this name; RecordError where there is none, or more than one."""
    places = server.workspaces()
    if workspace is not None and workspace not in places:
        raise RecordError(f"{server.url}: no workspace `{workspace}`; there are: {', '.join(sorted(places)) or 'none'}")
    known = [
        {**one, "workspace": place}
        for place, place_id in sorted(places.items())
        if workspace in (None, place)
        for one in server.datasets(place_id).values()
    ]
    found = [one for one in known if name in (one["name"], one["id"])]
    if len(found) == 1:
        return found[0]
    if found:
        where = ", ".join(one["workspace"] for one in found)
        raise RecordError(f"{server.url}: `{name}` is in {where}; say which by label.argilla.workspace")
    near = get_close_matches(name, names := [one["name"] for one in known], n=1)
    hint = f"did you mean `{near[0]}`?" if near else f"there are: {', '.join(names[:10]) or 'none'}"
    raise RecordError(f"{server.url}: no data set `{name}`; {hint}")


def check(fields: Sequence[Json], questions: Sequence[Json], mapping: ImportMapping) -> str:
    """The type of the comparing question; RecordError where the mapping names what is not there, or of no use."""
    kinds = {one["name"]: one["settings"]["type"] for one in questions}
    known = {one["name"]: one["settings"]["type"] for one in fields}
    for name in (mapping.prompt, *mapping.answers):
        _there(name, known, "field")
        if known[name] not in ("text", "chat"):
            raise RecordError(f"mapping: the field `{name}` is of type {known[name]}, expected text or chat")
    texts = [name for name in (mapping.rationale, mapping.correction) if name is not None]
    for name in (*mapping.ratings.values(), *texts, *filter(None, (mapping.question, mapping.strength))):
        _there(name, kinds, "question")
    for name in (*mapping.ratings.values(), *filter(None, (mapping.strength,))):
        if kinds[name] != "rating":
            raise RecordError(f"mapping: the question `{name}` is of type {kinds[name]}, expected rating")
    for name in texts:
        if kinds[name] != "text":
            raise RecordError(f"mapping: the question `{name}` is of type {kinds[name]}, expected text")
    if mapping.question is None:
        return "rating"
    kind = str(kinds[mapping.question])
    if kind not in KINDS:
        raise RecordError(f"mapping: the question `{mapping.question}` is of type {kind}, expected {', '.join(KINDS)}")
    asked = next(one for one in questions if one["name"] == mapping.question)
    options = {str(option["value"]) for option in asked["settings"]["options"]}
    if stray := sorted({*mapping.choices, *mapping.strengths} - options):
        raise RecordError(f"mapping: `{mapping.question}` has no option {stray[0]}, but {', '.join(sorted(options))}")
    if kind == "rating" and len(mapping.answers) > 1 and not mapping.choices:
        raise RecordError(
            f"mapping.choices: missing; `{mapping.question}` is one rating of {len(mapping.answers)} answers: say what "
            f"each of {', '.join(sorted(options))} means"
        )
    return kind


def read(rows: Sequence[Json], kind: str, mapping: ImportMapping, people: People) -> Imported:
    """Everything that the rows hold; what is no judgment is counted or set aside with its reason."""
    people.meet({str(one["user_id"]) for row in rows for one in row.get("responses") or ()}, {})
    found = Imported()
    used = {*mapping.ratings.values()} | {
        name for name in (mapping.question, mapping.strength, mapping.rationale, mapping.correction) if name
    }
    for row in rows:
        found.counts["records"] += 1
        try:
            prompt, sides = _record(row, mapping)
        except (ValidationError, ValueError) as error:
            found.counts["records that are no question with answers"] += 1
            said = str(error).splitlines()[0]
            found.set_aside.append({"reason": "of a record that is no question with answers", "why": said, "row": row})
            continue
        found.prompts.setdefault(prompt.id, prompt)
        found.candidates |= {one.id: one for one in sides.values()}
        names = {name: side.id for name, side in sides.items()}
        for one in sorted(row.get("responses") or (), key=lambda one: (one["updated_at"], one["user_id"])):
            found.counts[one["status"]] += 1
            if one["status"] == "submitted":
                _response(one, row, prompt, names, kind, mapping, used, people, found)
    return found


def _response(
    one: Json, row: Json, prompt: Prompt, sides: Mapping[str, str], kind: str, mapping: ImportMapping,
    used: set[str], people: People, found: Imported,
) -> None:  # fmt: skip
    values = {name: value.get("value") for name, value in (one.get("values") or {}).items()}
    who = people.of(str(one["user_id"]))
    said = meant(values, sides, kind, mapping) if who.kind is not None else "of an account that cannot be looked up"
    strength = values.get(mapping.strength or "")
    if strength is not None and strength not in (1, 2, 3):
        said = "of a strength that is not 1, 2 or 3"
    if isinstance(said, str) or who.kind is None:
        answer = {"record": row["id"], "user": who.pseudonym, "values": values, "updated": one["updated_at"]}
        found.set_aside.append({"reason": said, "answer": answer})
        return
    for part in said:
        shown = Comparison(prompt_id=prompt.id, candidate_ids=tuple(sides[name] for name in part.fields))
        found.comparisons.setdefault(shown.id, shown)
        found.judgments.append(
            Judgment(
                comparison_id=shown.id,
                pair_id=shown.pair_id,
                prompt_id=prompt.id,
                candidate_ids=shown.candidate_ids,
                annotator=who.pseudonym,
                provenance=who.kind,
                verdict=part.verdict,
                strength=strength or part.strength,
                reasons=tuple(reasons(values, used)),
                rationale=values.get(mapping.rationale or "") or None,
                correction=values.get(mapping.correction or "") or None,
                created_at=moment(one["updated_at"]),
            )
        )


def _record(row: Json, mapping: ImportMapping) -> tuple[Prompt, dict[str, Candidate]]:
    """The question, and the answers that there are, by field."""
    asked = _messages(row["fields"].get(mapping.prompt), "user")
    if asked and asked[-1].role == "assistant":
        raise ValueError(f"{mapping.prompt}: ends with the assistant's turn, so nothing waits for an answer")
    prompt = Prompt(messages=asked, source=f"argilla:{row.get('external_id') or row['id']}")
    sides = {}
    for name in mapping.answers:
        said = _messages(row["fields"].get(name), "assistant")
        if said and any(one.content.strip() for one in said):
            model = (row.get("metadata") or {}).get(mapping.models.get(name, ""), name)
            sides[name] = Candidate(prompt_id=prompt.id, completion=said, model=str(model))
    if not sides:
        raise ValueError("no answer in it")
    return prompt, sides


def _messages(value: Any, role: str) -> tuple[Message, ...]:
    """A text is one turn; a chat's turns keep their roles."""
    if isinstance(value, str):
        return (Message.model_validate({"role": role, "content": value}),) if value.strip() else ()
    turns = value if isinstance(value, list) else []
    return tuple(Message.model_validate({"role": one["role"], "content": one["content"]}) for one in turns)


def _there(name: str, known: Mapping[str, str], what: str) -> None:
    if name not in known:
        near = get_close_matches(name, known, n=1)
        hint = f"did you mean `{near[0]}`?" if near else f"there are: {', '.join(known)}"
        raise RecordError(f"mapping: the data set has no {what} `{name}`; {hint}")
