"""Log-probabilities of benchmark questions side by side: our scorer against lm-eval's own transformers backend.

Both get the same model in memory (SmolLM2-135M-Instruct, float32), the same contexts and continuations as plain text,
and one thread; the two take turns, benchmark by benchmark, and CPU seconds of this one process are compared. lm-eval
runs in batches of 8, sorted by its own rules; ours packs what questions share. Questions are those that the instruments
ask: BBQ in all six orders, TruthfulQA's answers, StereoSet, WinoBias, CrowS-Pairs.

Prediction, written before the first measurement: BBQ asks 18 options about one context of some 60 tokens and should
gain 6 times, TruthfulQA 3 to 4 times, StereoSet and WinoBias with two or three options under 2; CrowS-Pairs shares only
how its two sentences begin, and both sides must predict every token: 1.2 times. The whole: 4 times, between 2.5 and 7.

Every log-probability must agree to 0.01 nats, or the ratio is of two different things.

$ make bench NAME=evaluation            # about 4 minutes on a quiet machine
$ make bench NAME=evaluation FULL=1     # five times as many questions
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from align.adapters.transformers import TransformersScorer
from align.configs import RuntimeConfig
from align.data import published
from align.evals.instruments import INSTRUMENTS
from align.ports import ScoreRequest
from align.records import Item
from align.stages.benchmark import chosen

ROOT = Path(__file__).resolve().parents[1]
MODEL = ROOT / "weights" / "smollm2-135m-instruct"
DATA = ROOT.parent / "shared" / "data"
TIMES = 5 if os.environ.get("FULL") else 1
OF_EACH_KIND = {"bbq": 1, "truthfulqa": 16, "stereoset": 6, "winobias": 6, "crows_pairs": 4}
BATCH = 8
Answers = Callable[[Sequence[ScoreRequest]], list[float]]


def requests(name: str) -> list[ScoreRequest]:
    """What an instrument asks about some of its questions, in plain text."""
    instrument = INSTRUMENTS[name]
    assert instrument.published is not None
    assert instrument.asks is not None
    found, _ = published.read(instrument.published, DATA / instrument.published.folder)
    items = [one for one in chosen(found, OF_EACH_KIND[name] * TIMES) if isinstance(one, Item)]
    return [asked.request() for item in items for asked in instrument.asks(item, "plain")]


def ours(scorer: TransformersScorer) -> Answers:
    return lambda asked: [score.logp for score in scorer.score(asked)]


def theirs(model: Any, tokenizer: Any) -> Answers:
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    harness = HFLM(pretrained=model, tokenizer=tokenizer, device="cpu", dtype="float32", batch_size=BATCH)

    def answers(asked: Sequence[ScoreRequest]) -> list[float]:
        instances = [
            Instance(request_type="loglikelihood", doc={}, arguments=(one.context, one.continuation), idx=i)
            for i, one in enumerate(asked)
        ]
        return [float(logp) for logp, _ in harness.loglikelihood(instances, disable_tqdm=True)]

    return answers


def timed(answers: Answers, asked: Sequence[ScoreRequest]) -> tuple[float, list[float]]:
    start = time.process_time()
    found = answers(asked)
    return time.process_time() - start, found


def main() -> None:
    for needed in (MODEL, DATA):
        if not needed.exists():
            sys.exit(f"{needed}: not there; `make real-model` fetches the model, the data are the published benchmarks")
    scorer = TransformersScorer(MODEL, RuntimeConfig(device="cpu", dtype="float32", threads=1))
    model, tokenizer, _ = scorer.parts()
    sides = {"ours": ours(scorer), "lm_eval": theirs(model, tokenizer)}
    for answers in sides.values():
        answers([ScoreRequest("One and one is", " two")])
    seconds = dict.fromkeys(sides, 0.0)
    result: dict[str, Any] = {}
    apart = n = 0.0
    for turn, name in enumerate(OF_EACH_KIND):
        asked = requests(name)
        seen = {side: timed(sides[side], asked) for side in sorted(sides, reverse=bool(turn % 2))}
        difference = max(abs(a - b) for a, b in zip(seen["ours"][1], seen["lm_eval"][1], strict=True))
        apart, n = max(apart, difference), n + len(asked)
        for side, (spent, _) in seen.items():
            seconds[side] += spent
        result[name] = round(seen["lm_eval"][0] / seen["ours"][0], 2)
        print(f"{name:<12} {len(asked):5d} log-probabilities: ours {seen['ours'][0]:6.1f} CPU s, lm-eval "
              f"{seen['lm_eval'][0]:6.1f}; {result[name]:.2f} times; furthest apart {difference:.1e} nats")  # fmt: skip
    assert apart < 0.01, f"the two sides differ by {apart} nats"
    whole = {
        "speedup_vs_lm_eval": round(seconds["lm_eval"] / seconds["ours"], 2),
        **result,
        "n": int(n),
        "per_second": {side: round(n / spent, 1) for side, spent in seconds.items()},
        "furthest_apart_nats": apart,
    }
    print(json.dumps(whole))


if __name__ == "__main__":
    main()
