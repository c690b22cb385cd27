"""How far people are: by data set and annotator, as the server counts it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from align.adapters.argilla.process import running
from align.adapters.argilla.rest import call

if TYPE_CHECKING:
    from align.adapters.argilla.home import Home

STATUSES = ("submitted", "draft", "discarded")


def progress(home: Home) -> dict[str, Any]:
    """`running`; and where it does: url, pid, since, and of each data set its records, those completed, and answers."""
    holder = running(home)
    if holder is None:
        return {"running": False}
    owner = home.credentials()

    def ask(path: str) -> dict[str, Any]:
        return call(owner.url, "GET", path, api_key=owner.api_key)

    workspaces = {row["id"]: row["name"] for row in ask("me/workspaces")["items"]}
    told = []
    for row in ask("me/datasets")["items"]:
        counted = ask(f"datasets/{row['id']}/progress")
        annotators = {}
        for one in ask(f"datasets/{row['id']}/users/progress")["users"]:
            parts = [one.get(state) or {} for state in ("completed", "pending")]
            annotators[one["username"]] = {name: sum(part.get(name) or 0 for part in parts) for name in STATUSES}
        told.append({
            "workspace": workspaces.get(row["workspace_id"], row["workspace_id"]), "name": row["name"], "id": row["id"],
            "records": counted["total"], "completed": counted["completed"],
            "min_submitted": row["distribution"]["min_submitted"], "annotators": annotators,
        })  # fmt: skip
    return {"running": True, "url": owner.url, "pid": holder["pid"], "since": holder["since"], "datasets": told}
