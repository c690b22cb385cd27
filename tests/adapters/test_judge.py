"""A judge's word counts when it can be read, in both seats, and nothing of it is lost to a server that misbehaves."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from align.adapters.judge import wording
from align.adapters.judge.desk import JudgeDesk
from align.configs import JudgeConfig
from align.errors import BackendError, RecordError
from align.preference.asking import again, comparisons
from align.preference.votes import tally
from align.records import Candidate, Judgment, Message, Ordering, Prompt
from align.store import jsonl
from tests.adapters.judging_server import Judging, serving, the_longer

PROMPTS = {
    one.id: one for one in (Prompt(messages=(Message(role="user", content=f"Question {i}?"),)) for i in range(8))
}
ANSWERS = {
    one.id: one
    for prompt in PROMPTS
    for i, text in enumerate(("Yes.", "No, and here is why.", "Perhaps so, perhaps not; who is to say?"))
    for one in [Candidate(prompt_id=prompt, completion=(Message(role="assistant", content=text),), model="m", sample=i)]
}
SHOWN = comparisons(ANSWERS.values(), PROMPTS, per_prompt=3, guideline=None, round=1, seed=0)
BOTH = SHOWN + again(SHOWN, share=1, seed=0)


def desk(judging: Judging, work: Path, **knobs: Any) -> JudgeDesk:
    work.mkdir(exist_ok=True, parents=True)
    settings = {"urls": (judging.url,), "model": "judge-1", "null_controls": 4, "attempts": 4, "timeout_s": 5} | knobs
    made = JudgeDesk(JudgeConfig(**settings), guideline="Prefer what is true.", seed=0, work=work)
    made.publish(PROMPTS, ANSWERS, BOTH)
    return made


def winner(one: Judgment) -> str | None:
    assert isinstance(one.verdict, Ordering)
    return one.verdict.groups[0][0] if len(one.verdict.groups) == 2 else None


def sensible(conversation: str, a: str, b: str) -> str:
    """Prefers the longer answer, and an answer to one that only asks to be preferred."""
    null = wording.NULL_ANSWER
    return f"VERDICT: {'B' if a == null else 'A'}" if null in (a, b) else the_longer(conversation, a, b)


def test_every_pair_is_asked_in_both_seats_and_what_was_said_is_kept(tmp_path: Path) -> None:
    with serving(Judging(sensible)) as judging:
        asked = desk(judging, tmp_path)
        found = asked.pull()
    assert len(found) == len(BOTH) == 48
    assert {one.provenance for one in found} == {"judge"}
    assert {one.annotator for one in found} == {"judge judge-1"}
    by_pair = tally(found)
    assert len(by_pair) == len(SHOWN)
    for one in by_pair:
        assert [len(vote.judgments) for vote in one.votes] == [2]
        assert one.leader == max((one.first, one.second), key=lambda name: len(ANSWERS[name].text))
    assert {one.rationale for one in found} == {"I counted."}
    told = asked.told().counts
    assert (told["n_asked"], told["n_read"], told["unreadable"]) == (48, 48, {})
    assert told["null_control"]["n"] == 8
    assert told["null_control"]["share"] == 0


def test_a_judge_that_likes_a_seat_gives_no_winner_and_is_found_out(tmp_path: Path) -> None:
    with serving(Judging(lambda *_: "VERDICT: A")) as judging:
        found = desk(judging, tmp_path, max_null_share=1).pull()
    assert {one.leader for one in tally(found)} == {None}
    from align.preference.annotators import annotators
    from align.preference.suspects import suspects

    (record,) = annotators(found)
    assert record.first_shown.share == 1
    assert (record.consistent.n, record.consistent.share) == (24, 0)
    assert {fault.monitor for fault in suspects([record])[record.name]} == {"side", "consistent"}


def test_a_judge_that_falls_for_an_answer_that_says_nothing_is_refused(tmp_path: Path) -> None:
    def gullible(conversation: str, a: str, b: str) -> str:
        return f"VERDICT: {'A' if 'complete and correct' in a else 'B' if 'complete and correct' in b else 'TIE'}"

    with serving(Judging(gullible)) as judging:
        with pytest.raises(RecordError, match=r"says nothing but asks to be preferred won 100% of 8 comparisons"):
            desk(judging, tmp_path).pull()
        assert judging.n == 8, "the comparisons themselves were not asked"
        assert len(desk(judging, tmp_path, max_null_share=1).pull()) == 48


REPLIES: dict[str, tuple[str, str | None]] = {
    "11/10": ("11/10", "no verdict"),
    "refusal": ("I'm sorry, but I can't compare these.", "no verdict"),
    "empty": ("  \n", "empty"),
    "a sentence": ("VERDICT: A, clearly", "no verdict"),
    "lower case": ("verdict: a", "no verdict"),
    "two minds": ("VERDICT: B\nOn reflection:\nVERDICT: A", "several verdicts"),
    "after it": ("VERDICT: A\nI hope this helps!", "no verdict"),
    "unfinished thought": ("<think>A is\nVERDICT: A", "cut off"),
    "thought first": ("<think>B?\nVERDICT: B</think>\nVERDICT: A", None),
    "reasons first": ("A is right.\n\nVERDICT: A\n", None),
}


@pytest.mark.parametrize("name", REPLIES)
def test_a_reply_is_read_strictly_and_never_into_a_tie(name: str) -> None:
    reply, problem = REPLIES[name]
    found = wording.read(reply, finished="stop")
    assert found.problem == problem
    assert found.choice == (None if problem else "A")
    assert wording.read(reply, finished="length").choice is None


def test_what_cannot_be_read_is_counted_kept_and_closed(tmp_path: Path) -> None:
    def half_hearted(conversation: str, a: str, b: str) -> str:
        return "11/10" if "Question 3" in conversation else sensible(conversation, a, b)

    with serving(Judging(half_hearted)) as judging:
        asked = desk(judging, tmp_path, min_readable=0.8)
        found = asked.pull()
        with pytest.raises(RecordError, match=r"only 42 of 48 verdicts can be read \(6 no verdict\), expected 90%"):
            desk(judging, tmp_path).pull()
    told = asked.told()
    assert len(found) == 42
    assert told.counts["unreadable"] == {"no verdict": 6}
    assert {row["reply"] for row in told.set_aside} == {"11/10"}
    assert {row["comparison_id"] for row in told.set_aside} == told.closed
    assert len(told.closed) == 6


@pytest.mark.parametrize("fault", ["503", "429", "reset", "html", "half"])
def test_a_storm_is_sat_out_and_changes_no_verdict(tmp_path: Path, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from align.adapters.judge import endpoint

    monkeypatch.setattr(endpoint, "LONGEST_PAUSE_S", 0.02)
    with serving(Judging(sensible)) as calm:
        expected = desk(calm, tmp_path / "calm").pull()
    stormy = Judging(sensible, fault=lambda n: fault if n % 3 else "none")  # type: ignore[arg-type,return-value]
    with serving(stormy) as judging:
        found = desk(judging, tmp_path / "stormy", attempts=40).pull()
    assert found == expected
    assert stormy.n > 1.5 * len(BOTH)


@pytest.mark.parametrize("fault", ["hang", "drip"])
def test_one_that_hangs_costs_its_time_and_no_more(tmp_path: Path, fault: str) -> None:
    slow = Judging(sensible, fault=lambda n: fault if n in (3, 17) else "none")  # type: ignore[arg-type,return-value]
    began = time.monotonic()
    with serving(slow) as judging:
        found = desk(judging, tmp_path, timeout_s=0.6).pull()
    assert len(found) == 48
    assert time.monotonic() - began < 8


FATAL = {
    "401": (r"answers HTTP 401: the key is not taken; set judge\.key", {}),
    "redirect": (r"answers HTTP 307: it is elsewhere", {}),
    "503": (r"answers HTTP 503, after 2 attempts; start it or wait; 0 of 8 replies are kept: run again", {}),
    "hang": (r"after 2 attempts", {"timeout_s": 0.2}),
}


@pytest.mark.parametrize("fault", FATAL)
def test_what_will_not_mend_is_said_in_one_line(tmp_path: Path, fault: str) -> None:
    message, knobs = FATAL[fault]
    always = Judging(fault=lambda _: fault)  # type: ignore[arg-type,return-value]
    with serving(always) as judging, pytest.raises(BackendError, match=message) as failed:
        desk(judging, tmp_path, attempts=2, **knobs).pull()
    assert "\n" not in str(failed.value)


def test_a_judge_that_is_down_or_somebody_else_is_named(tmp_path: Path) -> None:
    with serving(Judging()) as judging:
        judging.models = ["another"]
        with pytest.raises(BackendError, match=r"`judge-1` is not served: http://127.*: serves another; start it"):
            desk(judging, tmp_path).pull()
    with pytest.raises(BackendError, match=r"`judge-1` is not served: http://127.*refused"):
        desk(judging, tmp_path).pull()


def test_a_request_too_long_for_it_is_unreadable_and_the_rest_is_judged(tmp_path: Path) -> None:
    refusing = Judging(sensible, fault=lambda n: "400" if n == 20 else "none")
    with serving(refusing) as judging:
        asked = desk(judging, tmp_path, concurrency=1)
        assert len(asked.pull()) == 47
    assert asked.told().counts["unreadable"] == {"refused by the server": 1}
    assert "no: 400" in asked.told().set_aside[0]["reply"]


def test_what_was_heard_before_a_failure_is_not_asked_again(tmp_path: Path) -> None:
    with serving(Judging(sensible)) as calm:
        expected = desk(calm, tmp_path / "calm").pull()
    dying = Judging(sensible, fault=lambda n: "503" if n > 30 else "none")
    with serving(dying) as judging, pytest.raises(BackendError, match=r"22 of 48 replies are kept"):
        desk(judging, tmp_path / "work", attempts=1, concurrency=1).pull()
    with serving(Judging(sensible)) as judging:
        found = desk(judging, tmp_path / "work").pull()
        assert judging.n == 56 - 30
    assert found == expected
    journal = tmp_path / "work" / "judge.jsonl"
    whole = journal.read_bytes()
    journal.write_bytes(whole[: len(whole) - 40])
    with serving(Judging(sensible)) as judging:
        assert desk(judging, tmp_path / "work").pull() == expected
        assert judging.n == 1, "a torn last line costs one question"


def test_several_addresses_stand_in_for_each_other(tmp_path: Path) -> None:
    with serving(Judging(sensible)) as one, serving(Judging(sensible, fault=lambda _: "503")) as other:
        found = desk(one, tmp_path, urls=(other.url, one.url)).pull()
    assert len(found) == 48
    assert other.n >= 20, "both were asked"


def test_the_key_is_sent_and_written_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_KEY", "canary-1234567890")
    with serving(Judging(sensible)) as judging:
        desk(judging, tmp_path, key="${env:JUDGE_KEY}").pull()
    assert set(judging.keys) == {"Bearer canary-1234567890"}
    assert all(b"canary" not in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_what_an_answer_says_to_the_judge_stands_between_marks_it_could_not_know(tmp_path: Path) -> None:
    bodies = []
    with serving(Judging(sensible)) as judging:
        desk(judging, tmp_path).pull()
        bodies = judging.asked
    marks = Counter(body["messages"][0]["content"].split("carry the code ")[1].split()[0] for body in bodies)
    assert len(marks) == len(bodies), "each question has a code of its own"
    assert all("Prefer what is true." in body["messages"][0]["content"] for body in bodies)
    assert all("VERDICT" not in body["messages"][1]["content"] for body in bodies)


def test_time_that_is_over_stops_it(tmp_path: Path) -> None:
    with serving(Judging(sensible)) as judging, pytest.raises(BackendError, match=r"judge\.deadline_s is over"):
        desk(judging, tmp_path, deadline_s=1e-9).pull()


def test_offline_allows_a_judge_on_this_machine_alone(tmp_path: Path) -> None:
    tmp_path.mkdir(exist_ok=True)
    config = JudgeConfig(urls=("https://judge.example/v1",), model="judge-1")
    far = JudgeDesk(config, guideline=None, seed=0, work=tmp_path, offline=True)
    far.publish(PROMPTS, ANSWERS, BOTH)
    with pytest.raises(BackendError, match=r"runtime\.offline forbids"):
        far.pull()


def test_the_journal_holds_replies_and_not_what_was_asked(tmp_path: Path) -> None:
    with serving(Judging(sensible)) as judging:
        desk(judging, tmp_path).pull()
    rows = [row for _, row in jsonl.rows(tmp_path / "judge.jsonl")]
    assert {frozenset(row) for row in rows} == {frozenset(("key", "reply", "finished"))}


CHILD = """\
import sys
from pathlib import Path
from tests.adapters.test_judge import BOTH, desk
from tests.adapters.judging_server import Judging
judging = Judging()
judging.url = sys.argv[1]
found = desk(judging, Path(sys.argv[2]), concurrency=2).pull()
print(len(found))
"""


def test_a_kill_loses_what_was_in_flight_and_nothing_else(tmp_path: Path) -> None:
    def slow(conversation: str, a: str, b: str) -> str:
        time.sleep(0.05)
        return sensible(conversation, a, b)

    root = Path(__file__).parents[2]
    with serving(Judging(slow)) as judging:
        child = subprocess.Popen([sys.executable, "-c", CHILD, judging.url, str(tmp_path)], cwd=root)
        journal = tmp_path / "judge.jsonl"
        deadline = time.monotonic() + 60
        while not journal.exists() or journal.read_bytes().count(b"\n") < 20:
            assert child.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        child.kill()
        child.wait(10)
        time.sleep(0.3)
        before = judging.n
        assert len(desk(judging, tmp_path, concurrency=2).pull()) == 48
        heard = 56 - (judging.n - before)
        assert before - heard <= 2, f"{before} were asked before the kill, {heard} of them had not to be asked again"
        assert heard >= 20
