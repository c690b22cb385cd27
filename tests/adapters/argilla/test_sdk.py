"""Argilla's own SDK against the embedded server: who has scripts of that kind can keep them."""

from __future__ import annotations

from typing import Any

import pytest

from align.adapters.argilla.rest import call
from tests.adapters.argilla.conftest import Argilla


@pytest.fixture(scope="module")
def rg() -> Any:
    import argilla

    return argilla


def test_a_script_of_the_sdk_makes_a_data_set_fills_it_answers_searches_and_exports(argilla: Argilla, rg: Any) -> None:
    client = rg.Argilla(api_url=argilla.url, api_key=argilla.key)
    settings = rg.Settings(
        fields=[rg.ChatField(name="prompt"), rg.TextField(name="first"), rg.TextField(name="second")],
        questions=[
            rg.LabelQuestion(name="better", labels=["first", "second"]),
            rg.TextQuestion(name="why", required=False),
        ],
        metadata=[rg.TermsMetadataProperty(name="topic"), rg.IntegerMetadataProperty(name="length")],
        distribution=rg.TaskDistribution(min_submitted=1),
    )
    dataset = rg.Dataset(name="by the sdk", workspace="align", settings=settings, client=client)
    dataset.create()
    texts = [f"answer {n} about {'rivers' if n % 3 else 'Straßen'}" for n in range(30)]
    dataset.records.log([
        {"id": f"r{n}", "prompt": [{"role": "user", "content": f"question {n}"}], "first": text, "second": text[::-1],
         "topic": "odd" if n % 2 else "even", "length": n}
        for n, text in enumerate(texts)
    ])  # fmt: skip

    who = argilla.add()
    said = {"better": {"value": "first"}, "why": {"value": "</script> & so on"}}
    first = [row for row in dataset.records if int(row.id[1:]) < 10]
    items = [{"record_id": str(row._server_id), "status": "submitted", "values": said} for row in first]
    told = call(argilla.url, "POST", "me/responses/bulk", {"items": items}, api_key=who.api_key)
    assert [item["error"] for item in told["items"]] == [None] * 10

    def found(**query: Any) -> set[str]:
        return {record.id for record in dataset.records(query=rg.Query(**query))}

    assert found(query="STRASSEN") == {f"r{n}" for n in range(0, 30, 3)}
    assert found(filter=rg.Filter([("metadata.topic", "==", "odd"), ("metadata.length", ">=", 21)])) == {
        f"r{n}" for n in range(21, 30, 2)
    }
    assert len(found(filter=rg.Filter(("status", "==", "completed")))) == 10
    exported = dataset.records(with_responses=True).to_list(flatten=True)
    assert sorted(row["first"] for row in exported) == sorted(texts)
    assert sum(row.get("better.responses") == ["first"] for row in exported) == 10
    assert {row["why.responses"][0] for row in exported if row.get("why.responses")} == {"</script> & so on"}
    assert dataset.progress()["completed"] == 10
    dataset.delete()
