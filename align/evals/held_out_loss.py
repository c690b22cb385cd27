"""What tuning cost the model of plain language: its loss on texts that it was not trained on."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from align.data.published import Published, words
from align.data.rows import Row
from align.evals.evidence import NOT_FINITE, Asked, Evidence, Expected, Form, Instrument, Metric, item_score
from align.evals.expectations import ANYTHING
from align.evals.options import ask_all, finite
from align.records import Item, ItemScore

NAME = "held_out_loss"


def questions(rows: Iterable[Row]) -> Iterator[Item]:
    """An item a text."""
    for row in rows:
        cluster = row.data.get("cluster")
        text = words(row, "text")
        yield Item(
            instrument=NAME,
            context="",
            choices=(text,),
            cluster=None if cluster is None else str(cluster),
            meta={"kind": "all", "bytes": len(text.encode("utf-8"))},
        )


def asks(item: Item, form: Form) -> list[Asked]:
    """The whole text, from its first token."""
    return [Asked("", item.choices[0], 0)]


def score(evidence: Evidence) -> list[ItemScore]:
    """Rows for each text: its loss, weighed by its tokens, and its bits, weighed by its bytes."""
    rows = []
    for item, answered in ask_all(evidence, INSTRUMENT):
        ((_, found),) = answered
        fine = finite(answered) and found.n_tokens > 0
        n_bytes = int(str(item.meta["bytes"]))
        for metric, value, weight in (
            ("loss", -found.logp, found.n_tokens),
            ("bits_per_byte", -found.logp / math.log(2), n_bytes),
        ):
            rows.append(
                item_score(
                    NAME, metric, evidence.model, item.id, value if fine else None,
                    because=NOT_FINITE, cluster=item.cluster, meta={"weight": float(weight)},
                )
            )  # fmt: skip
    return rows


METRICS = ("loss", "bits_per_byte")
_NONE: dict[str, Expected] = dict.fromkeys(METRICS)
_SOME: dict[str, Expected] = dict.fromkeys(METRICS, ANYTHING)

INSTRUMENT = Instrument(
    name=NAME,
    measures="loss on held-out plain text, in nats a token and in bits a byte",
    data="JSON Lines of `text` (and, if wanted, `cluster`), or lines of a .txt file, that no training has seen",
    paper="perplexity's logarithm; Σ loss over Σ tokens of all texts",
    flaws=(
        "loss alone misses much of what tuning breaks, and rises when a model merely changes its manner",
        "nats a token can be compared between models of one tokenizer alone; bits a byte between any",
        "the texts are the user's: whether a model has seen them is not known here",
    ),
    needs=("items", "scorer"),
    metrics=(
        Metric("loss", "lower", "nats per token", "loss over all tokens", "ratio", (0.0, math.inf)),
        Metric("bits_per_byte", "lower", "bits per byte", "the same over all bytes", "ratio", (0.0, math.inf)),
    ),
    score=score,
    last_run=None,
    published=Published(
        title="held-out texts",
        origin="JSON Lines of text, or plain lines",
        licence=None,
        n=None,
        files=("*.jsonl", "*.txt"),
        columns=("text",),
        questions=questions,
        folder="held_out_text",
    ),
    asks=asks,
    expected={
        "nan": _NONE,
        "minus_infinity": _NONE,
        # one token a text, at 10 nats
        "constant": {"loss": (10.0, 10.0), "bits_per_byte": ANYTHING},
        "random": {"loss": 10.0, "bits_per_byte": ANYTHING},
        "longest_option": _SOME,
    },
    suites=("ability",),
)
