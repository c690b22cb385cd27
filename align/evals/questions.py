"""A team's own questions: exact answers, answers that contain a word, multiple choice, and labels.

One JSON object a line: `prompt` (a text, or chat messages), `expected` (a text, or several of which any will do), and
if wanted `cluster` (questions made from one template), `choices` (then the options are scored by log-probability),
`labels` (then the answer must name one of them) and `positive` (the label whose precision, recall and F1 are wanted).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from pydantic import TypeAdapter, ValidationError

from align.data.published import Published
from align.data.rows import Row
from align.evals.evidence import (
    EMPTY,
    NO_ANSWER,
    NOT_FINITE,
    Asked,
    Evidence,
    Expected,
    Form,
    Instrument,
    Metric,
    item_score,
)
from align.evals.expectations import ANYTHING
from align.evals.options import ask_all, finite, first
from align.records import Item, ItemScore, Message, Meta, Prompt

NAME = "questions"
KNOWN = ("prompt", "expected", "cluster", "choices", "labels", "positive")
_TURNS = TypeAdapter(tuple[Message, ...])
_OUTER = re.compile(r"^[\s\"'“”‘’*_`.]+|[\s\"'“”‘’*_`.!]+$")


def questions(rows: Iterable[Row]) -> Iterator[Item | Prompt]:
    """An item a row with `choices`, a prompt for every other."""
    for row in rows:
        for name in row.data:
            if name not in KNOWN and not name.startswith("_"):
                row.wrong(name, row.data[name], f"no other columns than {', '.join(KNOWN)}")
        expected = _texts(row, "expected")
        if row.data.get("choices") is not None:
            yield _item(row, expected)
        else:
            yield _prompt(row, expected)


def _item(row: Row, expected: list[str]) -> Item:
    choices = _texts(row, "choices")
    if len(expected) != 1 or expected[0] not in choices or len(set(choices)) < max(2, len(choices)):
        row.wrong("expected", row.data["expected"], f"one of the choices, all different: {', '.join(choices)}")
    turns = _turns(row)
    if len(turns) > 1:
        row.wrong("prompt", row.data["prompt"], "a text, where there are choices")
    return Item(
        instrument=NAME,
        context=turns[0].content,
        choices=tuple(choices),
        gold=choices.index(expected[0]),
        cluster=_cluster(row),
        meta={"kind": "choice"},
    )


def _prompt(row: Row, expected: list[str]) -> Prompt:
    meta: Meta = {"kind": "text", "expected": list(expected)}
    if row.data.get("labels") is not None:
        labels = _texts(row, "labels")
        positive = row.data.get("positive")
        if len(expected) != 1 or expected[0] not in labels:
            row.wrong("expected", row.data["expected"], f"one of the labels {', '.join(labels)}")
        if positive is not None and positive not in labels:
            row.wrong("positive", positive, f"one of the labels {', '.join(labels)}")
        meta |= {"kind": "label", "labels": list(labels), "positive": positive}
    return Prompt(messages=_turns(row), source=row.source, cluster=_cluster(row), meta=meta)


def _turns(row: Row) -> tuple[Message, ...]:
    prompt = row.data["prompt"]
    if isinstance(prompt, str) and prompt.strip():
        return (Message(role="user", content=prompt.strip()),)
    try:
        turns = _TURNS.validate_python(prompt)
    except ValidationError:
        row.wrong("prompt", prompt, "a text, or messages with role and content")
    if not turns or turns[-1].role == "assistant":
        row.wrong("prompt", prompt, "a conversation that waits for an answer")
    return turns


def _texts(row: Row, column: str) -> list[str]:
    value = row.data[column]
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, list) or not found or not all(isinstance(one, str) and one.strip() for one in found):
        row.wrong(column, value, "a text or a list of texts")
    return [one.strip() for one in found]


def _cluster(row: Row) -> str | None:
    value = row.data.get("cluster")
    return None if value is None else str(value)


def asks(item: Item, form: Form) -> list[Asked]:
    """Each choice as the whole answer to the question as it was written."""
    if form == "chat":
        asked = (Message(role="user", content=item.context),)
        return [Asked(asked, choice, i) for i, choice in enumerate(item.choices)]
    return [Asked(item.context, f" {choice}", i) for i, choice in enumerate(item.choices)]


def score(evidence: Evidence) -> list[ItemScore]:
    """Rows for each question, under the metrics of its kind; several answers to one question are averaged."""
    rows = []
    for item, answered in ask_all(evidence, INSTRUMENT) if evidence.logp is not None else ():
        assert item.gold is not None
        value = first([score.logp for _, score in answered])[item.gold] if finite(answered) else None
        rows.append(
            item_score(NAME, "choice", evidence.model, item.id, value, because=NOT_FINITE, cluster=item.cluster)
        )
    for prompt, answers in evidence.answered():
        because = NO_ANSWER if not answers else EMPTY if not all(answer.strip() for answer in answers) else None
        found = _label_values(prompt, answers) if prompt.meta["kind"] == "label" else _text_values(prompt, answers)
        rows += [
            item_score(
                NAME, metric, evidence.model, prompt.id, None if because else value / max(1, len(answers)),
                because=because, cluster=prompt.cluster, meta={"weight": weight / max(1, len(answers))},
            )
            for metric, (value, weight) in found.items()
        ]  # fmt: skip
    return rows


def _text_values(prompt: Prompt, answers: Iterable[str]) -> dict[str, tuple[float, float]]:
    wanted = [plain(str(one)) for one in _list(prompt, "expected")]
    said = [plain(answer) for answer in answers]
    exact = sum(answer in wanted for answer in said)
    contains = sum(any(names(answer, one) for one in wanted) for answer in said)
    return {"exact": (exact, len(said)), "contains": (contains, len(said))}


def _label_values(prompt: Prompt, answers: Iterable[str]) -> dict[str, tuple[float, float]]:
    """Sums over answers; an answer that names no label, or several, names the wrong one."""
    labels = [str(one) for one in _list(prompt, "labels")]
    (true,) = _list(prompt, "expected")
    said = [label_in(answer, labels) for answer in answers]
    found: dict[str, tuple[float, float]] = {"label": (sum(one == true for one in said), len(said))}
    positive = prompt.meta.get("positive")
    if positive is not None:
        hits = float(sum(one == true == positive for one in said))
        told, is_ = float(sum(one == positive for one in said)), float(len(said) * (true == positive))
        found |= {"precision": (hits, told), "recall": (hits, is_), "f1": (2 * hits, told + is_)}
    return found


def _list(prompt: Prompt, name: str) -> list[object]:
    found = prompt.meta[name]
    assert isinstance(found, list)
    return list(found)


def plain(text: str) -> str:
    """Lower case, single spaces, without outer quotes, emphasis and full stop."""
    return _OUTER.sub("", " ".join(text.casefold().split()))


def names(text: str, word: str) -> bool:
    """Whether `word` stands in `text` as whole words; both `plain`."""
    return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text) is not None


def label_in(answer: str, labels: Iterable[str]) -> str | None:
    """The one label that an answer names; a longer label hides a shorter one inside it. None for none or several."""
    text, found = plain(answer), []
    for label in sorted(labels, key=len, reverse=True):
        word = plain(label)
        if names(text, word):
            found.append(label)
            text = re.sub(rf"(?<!\w){re.escape(word)}(?!\w)", " ", text)
    return found[0] if len(found) == 1 else None


METRICS = ("choice", "exact", "contains", "label", "precision", "recall", "f1")
_WRITTEN = METRICS[1:]
_NONE: dict[str, Expected] = dict.fromkeys(METRICS)
# what never says the positive label has a recall of 0 and no precision at all
_WRONG: dict[str, Expected] = dict.fromkeys(("exact", "contains", "label", "recall", "f1"), (0.0, 0.0))
# an echo names no label, or each that the question names
_ECHOED: dict[str, Expected] = dict.fromkeys(_WRITTEN, ANYTHING) | {"precision": None}

INSTRUMENT = Instrument(
    name=NAME,
    measures="a team's own questions: exact, contains, multiple choice, labels with precision, recall and F1",
    data="JSON Lines of prompt, expected and, if wanted, cluster, choices, labels, positive",
    paper="none: what is right is what the file says",
    flaws=(
        "`contains` is true of an answer that names every possibility: read `exact` beside it",
        "choices are scored as whole answers by summed log-probability, which favours short ones",
        "precision has no number where the label is never said",
    ),
    needs=("items", "scorer", "prompts", "answers"),
    metrics=(
        Metric("choice", "higher", "share", "questions whose expected choice is the likeliest, ties shared"),
        Metric("exact", "higher", "share", "answers that are an expected text, but for case, quotes and full stop"),
        Metric("contains", "higher", "share", "answers that contain an expected text as whole words"),
        Metric("label", "higher", "share", "answers that name the expected label and no other"),
        Metric("precision", "higher", "share", "of answers that name the positive label, those that should", "ratio"),
        Metric("recall", "higher", "share", "of answers that should name the positive label, those that do", "ratio"),
        Metric("f1", "higher", "share", "harmonic mean of precision and recall", "ratio"),
    ),
    score=score,
    last_run=None,
    published=Published(
        title="a team's own questions",
        origin="JSON Lines of prompt, expected, and if wanted cluster, choices, labels, positive",
        licence=None,
        n=None,
        files=("*.jsonl",),
        columns=("prompt", "expected"),
        questions=questions,
        folder="questions",
    ),
    asks=asks,
    expected={
        "nan": _NONE,
        "minus_infinity": _NONE,
        "constant": _NONE | {"choice": (0.0, 0.5)},
        "random": _NONE | {"choice": (0.0, 1.0)},
        "longest_option": _NONE | {"choice": (0.0, 1.0)},
        "empty": _NONE,
        "always_refuse": _WRONG | {"precision": None},
        "always_comply": _WRONG | {"precision": None},
        "echo": _ECHOED,
        "longest_answer": _ECHOED,
    },
)
