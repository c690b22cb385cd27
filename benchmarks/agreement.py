"""The same questions by lm-eval: task YAML written from our items, its own transformers backend, its own accuracy.

CrowS-Pairs (share of pairs whose stereotyping sentence is likelier), BBQ's accuracy over all six orders in both kinds
of context, TruthfulQA's MC1; SmolLM2-135M-Instruct in float32, plain text, no examples before the question.

Prediction, written before the first run: equal to the last digit, but for ties (lm-eval gives the first option all of
one, we share it) and for sums that float32 in another order puts on the other side: at most one question in a hundred.

$ make bench NAME=agreement
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from align.adapters.transformers import TransformersScorer
from align.configs import RuntimeConfig
from align.data import published
from align.evals import summary
from align.evals.evidence import Evidence
from align.evals.instruments import INSTRUMENTS
from align.records import Item
from align.stages.benchmark import chosen

ROOT = Path(__file__).resolve().parents[1]
MODEL = ROOT / "weights" / "smollm2-135m-instruct"
DATA = ROOT.parent / "shared" / "data"
TIMES = 5 if os.environ.get("FULL") else 1
OF_EACH_KIND = {"crows_pairs": 8, "bbq": 1, "truthfulqa": 30}
YAML = """\
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {file}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: context
doc_to_choice: choices
doc_to_target: target
target_delimiter: ""
num_fewshot: 0
metric_list: [{{metric: acc, aggregation: mean, higher_is_better: true}}]
"""


def items(name: str) -> list[Item]:
    """Some questions of each kind, chosen by hash."""
    of = INSTRUMENTS[name].published
    assert of is not None
    found, _ = published.read(of, DATA / of.folder)
    return [one for one in chosen(found, OF_EACH_KIND[name] * TIMES) if isinstance(one, Item)]


def documents(name: str, of: Sequence[Item]) -> dict[str, list[dict[str, Any]]]:
    """lm-eval's rows by the metric of ours that they should give."""
    found: dict[str, list[dict[str, Any]]] = {}
    for item in of:
        asks = INSTRUMENTS[name].asks
        assert asks is not None
        asked = list(asks(item, "plain"))
        size, metric, target = len(asked), "stereotyped", 0
        if name == "bbq":
            size, metric = 3, "acc_amb" if item.meta["condition"] == "ambig" else "acc_dis"
        if name == "truthfulqa":
            one = [int(str(i)) for i in item.meta["mc1"]]  # type: ignore[union-attr]
            asked, metric = [asked[i] for i in one], "mc1"
            size = len(asked)
        for at in range(0, len(asked), size):
            part = asked[at : at + size]
            if name != "crows_pairs":
                target = next(i for i, option in enumerate(part) if option.choice == item.gold)
            context = part[0].context
            assert isinstance(context, str)
            found.setdefault(f"{name}.{metric}", []).append(
                {"context": context, "choices": [option.continuation for option in part], "target": target}
            )
    return found


def theirs(tasks: dict[str, list[dict[str, Any]]], model: Any, tokenizer: Any, place: Path) -> dict[str, float]:
    """lm-eval's accuracy of each task."""
    os.environ["HF_DATASETS_CACHE"] = str(place / "cache")
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    names = {}
    for metric, rows in tasks.items():
        name = "align_" + metric.replace(".", "_")
        file = place / f"{name}.jsonl"
        file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
        (place / f"{name}.yaml").write_text(YAML.format(name=name, file=file), encoding="utf-8")
        names[metric] = name
    found = simple_evaluate(
        model=HFLM(pretrained=model, tokenizer=tokenizer, device="cpu", dtype="float32", batch_size=8),
        tasks=list(names.values()),
        task_manager=TaskManager(include_path=str(place), include_defaults=False),
        bootstrap_iters=0,
    )
    assert found is not None
    return {metric: float(found["results"][name]["acc,none"]) for metric, name in names.items()}


def main() -> None:
    for needed in (MODEL, DATA):
        if not needed.exists():
            sys.exit(f"{needed}: not there; `make real-model` fetches the model, the data are the published benchmarks")
    scorer = TransformersScorer(MODEL, RuntimeConfig(device="cpu", dtype="float32", threads=1))
    model, tokenizer, _ = scorer.parts()
    tasks: dict[str, list[dict[str, Any]]] = {}
    ours: dict[str, Any] = {}
    for name in OF_EACH_KIND:
        of = items(name)
        tasks |= documents(name, of)
        rows = INSTRUMENTS[name].score(Evidence("model", of, logp=lambda asked: list(scorer.score(asked))))
        for found in summary.measurements(INSTRUMENTS[name], rows, model="model"):
            ours[f"{name}.{found.metric}"] = found
    with tempfile.TemporaryDirectory() as folder:
        other = theirs(tasks, model, tokenizer, Path(folder))
    result = {}
    for metric, value in other.items():
        own = ours[metric]
        result[metric] = {"ours": own.value, "lm_eval": value, "low": own.low, "high": own.high, "n": own.n}
        print(f"{metric:<24} ours {own.value:.4f} [{own.low:.3f}, {own.high:.3f}] n {own.n}; lm-eval {value:.4f} over "
              f"{len(tasks[metric])} documents")  # fmt: skip
    print(json.dumps(result))


if __name__ == "__main__":
    main()
