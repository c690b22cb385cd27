"""Scores of a file: whatever form its answers come in, the same number; and served, the same to the last bit."""

from __future__ import annotations

import json
import threading
import urllib.request
from contextlib import closing
from pathlib import Path
from urllib.error import HTTPError

import pytest

from align.adapters.reward import TransformersRewarder
from align.adapters.reward_http import HttpRewarder
from align.configs import RuntimeConfig
from align.errors import BackendError
from align.models.load import save
from align.models.reward import new_reward
from align.records import Candidate, Demonstration, Preference, Prompt, Ranking
from align.runner.reward_server import serving
from align.store import jsonl
from tests.cli.conftest import Align
from tests.training.conftest import world
from tests.training.tiny import World, question, turn

__all__ = ["world"]

RUNTIME = RuntimeConfig(device="cpu", dtype="float32", threads=1)
ASKED = question("Ada")
YES, NO = turn("assistant", "Ada lives in Paris."), turn("assistant", "I do not know.")


@pytest.fixture(scope="module")
def scorer(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reward model with a random head that tells answers apart."""
    model, tokenizer = new_reward(world.model, init_std=1.0, seed=3)
    folder = tmp_path_factory.mktemp("scorer") / "model"
    save(model, tokenizer, folder)
    return folder


def test_an_answer_has_one_score_in_whatever_form_it_comes(scorer: Path, align: Align, tmp_path: Path) -> None:
    yes, no = TransformersRewarder(scorer, RUNTIME).reward([(ASKED, YES), (ASKED, NO)])
    assert abs(yes - no) > 0.01
    prompt = Prompt(messages=(ASKED,))
    rows = [
        {"prompt": ASKED.content, "completion": YES.content, "id": 7},
        {"messages": [ASKED.model_dump(exclude_none=True), YES.model_dump(exclude_none=True)]},
        {"prompt": ASKED.content, "completions": [NO.content, YES.content]},
        {"prompt": ASKED.content, "chosen": YES.content, "rejected": NO.content},
        Demonstration(messages=(ASKED, YES)),
        Preference(prompt=(ASKED,), chosen=(NO,), rejected=(YES,)),
        Ranking(prompt=(ASKED,), answers=((YES,), (NO,), (YES,)), groups=((0,), (1, 2))),
        Candidate(prompt_id=prompt.id, completion=(NO,), model="m"),
    ]
    jsonl.write(tmp_path / "rows.jsonl", rows)
    jsonl.write(tmp_path / "prompts.jsonl", [prompt])
    out = tmp_path / "scores.jsonl"
    code, _, err = align(
        "score", scorer, tmp_path / "rows.jsonl", "--prompts", tmp_path / "prompts.jsonl", "--out", out
    )
    assert code == 0, err
    found = [row for _, row in jsonl.rows(out)]
    expected = [[yes], [yes], [no, yes], [yes, no], [yes], [no, yes], [yes, no, yes], [no]]
    for row, scores in zip(found, expected, strict=True):
        assert row["scores"] == pytest.approx(scores, abs=1e-5)
        assert row["scores"][row["best"]] == max(row["scores"])
    assert (found[0]["id"], found[0]["row"]) == (7, "rows.jsonl:1")
    code, printed, _ = align(
        "score", scorer.parent / "model", tmp_path / "rows.jsonl", "--prompts", tmp_path / "prompts.jsonl"
    )
    assert [json.loads(line) for line in printed.splitlines()] == found


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "give a FILE of answers, or --serve"),
        (["rows.jsonl", "--serve"], "give a FILE of answers, or --serve"),
        (["gone.jsonl"], "gone.jsonl"),
        (["rows.jsonl"], "rows.jsonl:2: columns question found, expected messages"),
        (["lost.jsonl"], "which is not among the 0 prompts given; name the file that holds it with --prompts"),
        (["equal.jsonl"], "equal.jsonl:1: chosen equals rejected; there are no two answers to score"),
        (["empty.jsonl"], "0 rows found"),
    ],
)
def test_a_file_that_cannot_be_scored_is_refused_in_a_line(
    scorer: Path, align: Align, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    jsonl.write(tmp_path / "rows.jsonl", [{"prompt": "a", "completion": "b"}, {"question": "c"}])
    jsonl.write(tmp_path / "lost.jsonl", [Candidate(prompt_id="0" * 64, completion=(NO,), model="m")])
    jsonl.write(tmp_path / "equal.jsonl", [{"prompt": "a", "chosen": "b", "rejected": "b"}])
    (tmp_path / "empty.jsonl").write_text("")
    code, _, err = align("score", scorer, *words, *(["--out", "out.jsonl"] if len(words) == 1 else []))
    assert code == 2
    assert said in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out.jsonl").exists()


def test_a_language_model_is_no_reward_model(world: World, align: Align, tmp_path: Path) -> None:
    jsonl.write(tmp_path / "rows.jsonl", [{"prompt": "a", "completion": "b"}])
    code, _, err = align("score", world.model, tmp_path / "rows.jsonl")
    assert code == 2
    assert "no weights for a reward head (score.weight) found, so its scores would be random" in err


def test_a_reward_model_without_a_template_is_refused(scorer: Path, align: Align, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    bare.mkdir()
    for path in scorer.iterdir():
        if path.name != "chat_template.jinja":
            (bare / path.name).write_bytes(path.read_bytes())
    jsonl.write(tmp_path / "rows.jsonl", [{"prompt": "a", "completion": "b"}])
    code, _, err = align("score", bare, tmp_path / "rows.jsonl")
    assert code == 2
    assert "the tokenizer has no chat template" in err


def test_a_served_model_gives_its_scores_to_the_last_bit_to_many_at_once(scorer: Path) -> None:
    own = TransformersRewarder(scorer, RUNTIME)
    talks = [(ASKED, turn("assistant", f"Ada lives in {n}.")) for n in range(70)]
    expected = [next(iter(own.reward([talk]))) for talk in talks]
    with closing(serving(own, name="scorer")) as server:
        assert json.load(urllib.request.urlopen(f"{server.url}/health")) == {"model": "scorer"}
        found: dict[int, list[float]] = {}

        def ask(n: int) -> None:
            found[n] = list(HttpRewarder(server.url).reward(talks))

        threads = [threading.Thread(target=ask, args=(n,)) for n in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found[0] == found[1] == found[2]
        assert found[0] == pytest.approx(expected, abs=1e-5)
        assert list(HttpRewarder(server.url).reward(talks[:1])) == list(own.reward(talks[:1]))
        with pytest.raises(BackendError, match=r"refused \(400\): a conversation does not end with an answer"):
            list(HttpRewarder(server.url).reward([(ASKED,)]))
        for path, body, status in (("/reward", b"{", 400), ("/reward", b"{}", 400), ("/other", b"{}", 404)):
            with pytest.raises(HTTPError) as refused:
                urllib.request.urlopen(f"{server.url}{path}", data=body)
            assert refused.value.code == status
            assert json.load(refused.value)["error"]
        url = server.url
    with pytest.raises(BackendError, match="the reward endpoint did not answer in 4 tries"):
        list(HttpRewarder(url).reward(talks[:1]))
