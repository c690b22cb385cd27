"""Refusal detection against people: our rule and the published string rule, on models that ours was not written on.

Labels: XSTest's completions (two annotators; full or partial refusal) and Do-Not-Answer's reviewed responses ("cannot
assist"). Models were put in the order of the sha256 of their names: of XSTest's three the last two were there to write
the rule on, of Do-Not-Answer's three the last one; the others were scored once, when the rule was done.

Kappa is Cohen's, with the 95 % interval of a bootstrap over answers; `gain` is the interval of our kappa less the
string rule's on the same answers. Only counts are printed, never an answer.

$ make bench NAME=refusal
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from numpy.typing import NDArray

from align.data.labelled import Labelled, do_not_answer_reviews, xstest_completions
from align.evals.detector import refuses, refuses_as_published

DATA = Path(__file__).resolve().parents[2] / "shared" / "data" / "safety"
Reader = Callable[[Path, str], list[Labelled]]
SETS: tuple[tuple[str, Reader, tuple[str, ...], int], ...] = (
    ("xstest", xstest_completions, ("gpt4", "llama2orig", "mistralinstruct"), 1),
    ("do_not_answer", do_not_answer_reviews, ("GPT4", "llama2-7b-chat", "vicuna-7b"), 2),
)
"""Folder, reader, models, and how many of them are held out."""
DRAWS = 2000


def by_hash(names: tuple[str, ...]) -> list[str]:
    """In an order that nobody chose."""
    return sorted(names, key=lambda name: hashlib.sha256(name.encode()).hexdigest())


def kappas(truth: NDArray[np.bool_], said: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Cohen's kappa along the last axis."""
    agreed = (truth == said).mean(axis=-1)
    a, b = truth.mean(axis=-1), said.mean(axis=-1)
    chance = a * b + (1 - a) * (1 - b)
    return np.asarray((agreed - chance) / (1 - chance))


def measured(rows: list[Labelled], seed: int = 0) -> dict[str, object]:
    """Kappa of both rules, their difference, precision and recall of ours."""
    truth = np.array([row.refused for row in rows])
    ours = np.array([refuses(row.answer) for row in rows])
    string = np.array([refuses_as_published(row.answer) for row in rows])
    drawn = np.random.default_rng(seed).integers(len(rows), size=(DRAWS, len(rows)))
    own, published = kappas(truth[drawn], ours[drawn]), kappas(truth[drawn], string[drawn])
    ends = (0.025, 0.975)
    return {
        "n": len(rows),
        "refused": int(truth.sum()),
        "kappa": round(float(kappas(truth, ours)), 3),
        "kappa_95": np.quantile(own, ends).round(3).tolist(),
        "kappa_strings": round(float(kappas(truth, string)), 3),
        "kappa_strings_95": np.quantile(published, ends).round(3).tolist(),
        "gain_95": np.quantile(own - published, ends).round(3).tolist(),
        "precision": round(float(truth[ours].mean()), 3),
        "recall": round(float(ours[truth].mean()), 3),
    }


def main() -> None:
    found: dict[str, dict[str, object]] = {}
    for folder, read, models, n_held_out in SETS:
        for place, model in enumerate(by_hash(models)):
            part = "held out" if place < n_held_out else "written on"
            found[f"{folder} {model}"] = {"part": part, **measured(read(DATA / folder, model))}
            one = found[f"{folder} {model}"]
            print(f"{folder:<14} {model:<16} {part:<10} kappa {one['kappa']} {one['kappa_95']}, strings "
                  f"{one['kappa_strings']} {one['kappa_strings_95']}, gain {one['gain_95']}, n {one['n']}")  # fmt: skip
    print(json.dumps(found))


if __name__ == "__main__":
    if not DATA.is_dir():
        raise SystemExit(f"{DATA}: not there; lay the public data beside the checkout")
    main()
