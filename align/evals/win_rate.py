"""Whose answers are worth more, prompt by prompt: made from two models' `utility` rows."""

from __future__ import annotations

from collections.abc import Sequence

from align.evals.evidence import Metric
from align.evals.utility import KINDS
from align.records import ItemScore, Meta

NAME = "win_rate"
CLOSE_WORDS = 3

METRICS = (
    Metric("raw", "higher", "share", "prompts on which the answer is worth more; ties count one half"),
    Metric("length_matched", "higher", "share", f"the same, of answers within {CLOSE_WORDS} words of each other"),
    Metric(
        "at_equal_length", "higher", "share",
        "the rate that a logistic fit gives where both answers are as long", "equal_length",
    ),
    *(Metric(kind, "higher", "share", f"the same, over {kind} prompts") for kind in KINDS),
)  # fmt: skip
FLAWS = (
    "a model can win by what a weak opponent gets wrong: look at the opponent's `utility.well_formed` first",
    "a length match leaves out the prompts on which lengths differ, which are not like the others",
)


def against(new: Sequence[ItemScore], old: Sequence[ItemScore]) -> dict[str, list[ItemScore]]:
    """For each metric a row a prompt: 1 won, ½ tied, 0 lost, averaged over all pairs of samples.

    `new` and `old` are rows of `utility.mean`. A prompt that either side leaves unscored or lacks is unscored; one
    without a pair of samples close in length is left out of `length_matched`.
    """
    theirs = {row.item_id: row for row in old}
    ours = {row.item_id: row for row in new}
    rows: dict[str, list[ItemScore]] = {}
    for item_id in sorted(ours.keys() | theirs.keys()):
        a, b = ours.get(item_id), theirs.get(item_id)
        present = a or b
        assert present is not None
        kind = str(present.meta["kind"])
        pairs = [(x, y) for x in _samples(a) for y in _samples(b)]
        close = [(x, y) for x, y in pairs if abs(x[1] - y[1]) <= CLOSE_WORDS]
        lengths: Meta = {}
        if pairs:
            theirs_mean = sum(y[1] for _, y in pairs) / len(pairs)
            lengths = {"longer": sum(x[1] for x, _ in pairs) / len(pairs) - theirs_mean, "their_words": theirs_mean}
        for metric, of in (("raw", pairs), (kind, pairs), ("at_equal_length", pairs), ("length_matched", close)):
            if metric == "length_matched" and pairs and not close:
                continue
            wins = [0.5 if x[0] == y[0] else float(x[0] > y[0]) for x, y in of]
            rows.setdefault(metric, []).append(
                ItemScore(
                    instrument=NAME,
                    metric=metric,
                    model=new[0].model if new else "none",
                    item_id=item_id,
                    value=sum(wins) / len(wins) if wins else None,
                    unscored_because=None if wins else "one of the two has no score here",
                    cluster=present.cluster,
                    meta=lengths if metric == "at_equal_length" else {},
                )
            )
    return rows


def _samples(row: ItemScore | None) -> list[tuple[float, float]]:
    if row is None or row.value is None:
        return []
    samples = row.meta["samples"]
    assert isinstance(samples, list)
    return [(float(s[0]), float(s[1])) for s in samples if isinstance(s, list)]  # type: ignore[arg-type]
