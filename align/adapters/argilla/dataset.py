"""The workspace and the data set of a desk: made where there is none, refused where they are not what they were."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

from align.adapters.argilla.book import Book
from align.adapters.argilla.client import Argilla, Refused
from align.adapters.argilla.settings import METADATA, Settings, differences
from align.configs.argilla import ArgillaConfig
from align.errors import RecordError

Json = dict[str, Any]


def open_workspace(server: Argilla, asked: ArgillaConfig) -> str:
    """Its id. One that is not there is made by an owner, unless its name looks like a slip."""
    known = server.workspaces()
    name = asked.workspace
    if name in known:
        return known[name]
    near = get_close_matches(name, known, n=1, cutoff=0.8)
    told = ", ".join(sorted(known)) or "none"
    if near or server.me()["role"] != "owner":
        hint = f"did you mean `{near[0]}`?" if near else "only an owner's key can make one"
        raise RecordError(f"label.argilla.workspace: `{name}` is not there, but {told}; {hint}")
    return server.make_workspace(name)


def open_dataset(server: Argilla, workspace_id: str, wanted: Settings, book: Book) -> str:
    """The id of the published data set; RecordError with the differences where the server's is not ours any more."""
    found = server.datasets(workspace_id).get(wanted.name)
    before = book.dataset()
    if found is None and before:
        _refuse_renamed(server, before, wanted)
    if found is not None and found["status"] == "draft":  # a kill between its making and its publishing
        server.ask("DELETE", f"/api/v1/datasets/{found['id']}")
        found = None
    if found is None:
        try:
            found = make(server, workspace_id, wanted)
        except Refused as no:
            if no.status != 409:
                raise
            raise RecordError(f"{wanted.name}: another program is making it at this moment; run again") from no
    else:
        _keep_up(server, found, wanted)
    if before.get("id") != found["id"]:
        book.remember(id=found["id"], name=wanted.name, workspace_id=workspace_id)
    return str(found["id"])


def make(server: Argilla, workspace_id: str, wanted: Settings) -> Json:
    """A published data set, empty."""
    made = server.ask(
        "POST",
        "/api/v1/datasets",
        json={
            "name": wanted.name,
            "guidelines": wanted.guidelines,
            "workspace_id": workspace_id,
            "allow_extra_metadata": False,
            "distribution": {"strategy": "overlap", "min_submitted": wanted.min_submitted},
        },
    )
    place = f"/api/v1/datasets/{made['id']}"
    for part, items in (("fields", wanted.fields), ("questions", wanted.questions), ("metadata-properties", METADATA)):
        for item in items:
            server.ask("POST", f"{place}/{part}", json=item)
    return dict(server.ask("PUT", f"{place}/publish"))


def _keep_up(server: Argilla, found: Json, wanted: Settings) -> None:
    """Refuse what changes the meaning of answers; bring up to date what does not."""
    fields, questions = server.settings(found["id"])
    if changed := differences(fields, questions, wanted):
        raise RecordError(
            f"{wanted.name}: changed on the server since it was put up: {'; '.join(changed)}; change it back there, or "
            "give label.argilla.dataset another name to begin anew"
        )
    ours = {one["name"]: one["settings"] for one in wanted.fields}
    for field in fields:
        if field["name"] in ours and any(field["settings"].get(k) != v for k, v in ours[field["name"]].items()):
            server.ask("PATCH", f"/api/v1/fields/{field['id']}", json={"settings": ours[field["name"]]})
    patch: Json = {}
    if found.get("guidelines") != wanted.guidelines:
        patch["guidelines"] = wanted.guidelines
    if found["distribution"]["min_submitted"] != wanted.min_submitted:
        patch["distribution"] = {"strategy": "overlap", "min_submitted": wanted.min_submitted}
    if patch:
        server.ask("PATCH", f"/api/v1/datasets/{found['id']}", json=patch)


def _refuse_renamed(server: Argilla, before: Json, wanted: Settings) -> None:
    try:
        now = server.ask("GET", f"/api/v1/datasets/{before['id']}")
    except Refused as no:
        if no.status in (403, 404):
            return  # removed: what had been answered there is missed when it is pulled
        raise
    if now["name"] != wanted.name:
        raise RecordError(
            f"{wanted.name}: renamed on the server: name {wanted.name} → {now['name']}; name it back there, or give "
            "label.argilla.dataset another name to begin anew"
        )
