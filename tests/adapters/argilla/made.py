"""Comparisons to put up, and annotators who answer through Argilla's own interface, as its page does."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from align.adapters.argilla.desk import ArgillaDesk
from align.adapters.argilla.opening import open_desk
from align.configs import LabelConfig
from align.configs.argilla import ArgillaConfig
from align.preference.asking import comparisons
from align.records import Candidate, Comparison, Message, Prompt


class Work:
    """Prompts, two answers to each, and the comparisons of them."""

    def __init__(self, questions: Sequence[str], answers: Sequence[tuple[str, str]], *, thinking: str | None = None):
        made = [Prompt(messages=(Message(role="user", content=text),)) for text in questions]
        self.prompts = {one.id: one for one in made}
        both = [
            Candidate(
                prompt_id=prompt.id,
                completion=(Message(role="assistant", content=text),),
                model=f"secret-{side}",
                sample=i,
                thinking=thinking,
            )
            for prompt, pair in zip(made, answers, strict=True)
            for i, (side, text) in enumerate(zip(("left", "right"), pair, strict=True))
        ]
        self.candidates = {one.id: one for one in both}
        self.comparisons = comparisons(both, self.prompts, per_prompt=1, guideline=None, round=1, seed=0)

    def texts(self, one: Comparison) -> tuple[str, str]:
        """What stands under A and under B."""
        first, second = one.candidate_ids
        return self.candidates[first].text, self.candidates[second].text


def eggs(n: int, *, longer: str = "") -> Work:
    """`n` questions, each with a long answer and a short one; every third long answer is `longer` still."""
    return Work(
        [f"How long does egg number {i} boil?" for i in range(n)],
        [(f"Six minutes for egg {i}, from cold water.{longer * (i % 3 == 0)}", f"{i} minutes.") for i in range(n)],
    )


def desk(
    home: Path, kept: Path, name: str, *, n: int = 2, note: Callable[[str], None] = lambda text: None, **knobs: Any
) -> ArgillaDesk:
    """The desk of a recipe that says so."""
    asked = ArgillaConfig.model_validate({"dataset": name, "timeout_s": 20.0, **knobs} | _home(home, knobs))
    return open_desk(LabelConfig(desk="argilla", annotators_per_comparison=n, argilla=asked), kept=kept, note=note)


def _home(home: Path, knobs: Mapping[str, Any]) -> dict[str, Any]:
    return {} if "url" in knobs else {"home": str(home)}


class Annotator:
    """Somebody with an account, at work."""

    def __init__(self, url: str, key: str) -> None:
        self.http = httpx.Client(base_url=url, headers={"X-Argilla-Api-Key": key}, timeout=300, trust_env=False)

    def records(self, dataset_id: str, **query: Any) -> list[dict[str, Any]]:
        """What the page would offer, and nothing else."""
        reply = self.http.post(
            f"/api/v1/me/datasets/{dataset_id}/records/search",
            params={"limit": 1000, "include": "responses"},
            json=query,
        )
        return [one["record"] for one in reply.raise_for_status().json()["items"]]

    def says(self, record_id: str, *, status: str = "submitted", **values: Any) -> None:
        """Answer one record, or change the answer."""
        item = {"record_id": record_id, "status": status, "values": {k: {"value": v} for k, v in values.items()}}
        reply = self.http.post("/api/v1/me/responses/bulk", json={"items": [item]}).raise_for_status().json()
        assert reply["items"][0].get("error") is None, reply

    def judges(self, dataset_id: str, choose: Callable[[dict[str, Any]], dict[str, Any]], *, most: int = 10**6) -> int:
        """Answer up to `most` of all records; how many that was."""
        records = self.records(dataset_id)[:most]
        for record in records:
            self.says(record["id"], **choose(record))
        return len(records)

    def says_all(self, said: Mapping[str, dict[str, Any]]) -> None:
        """Answer many records, fifty in a call."""
        items = [
            {"record_id": record, "status": "submitted", "values": {k: {"value": v} for k, v in values.items()}}
            for record, values in said.items()
        ]
        for start in range(0, len(items), 50):
            reply = self.http.post("/api/v1/me/responses/bulk", json={"items": items[start : start + 50]})
            assert not [one for one in reply.raise_for_status().json()["items"] if one.get("error")]
