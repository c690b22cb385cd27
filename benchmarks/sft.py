"""An SFT step, side by side: TRL padded, TRL's own packing, and the same trainer packed in place.

All have the same weights, the same conversations, the same metrics and the same objective, the mean over all answer
tokens of the step; they are timed over `training_step`, in CPU seconds of one thread, taking turns.

    padded      TRL as it comes: batches of 8, sorted by length as stage `sft` sorts them
    trl_packed  TRL's `packing=True` (best fit decreasing into rows of 1,024 tokens, positions begun again at each)
    packed      stage `sft`: the same batches of 8, each as one row without padding, attention within a conversation

16 of hh-rlhf's chosen conversations at their real lengths, loss on the last answer; a random Llama of 18.9M parameters.
Both heads compute logits at answers alone, which TRL's does on GPUs only. `apart`: loss, and norm of the gradients'
difference over the norm, in float32, against each conversation run alone by a plain transformers pass.

Prediction, written before the first run: packed 2 over padded and 1.3 over TRL's packing, whose attention covers the
whole row, masked; all of them exact to 1e-5 in float32.

$ make bench NAME=sft            # 3 rounds
$ make bench NAME=sft FULL=1     # 5 rounds, 64 conversations
"""

from __future__ import annotations

import copy
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ["OMP_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from align.runner.machine import cpu_has_bf16, packages
from benchmarks import dpo
from benchmarks import pairs as data

N = 64 if dpo.FULL else 16
ROW = 1024
Row = dict[str, list[int]]


def conversations() -> list[Row]:
    """Token ids, and the labels of the last answer."""
    made = []
    for pair in data.tokens(N, dpo.tokenizer(), vocabulary=dpo.VOCABULARY):
        ids = [*pair["prompt_ids"], *pair["chosen_ids"]]
        made.append({"input_ids": ids, "labels": [-100] * len(pair["prompt_ids"]) + pair["chosen_ids"]})
    return sorted(made, key=lambda row: len(row["input_ids"]))


class Side:
    """One trainer, and the batches of a step."""

    def __init__(self, name: str, model: Any, rows: list[Row], *, dtype: str) -> None:
        from datasets import Dataset
        from trl import SFTConfig, SFTTrainer
        from trl.data_utils import pack_dataset

        from align.training.head import score_answers_only
        from align.training.packed import pack_in_place

        score_answers_only()
        self.name = name
        table = Dataset.from_list(rows)
        own = name == "trl_packed"
        if own:
            table = pack_dataset(table, ROW, "bfd")
        self.trainer = SFTTrainer(
            model=model,
            args=SFTConfig(
                output_dir=tempfile.mkdtemp(), use_cpu=True, bf16=dtype == "bfloat16", gradient_checkpointing=False,
                report_to="none", per_device_train_batch_size=1 if own else dpo.BATCH, save_strategy="no",
                disable_tqdm=True, packing=own, max_length=ROW if own else None,
                dataset_kwargs={"skip_prepare_dataset": True},
            ),
            train_dataset=table,
            processing_class=dpo.tokenizer(),
        )  # fmt: skip
        if name == "packed":
            assert not isinstance(pack_in_place(self.trainer.model, outputs=("entropy", "is_top1")), str)
        self.model = self.trainer.accelerator.prepare_model(self.trainer.model)
        self.model.train()
        self.trainer.current_gradient_accumulation_steps = 1
        size = 1 if own else dpo.BATCH
        kept = [{k: row[k] for k in row if k in ("input_ids", "labels", "seq_lengths")} for row in table]
        self.batches = [kept[start : start + size] for start in range(0, len(kept), size)]

    def step(self, n_learnt: int) -> tuple[float, float]:
        """CPU seconds and loss of one optimizer step over all rows; gradients are left where they are."""
        import torch

        self.model.zero_grad(set_to_none=True)
        seconds, loss = 0.0, 0.0
        for batch in self.batches:
            start = time.process_time()
            found = self.trainer.training_step(self.model, self.trainer.data_collator(batch), torch.tensor(n_learnt))
            seconds += time.process_time() - start
            loss += float(found)
        return seconds, loss


def alone(model: Any, rows: list[Row], n_learnt: int) -> float:
    """The loss of the step by plain passes of one conversation each; gradients are left in the model."""
    import torch

    total = 0.0
    for row in rows:
        ids, labels = torch.tensor([row["input_ids"]]), torch.tensor(row["labels"])
        logps = torch.log_softmax(model(input_ids=ids, use_cache=False).logits[0, :-1], -1)
        wanted = labels[1:] != -100
        loss = -(logps.gather(-1, ids[0, 1:, None])[:, 0] * wanted).sum() / n_learnt
        loss.backward()
        total += float(loss.detach())
    return total


def exactness(rows: list[Row]) -> dict[str, dict[str, float]]:
    """How far each side's loss and gradients are from conversations run alone, in float32, on 8 rows."""
    few = rows[: dpo.BATCH]
    n_learnt = sum(label != -100 for row in few for label in row["labels"][1:])
    plain = dpo.small_model()
    wanted = alone(plain, few, n_learnt)
    found = {}
    for name in ("padded", "trl_packed", "packed"):
        side = Side(name, dpo.small_model(), copy.deepcopy(few), dtype="float32")
        _, loss = side.step(n_learnt)
        found[name] = {"loss": abs(loss - wanted) / wanted, "gradient": dpo.apart(side.trainer.model, plain)}
    return found


def main() -> None:
    dpo.ready()
    rows = conversations()
    n_learnt = sum(label != -100 for row in rows for label in row["labels"][1:])
    dtype, _ = dpo.fastest("packed")
    sides = [
        Side(name, dpo.small_model(), copy.deepcopy(rows), dtype=dtype) for name in ("padded", "trl_packed", "packed")
    ]
    taken: dict[str, list[float]] = {side.name: [] for side in sides}
    for i in range(dpo.ROUNDS):
        for side in sides if i % 2 else sides[::-1]:
            taken[side.name].append(side.step(n_learnt)[0])
    cpu = {name: round(statistics.median(seconds), 3) for name, seconds in taken.items()}
    print(json.dumps({
        "speedup_vs_padded": round(cpu["padded"] / cpu["packed"], 2),
        "speedup_vs_trl_packing": round(cpu["trl_packed"] / cpu["packed"], 2),
        "apart": exactness(rows), "native_bf16": cpu_has_bf16(), "conversations": N,
        "raw": {"cpu_s": cpu, "all": {name: [round(x, 2) for x in all_] for name, all_ in taken.items()}},
        "packages": packages(),
    }))  # fmt: skip


if __name__ == "__main__":
    main()
