"""People judge at a real server; what they said comes back whole, and what happened to it meanwhile is noticed."""

from __future__ import annotations

import json
import sqlite3
import uuid
from pathlib import Path

import httpx
import pytest

from align.adapters.argilla.client import Argilla as Client
from align.adapters.argilla.settings import settings
from align.configs import LabelConfig
from align.errors import RecipeError, RecordError
from align.records import Judgment, Ordering
from tests.adapters.argilla.conftest import Argilla
from tests.adapters.argilla.made import Annotator, Work, desk, eggs


def owner(argilla: Argilla) -> Client:
    return Client(argilla.url, argilla.key)


def put_up(argilla: Argilla, kept: Path, name: str, work: Work, **knobs: object):
    found = desk(argilla.home.path, kept, name, **knobs)
    found.publish(work.prompts, work.candidates, work.comparisons)
    return found


def test_what_is_said_comes_back_with_who_when_strength_and_words(argilla, tmp_path):
    work = eggs(4)
    at = put_up(argilla, tmp_path, "whole", work, n=1)
    assert at.pull() == []
    assert "0 submitted, 0 drafts, 0 discarded" in at.where()
    ann = argilla.add("human")
    says = {
        one.id: values
        for one, values in zip(
            work.comparisons,
            (
                {"preference": "a", "strength": 3, "rationale": "It says <b>how</b> & why: 100 % $&"},
                {"preference": "b", "correction": "Ten </script> minutes."},
                {"preference": "tie", "strength": 1},
                {"preference": "both_bad"},
            ),
            strict=True,
        )
    }
    n = Annotator(argilla.url, ann.api_key).judges(at.dataset_id, lambda record: says[record["external_id"]])
    assert n == 4
    found = {one.comparison_id: one for one in at.pull()}
    first, second, third, fourth = (found[one.id] for one in work.comparisons)
    a, b = work.comparisons[0].candidate_ids
    assert first.verdict == Ordering(groups=((a,), (b,)))
    assert (first.strength, first.rationale) == (3, "It says <b>how</b> & why: 100 % $&")
    a, b = work.comparisons[1].candidate_ids
    assert (second.verdict, second.correction) == (Ordering(groups=((b,), (a,))), "Ten </script> minutes.")
    assert third.verdict == Ordering(groups=(work.comparisons[2].candidate_ids,))
    assert fourth.verdict == Ordering(groups=(work.comparisons[3].candidate_ids,), both_bad=True)
    assert {one.provenance for one in found.values()} == {"human"}
    assert len({one.annotator for one in found.values()}) == 1
    assert ann.username not in first.annotator, "a pseudonym"
    assert f"{ann.username} 4 of 4" in at.where()
    assert all(one.created_at and one.created_at.endswith("+00:00") for one in found.values())
    again = desk(argilla.home.path, tmp_path, "whole", n=1)
    again.publish(work.prompts, work.candidates, work.comparisons)
    assert again.pull() == at.pull(), "another process reads the same"


def test_twice_is_once_and_new_comparisons_join_the_old(argilla, tmp_path):
    few, more = eggs(3), eggs(5)
    at = put_up(argilla, tmp_path, "twice", few)
    person = Annotator(argilla.url, argilla.add().api_key)
    person.judges(at.dataset_id, lambda record: {"preference": "a"})
    for kept in (tmp_path, tmp_path, tmp_path / "another machine"):
        again = put_up(argilla, kept, "twice", more)
        assert again.dataset_id == at.dataset_id
        assert len(again.server.records(at.dataset_id)) == 5
        assert len(again.pull()) == 3


def test_annotators_see_no_models_name_and_no_suggestion(argilla, tmp_path):
    at = put_up(argilla, tmp_path, "blind", eggs(3))
    for record in Annotator(argilla.url, argilla.add().api_key).records(at.dataset_id):
        assert "secret" not in str(record)
        assert record["metadata"].keys() == {"words", "round"}
        assert not record.get("suggestions")
    assert {one["metadata"]["model_a"] for one in at.server.records(at.dataset_id)} <= {"secret-left", "secret-right"}


def test_drafts_and_discarded_are_counted_and_not_used(argilla, tmp_path):
    at = put_up(argilla, tmp_path, "drafts", eggs(3), n=1)
    person = Annotator(argilla.url, argilla.add().api_key)
    first, second, third = person.records(at.dataset_id)
    person.says(first["id"], status="draft", preference="a")
    person.says(second["id"], status="discarded")
    assert at.pull() == []
    assert "0 submitted, 1 drafts, 1 discarded" in at.where()
    person.says(third["id"], preference="a")
    assert len(at.pull()) == 1
    person.says(third["id"], status="discarded", preference="a")
    assert at.pull() == []
    assert [row["reason"] for row in at.told().set_aside] == ["withdrawn"]


def test_a_changed_mind_is_the_later_one_with_the_earlier_kept(argilla, tmp_path):
    at = put_up(argilla, tmp_path, "mind", eggs(1), n=1)
    person = Annotator(argilla.url, argilla.add().api_key)
    record = person.records(at.dataset_id)[0]["id"]
    for choice in ("a", "b", "tie"):
        person.says(record, preference=choice)
        at.pull()
    said = at.pull()
    assert [len(one.verdict.groups) for one in said if isinstance(one.verdict, Ordering)] == [2, 2, 1]
    assert said == sorted(said, key=lambda one: one.created_at or "")


def test_answers_that_vanish_with_their_account_stop_the_run_until_the_recipe_says_what_to_do(argilla, tmp_path):
    work = eggs(3)
    at = put_up(argilla, tmp_path, "gone", work)
    leaver, stayer = argilla.add(), argilla.add()
    for one in (leaver, stayer):
        Annotator(argilla.url, one.api_key).judges(at.dataset_id, lambda record: {"preference": "b"})
    before = at.pull()
    assert len(before) == 6
    owner(argilla).ask("DELETE", f"/api/v1/users/{leaver.user_id}")
    for _ in range(2):
        with pytest.raises(RecordError, match=rf"3 answers of {leaver.username}, pulled before, are gone from the ser"):
            at.pull()
    notes: list[str] = []
    keeping = put_up(argilla, tmp_path, "gone", work, vanished="keep", note=notes.append)
    assert sorted(one.id for one in keeping.pull()) == sorted(one.id for one in before)
    assert notes == ["3 answers that were pulled before are gone from the server: used as pulled"]
    dropping = put_up(argilla, tmp_path, "gone", work, vanished="drop")
    assert len(dropping.pull()) == 3
    assert {row["reason"] for row in dropping.told().set_aside} == {"gone from the server"}


def test_a_comparison_edited_on_the_server_is_void_and_put_up_again_once_removed(argilla, tmp_path):
    work = eggs(2)
    at = put_up(argilla, tmp_path, "edited", work, n=1)
    person = Annotator(argilla.url, argilla.add().api_key)
    person.judges(at.dataset_id, lambda record: {"preference": "a"})
    assert len(at.pull()) == 2
    victim = at.server.records(at.dataset_id)[0]
    fields = victim["fields"] | {"pair": victim["fields"]["pair"] | {"a": {"text": "Something else."}}}
    item = {"external_id": victim["external_id"], "fields": fields, "metadata": victim["metadata"]}
    at.server.ask("PUT", f"/api/v1/datasets/{at.dataset_id}/records/bulk", json={"items": [item]})
    assert len(at.pull()) == 1
    assert [row["reason"] for row in at.told().set_aside] == ["of text that was changed on the server"]
    assert "1 records were changed on the server" in at.where()
    at.server.ask("DELETE", f"/api/v1/datasets/{at.dataset_id}/records", params={"ids": victim["id"]})
    assert len(at.pull()) == 1
    assert len(at.server.records(at.dataset_id)) == 2, "it is put up again"
    assert "records were changed on the server" not in at.where()


def test_a_question_that_was_changed_is_refused_with_the_difference(argilla, tmp_path):
    work = eggs(2)
    at = put_up(argilla, tmp_path, "options", work)
    person = Annotator(argilla.url, argilla.add().api_key)
    person.judges(at.dataset_id, lambda record: {"preference": "a"}, most=1)
    _, questions = at.server.settings(at.dataset_id)
    changed = next(one for one in questions if one["name"] == "preference")
    for option in changed["settings"]["options"]:
        option["value"] = option["value"].replace("both_bad", "neither")
    with sqlite3.connect(argilla.home.database, timeout=20) as base:  # Argilla itself refuses to change options
        name, text = uuid.UUID(changed["id"]).hex, json.dumps(changed["settings"])
        assert base.execute("UPDATE questions SET settings = ? WHERE id = ?", (text, name)).rowcount == 1
    person.judges(at.dataset_id, lambda record: {"preference": "neither"})
    assert at.pull() == []
    assert [row["reason"] for row in at.told().set_aside] == ["of an unknown option"] * 2
    with pytest.raises(RecordError, match=r"question `preference`: options a, b, tie, both_bad → a, b, tie, neither"):
        put_up(argilla, tmp_path, "options", work)


def test_somebody_elses_data_set_of_our_name_is_refused_with_the_difference(argilla, tmp_path):
    at = desk(argilla.home.path, tmp_path, "theirs")
    place = at.server.workspaces()["align"]
    made = at.server.ask("POST", "/api/v1/datasets", json={"name": at.settings.name, "workspace_id": place})
    path = f"/api/v1/datasets/{made['id']}"
    field = {"name": "text", "title": "text", "required": True, "settings": {"type": "text"}}
    at.server.ask("POST", f"{path}/fields", json=field)
    question = {"name": "preference", "title": "?", "required": True, "settings": {"type": "text"}}
    at.server.ask("POST", f"{path}/questions", json=question)
    at.server.ask("PUT", f"{path}/publish")
    work = eggs(1)
    expected = (
        r"field `pair` is gone; field `text` was added; question `strength` is gone; .*preference`: type label_sele"
    )
    with pytest.raises(RecordError, match=expected):
        at.publish(work.prompts, work.candidates, work.comparisons)


def test_a_renamed_data_set_is_refused(argilla, tmp_path):
    at = put_up(argilla, tmp_path, "name", eggs(1))
    at.server.ask("PATCH", f"/api/v1/datasets/{at.dataset_id}", json={"name": "something else"})
    with pytest.raises(RecordError, match=r"renamed on the server: name name-\w{8} → something else; name it back"):
        put_up(argilla, tmp_path, "name", eggs(1))


def test_a_draft_that_a_kill_left_behind_is_made_anew(argilla, tmp_path):
    at = desk(argilla.home.path, tmp_path, "draft")
    place = at.server.workspaces()["align"]
    at.server.ask("POST", "/api/v1/datasets", json={"name": at.settings.name, "workspace_id": place})
    work = eggs(2)
    at.publish(work.prompts, work.candidates, work.comparisons)
    assert at.server.datasets(place)[at.settings.name]["status"] == "ready"
    assert len(at.server.records(at.dataset_id)) == 2


def test_a_workspace_that_looks_like_a_slip_is_not_made(argilla, tmp_path):
    with pytest.raises(RecordError, match=r"workspace: `algin` is not there, but .*align.*; did you mean `align`\?"):
        put_up(argilla, tmp_path, "slip", eggs(1), workspace="algin")


def test_an_account_nobody_declared_is_never_a_person(argilla, tmp_path):
    at = put_up(argilla, tmp_path, "kinds", eggs(2), n=1)
    Annotator(argilla.url, argilla.key).judges(at.dataset_id, lambda record: {"preference": "a"}, most=1)
    Annotator(argilla.url, argilla.add("judge").api_key).judges(at.dataset_id, lambda record: {"preference": "a"})
    assert [one.provenance for one in at.pull()] == ["judge", "judge"]
    assert [row["reason"] for row in at.told().set_aside] == [
        "of an account that was never said to be a person's, a script's or a judge's"
    ]


def test_a_lost_or_edited_pull_is_noticed(argilla, tmp_path):
    at = put_up(argilla, tmp_path, "chain", eggs(2), n=1)
    person = Annotator(argilla.url, argilla.add().api_key)
    for choice in ("a", "b"):
        person.judges(at.dataset_id, lambda record, choice=choice: {"preference": choice})
        at.pull()
    first, second = sorted((at.book.folder / "pulls").iterdir())
    text = first.read_text()
    first.write_text(text.replace('"a"', '"b"'))
    with pytest.raises(Exception, match=r"000002\.jsonl: does not follow the pull before it"):
        at.pull()
    first.write_text(text)
    at.pull()
    assert sorted((at.book.folder / "pulls").iterdir()) == [first, second], "nothing new, nothing written"


def test_min_submitted_and_guidelines_follow_the_recipe(argilla, tmp_path):
    work = eggs(1)
    at = put_up(argilla, tmp_path, "overlap", work, n=2)
    again = put_up(argilla, tmp_path, "overlap", work, n=3)
    assert again.dataset_id == at.dataset_id
    now = at.server.ask("GET", f"/api/v1/datasets/{at.dataset_id}")
    assert now["distribution"]["min_submitted"] == 3
    assert "| `d` `r` |" in now["guidelines"]
    assert "3 annotators are needed for each" not in at.where()
    again.pull()


def test_nobody_to_judge_is_said_with_how_to_add_somebody(argilla, tmp_path):
    place = owner(argilla).make_workspace("empty")
    assert place
    at = put_up(argilla, tmp_path, "nobody", eggs(1), workspace="empty")
    at.pull()
    assert "2 annotators are needed for each and nobody may judge: align argilla users add NAME" in at.where()


def test_any_server_is_spoken_to_by_address_and_an_admins_key_with_the_kinds_that_the_recipe_gives(
    argilla, tmp_path, monkeypatch
):
    ours = owner(argilla)
    admin = {"username": "the-admin", "first_name": "a", "role": "admin", "password": "long enough"}
    account = ours.ask("POST", "/api/v1/users", json=admin)
    ours.ask("POST", f"/api/v1/workspaces/{ours.workspaces()['align']}/users", json={"user_id": account["id"]})
    monkeypatch.setenv("LABELS_URL", argilla.url)
    monkeypatch.setenv("LABELS_KEY", account["api_key"])
    person, robot = argilla.add("human"), argilla.add("human", "robot-of-theirs")
    theirs = {"url": "${env:LABELS_URL}", "key": "${env:LABELS_KEY}", "kinds": {robot.username: "simulated"}}
    at = put_up(argilla, tmp_path, "foreign", eggs(2), n=2, layout="plain", **theirs)
    for one in (person, robot):
        Annotator(argilla.url, one.api_key).judges(at.dataset_id, lambda record: {"preference": "b"})
    assert sorted(one.provenance for one in at.pull()) == ["human", "human", "simulated", "simulated"]
    with pytest.raises(RecordError, match=r"workspace: `elsewhere` is not there, but align; only an owner's key can"):
        put_up(argilla, tmp_path, "foreign", eggs(2), workspace="elsewhere", **theirs)
    changed = theirs | {"kinds": {}}
    with pytest.raises(
        RecordError, match=r"robot-of-theirs: judgments of this account are `simulated` and cannot become"
    ):
        put_up(argilla, tmp_path, "foreign", eggs(2), n=2, layout="plain", **changed).pull()


def test_one_who_has_judged_all_alone_is_said(argilla, tmp_path):
    at = put_up(argilla, tmp_path, "alone", eggs(2))
    account = argilla.add()
    argilla.add()
    Annotator(argilla.url, account.api_key).judges(at.dataset_id, lambda record: {"preference": "a"})
    at.pull()
    assert f"{account.username} has judged all, and others nothing yet" in at.where()


def test_a_guideline_that_is_no_text_is_the_recipes_mistake(argilla, tmp_path):
    (tmp_path / "g.md").write_bytes(b"Prefer \xff")
    config = LabelConfig(desk="argilla", guideline=str(tmp_path / "g.md"))
    with pytest.raises(RecipeError, match=r"g\.md: not UTF-8 at byte 7"):
        settings(config)


def test_judgments_are_ours_whole(argilla, tmp_path):
    at = put_up(argilla, tmp_path, "ours", eggs(1), n=1)
    Annotator(argilla.url, argilla.add().api_key).judges(at.dataset_id, lambda record: {"preference": "a"})
    (one,) = at.pull()
    assert Judgment.model_validate(one.model_dump()) == one
    assert httpx.get(f"{argilla.url}/api/v1/version").json()["version"].startswith("2.8")
