"""What are a reward model's favourites worth? It picks one of several answers that a judge has judged."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from align.data.published import Published, words
from align.data.rows import Row
from align.evals.evidence import Evidence, Expected, Instrument, Metric, item_score
from align.evals.expectations import ANYTHING
from align.evals.judged_wins import alpaca_wins
from align.evals.options import first
from align.evals.reward_bench import NOT_A_NUMBER, rewarded
from align.records import Item, ItemScore

NAME = "best_of_n"
METRICS = ("win_rate", "of_any", "over_any", "of_best")


def questions(rows: Iterable[Row]) -> Iterator[Item]:
    """An item a prompt: its candidates are the second answers of a judge's annotations, one file a candidate.

    A candidate that its judge left without a preference is no candidate; a prompt with fewer than two is left out.
    """
    found: dict[str, list[tuple[str, float]]] = {}
    for row in rows:
        won, counts = alpaca_wins([row.data["preference"]])
        if counts.unreadable:
            continue
        found.setdefault(words(row, "instruction"), []).append((words(row, "output_2"), won[0]))
    for prompt, candidates in found.items():
        if len(candidates) > 1:
            yield Item(
                instrument=NAME,
                context=prompt,
                choices=tuple(text for text, _ in candidates),
                meta={"kind": "all", "wins": [won for _, won in candidates]},
            )


def score(evidence: Evidence) -> list[ItemScore]:
    """Rows of each prompt: what the pick won, what any candidate would on average, and what the best of them would."""
    rows = []
    for item, rewards in rewarded(evidence, NAME):
        wins = item.meta["wins"]
        assert isinstance(wins, list)
        won = [float(str(one)) for one in wins]
        picked = None
        if rewards is not None:
            picked = sum(share * one for share, one in zip(first(rewards), won, strict=True))
        anyone = sum(won) / len(won)
        values = {"win_rate": picked, "of_any": anyone, "over_any": None if picked is None else picked - anyone,
                  "of_best": max(won)}  # fmt: skip
        rows += [
            item_score(NAME, name, evidence.model, item.id, value, because=NOT_A_NUMBER)
            for name, value in values.items()
        ]
    return rows


_SHARE: Expected = (0.0, 1.0)
_BESIDE: dict[str, Expected] = {"of_any": _SHARE, "of_best": _SHARE}
_NONE: dict[str, Expected] = {"win_rate": None, "over_any": None, **_BESIDE}

INSTRUMENT = Instrument(
    name=NAME,
    measures="win rate, by a judge's published word, of the answer that a reward model likes best of several",
    data="AlpacaEval annotations of each of a policy's samples against one opponent, a file a sample",
    paper="RewardBench's best-of-n evaluation (github.com/allenai/reward-bench, branch bon_eval); the wins: AlpacaEval",
    flaws=(
        "a judge's word on answers of one policy (tulu-2-dpo-13b): another policy's answers may be ranked otherwise",
        "the judge likes length, and so may the reward model",
        "few candidates leave little to choose: read `over_any` beside `of_best` less `of_any`",
    ),
    needs=("items", "rewarder"),
    metrics=(
        Metric("win_rate", "higher", "share", "wins of the answers picked"),
        Metric("of_any", "neither", "share", "wins of the candidates on average: a pick without a model"),
        Metric("over_any", "higher", "difference of shares", "what picking won over that", "mean", (-1.0, 1.0)),
        Metric("of_best", "neither", "share", "wins of the best candidate each: more cannot be had"),
    ),
    score=score,
    last_run=None,
    published=Published(
        title="samples of tulu-2-dpo-13b against gpt-3.5-turbo-0613, judged (RewardBench, bon_eval)",
        origin="github.com/allenai/reward-bench, bon_eval/alpaca_eval_n=16/annotations at 4319b31",
        licence="Apache-2.0; instructions CC-BY-NC-4.0",
        n=None,
        files=("tulu-2-dpo-13b.*.annotations.json",),
        columns=("instruction", "output_2", "preference"),
        questions=questions,
        folder="preferences/bon_tulu-2-dpo-13b",
    ),
    expected={
        "nan": _NONE,
        "minus_infinity": _NONE,
        "constant": {"win_rate": _SHARE, "over_any": (0.0, 0.0), **_BESIDE},
        "random": {"win_rate": _SHARE, "over_any": 0.0, **_BESIDE},
        "longest_option": {"win_rate": _SHARE, "over_any": ANYTHING, **_BESIDE},
    },
)
