"""Preference tuning side by side: the stage `dpo` against TRL's DPOTrainer in its best setting for a CPU.

Both get the same random Llama (8 layers, width 256, vocabulary 8,192), the same pairs, the same pairs in each step, the
same number format, threads, attention and optimizer; both compute the reference once, without gradient checkpointing.
Both are timed whole: load the model, tokenise, reference, training, save. Each round is a process of its own, forked
after the imports, and the two take turns.

Pairs are made on the spot with lengths like hh-rlhf's: a prompt's tokens are lognormal with median 90 and sigma 0.9 (12
to 600), each answer's with median 35 and sigma 0.9 (4 to 300), words drawn by Zipf's law from 7,500.

Two things differ. The stage computes logits at answers only, where TRL on a CPU computes the whole block; and within a
step (8 pairs, 4 at once) the stage sorts pairs by length, and over the reference pass all of them, where TRL pads what
comes together. Nothing else is different yet: prompts are still computed twice and rows padded.

Prediction, written before the first measurement: logits are a quarter of the work of so small a model, and padding is
about half of TRL's tokens, of which sorting 8 pairs into two batches saves a third. So 1.7 times less CPU time, between
1.4 and 2.2, and losses that agree to 1e-4 in float32 and 1e-2 in bfloat16.

$ make bench NAME=dpo            # 3 rounds of 24 pairs, about 3 minutes on a quiet machine
$ make bench NAME=dpo FULL=1     # 5 rounds of 128 pairs
"""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from random import Random
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from align.configs import DPOConfig, RuntimeConfig, Scratch
from align.records import Message, Preference
from align.runner.machine import packages, resolved
from align.store import jsonl

FULL = bool(os.environ.get("FULL"))
ROUNDS = 5 if FULL else 3
PAIRS = 128 if FULL else 24
PAIRS_COMPARED = 16
SHAPE = Scratch(vocabulary=8192, layers=8, width=256, heads=4, context=1024)
CONFIG = DPOConfig(
    learning_rate=1e-4, schedule="constant", warmup_share=0, batch_size=8, micro_batch_size=4, checkpoint_every=1000
)


class Bench:
    """A `Workshop` that is silent."""

    def __init__(self, work: Path, runtime: RuntimeConfig) -> None:
        self.seed = 0
        self.runtime = runtime
        self.work = work
        work.mkdir(parents=True)

    def advance(self, n: int = 1, note: str = "") -> None:
        pass

    def progress(self, what: str, total: int | None = None) -> Any:
        return nullcontext(self)

    def note(self, text: str) -> None:
        pass


def ours(model: Path, pairs: Path, place: Path, runtime: RuntimeConfig) -> list[float]:
    """The stage, as `align run` calls it; the loss of each step."""
    from align.training.dpo import dpo

    out = place / "out"
    out.mkdir(parents=True)
    dpo(CONFIG, model, pairs, None, out, Bench(place / "work", runtime))
    return [row["loss"] for _, row in jsonl.rows(out / "log.jsonl") if "loss" in row]


def trl_best(model: Path, pairs: Path, place: Path, runtime: RuntimeConfig) -> list[float]:
    """The script that a careful user of TRL writes, with the same pairs in each step; the loss of each step."""
    from datasets import Dataset
    from transformers import PrinterCallback
    from trl import DPOConfig as TrlConfig
    from trl import DPOTrainer

    from align.models.build import attention_for
    from align.models.load import load_model, load_tokenizer
    from align.training import loop
    from align.training.order import StepwiseByLength

    class SameSteps(DPOTrainer):  # type: ignore[misc]
        def _get_train_sampler(self, train_dataset: Any = None) -> StepwiseByLength:
            # equal lengths: nothing is sorted, and a step holds the pairs that the stage's step holds
            return StepwiseByLength([0] * len(self.train_dataset), step_rows=CONFIG.batch_size, seed=0)

    loop.ready(runtime)
    rows = [
        {side: [m.model_dump(include={"role", "content"}) for m in getattr(pair, side)]
         for side in ("prompt", "chosen", "rejected")}
        for pair in jsonl.read(pairs, Preference)
    ]  # fmt: skip
    trainer = SameSteps(
        model=load_model(model, attention=attention_for(runtime)),
        args=TrlConfig(
            output_dir=str(place),
            max_steps=len(rows) // CONFIG.batch_size,
            per_device_train_batch_size=CONFIG.micro_batch_size,
            gradient_accumulation_steps=CONFIG.batch_size // (CONFIG.micro_batch_size or 1),
            learning_rate=CONFIG.learning_rate,
            lr_scheduler_type="constant",
            beta=CONFIG.beta,
            max_length=None,
            optim="adamw_torch_fused",
            use_cpu=True,
            bf16=runtime.dtype == "bfloat16",
            gradient_checkpointing=False,
            precompute_ref_log_probs=True,
            logging_steps=1,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            dataloader_pin_memory=False,
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=load_tokenizer(model),
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    trainer.save_model(str(place / "model"))
    return [row["loss"] for row in trainer.state.log_history if "loss" in row]


SIDES: dict[str, Callable[[Path, Path, Path, RuntimeConfig], list[float]]] = {"ours": ours, "trl_best": trl_best}


def main() -> None:
    import datasets  # noqa: F401 -- imported once, before the processes fork
    import trl.trainer.dpo_trainer  # noqa: F401

    import align.training.dpo  # noqa: F401

    runtime = resolved(RuntimeConfig(device="cpu"))
    print(f"prediction: 1.7 times less CPU time than TRL, between 1.4 and 2.2; {runtime.dtype}, "
          f"{runtime.threads} thread(s), {ROUNDS} rounds of {PAIRS} pairs")  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        model, pairs = root / "model", root / "pairs.jsonl"
        lengths = in_child(lambda: write(model, pairs))
        rounds: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
        for n in range(ROUNDS):
            for side in sorted(SIDES, reverse=bool(n % 2)):
                place = root / f"{side}{n}"
                seen = in_child(lambda side=side, place=place: timed(SIDES[side], model, pairs, place, runtime))
                rounds[side].append(seen)
                print(f"round {n + 1} {side:<9} {seen['cpu']:7.1f} CPU s {seen['wall']:7.1f} s "
                      f"{seen['peak_mib']:6,d} MiB  losses {' '.join(f'{x:.5f}' for x in seen['losses'])}")  # fmt: skip
        some = root / "some.jsonl"
        some.write_bytes(b"".join(pairs.read_bytes().splitlines(keepends=True)[:PAIRS_COMPARED]))
        plain = runtime.model_copy(update={"dtype": "float32"})
        agreed = {
            side: in_child(lambda side=side: timed(SIDES[side], model, some, root / f"{side}.agree", plain))["losses"]
            for side in SIDES
        }
    apart = [abs(a - b) for a, b in zip(agreed["ours"], agreed["trl_best"], strict=True)]
    print(f"in float32 the losses are at most {max(apart):.1e} apart")
    if not max(apart) < 1e-3:
        raise SystemExit("the two sides do not compute the same losses; the times mean nothing")

    def middle(side: str, what: str) -> float:
        return statistics.median(seen[what] for seen in rounds[side])

    print(json.dumps({
        "speedup_vs_trl_best": round(middle("trl_best", "cpu") / middle("ours", "cpu"), 3),
        "speedup_vs_trl_best_wall": round(middle("trl_best", "wall") / middle("ours", "wall"), 3),
        "peak_memory_ratio": round(middle("trl_best", "peak_mib") / middle("ours", "peak_mib"), 3),
        "first_step_loss_difference": apart[0],
        "largest_loss_difference": max(apart),
        "raw": {
            "rounds": rounds, "float32_losses": agreed, "pairs": PAIRS, "lengths": lengths,
            "batch_size": CONFIG.batch_size, "micro_batch_size": CONFIG.micro_batch_size,
            "model": SHAPE.model_dump(include={"layers", "width", "heads", "vocabulary"}),
            "dtype": runtime.dtype, "threads": runtime.threads, "packages": packages(), "processor": processor(),
        },
    }))  # fmt: skip


def write(model: Path, pairs: Path) -> dict[str, float]:
    """A random model whose tokens are whole words, and the pairs; what their lengths came to, in tokens."""
    from align.models.load import save
    from align.models.machine import ready
    from align.models.scratch import new_model, train_tokenizer

    ready(RuntimeConfig(device="cpu", dtype="float32", threads=1))
    rng = Random(0)
    syllables = [a + b for a in "bdfgklmnprstvz" for b in "aeiou"]
    words = sorted({"".join(rng.choices(syllables, k=rng.randint(2, 3))) for _ in range(9000)})
    rng.shuffle(words)
    words = words[:7500]
    tokenizer = train_tokenizer([" ".join(words)] * 3, vocabulary=SHAPE.vocabulary, context=SHAPE.context)
    weights = [1 / (rank + 1) for rank in range(len(words))]

    def say(role: str, median: float, least: int, most: int) -> Message:
        n = int(min(most, max(least, rng.lognormvariate(0, 0.9) * median)))
        return Message.model_validate({"role": role, "content": " ".join(rng.choices(words, weights, k=n))})

    made = [
        Preference(
            prompt=(say("user", 90, 12, 600),),
            chosen=(say("assistant", 35, 4, 300),),
            rejected=(say("assistant", 35, 4, 300),),
        )
        for _ in range(PAIRS)
    ]
    jsonl.write(pairs, made)
    network = new_model(SHAPE, tokenizer, attention="sdpa", seed=0)
    network.resize_token_embeddings(SHAPE.vocabulary)
    save(network, tokenizer, model)

    def mean(side: str) -> float:
        return statistics.mean(len(tokenizer(getattr(pair, side)[0].content)["input_ids"]) for pair in made)

    return {f"mean_{side}_tokens": round(mean(side), 1) for side in ("prompt", "chosen", "rejected")}


def timed(side: Callable[..., list[float]], *arguments: Any) -> dict[str, Any]:
    cpu, wall = time.process_time(), time.perf_counter()
    losses = side(*arguments)
    return {
        "cpu": round(time.process_time() - cpu, 2),
        "wall": round(time.perf_counter() - wall, 2),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "losses": losses,
    }


def in_child(job: Callable[[], Any]) -> Any:
    """What `job` returns, from a forked process of its own."""
    context = multiprocessing.get_context("fork")
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=lambda: sending.send(job()))
    process.start()
    sending.close()
    try:
        return receiving.recv()
    except EOFError:
        process.join()
        raise SystemExit(f"a round ended with exit code {process.exitcode}") from None
    finally:
        process.join()


def processor() -> dict[str, Any]:
    """Name, cores of this process, and those of its flags that decide speed."""
    told: dict[str, str] = {}
    if Path("/proc/cpuinfo").exists():
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            told.setdefault(name.strip(), value.strip())
    flags = [flag for flag in told.get("flags", "").split() if flag.startswith(("avx", "amx", "fma"))]
    return {"name": told.get("model name", "unknown"), "cores": len(os.sched_getaffinity(0)), "flags": flags}


if __name__ == "__main__":
    main()
