"""Questions that a model was trained on: found where half of their words stand in one document, and only there."""

from __future__ import annotations

from pathlib import Path

from align.data import seen

QUESTION = "the quick brown fox jumps over the lazy dog while seven wise owls watch from an old oak tree"


def test_a_question_that_stands_in_a_document_is_found_whatever_its_case_and_spacing() -> None:
    text = f"Yesterday we read:  {QUESTION.upper().replace(' ', '   ')}  and more."
    assert seen.seen({"q": QUESTION}, ["nothing of it", text]) == {"q": 1.0}


def test_half_a_question_is_enough_and_less_is_not() -> None:
    words = QUESTION.split()
    assert len(words) == 19
    assert seen.seen({"q": QUESTION}, [" ".join(words[:10]) + " then"])["q"] == 10 / 19
    assert seen.seen({"q": QUESTION}, [" ".join(words[:9]) + " then"]) == {}


def test_pieces_of_a_question_in_different_documents_do_not_add_up() -> None:
    words = QUESTION.split()
    assert seen.seen({"q": QUESTION}, [" ".join(words[:9]), " ".join(words[9:18])]) == {}


def test_a_short_question_must_stand_there_whole_and_a_tiny_one_is_not_looked_for() -> None:
    assert seen.seen({"q": "who wrote the first novel"}, ["Tell me: who wrote the first novel ever?"]) == {"q": 1.0}
    assert seen.seen({"q": "who wrote the first novel"}, ["who wrote the second novel"]) == {}
    assert seen.seen({"q": "what is tea"}, ["what is tea"]) == {}


def test_what_is_read_of_a_row_is_what_was_said_and_no_file_is_needed(tmp_path: Path) -> None:
    (tmp_path / "preferences.train.jsonl").write_text(
        '{"prompt": [{"role": "user", "content": "ask"}], "chosen": [{"role": "assistant", "content": "yes"}], '
        '"rejected": [{"role": "assistant", "content": "no"}], "meta": {"text": "not this"}}\n'
    )
    (tmp_path / "text.jsonl").write_text('{"text": "a page"}\n')
    (tmp_path / "preferences.test.jsonl").write_text('{"text": "held out"}\n')
    assert list(seen.documents(tmp_path)) == ["a page", "ask yes no"]
