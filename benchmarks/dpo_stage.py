"""A whole `dpo` stage against `trl dpo`: two commands, from a model and a file of pairs to a saved model.

    align dpo --in model=… --in data=… --out …       loading, packing, reference, training, saving
    trl dpo --model_name_or_path … --dataset_name …  at its best settings for a CPU: reference computed before, no
                                                     checkpointing, batches of 8, the same number format

The model is a random Llama of 16M parameters (8 layers, width 384, vocabulary 8,192), the pairs are hh-rlhf's, at their
real lengths in tokens of a vocabulary made from them. One thread each, taking turns; CPU and wall seconds of the whole
process, imports included (some 10 s on either side, which a longer run does not feel).

Prediction, written before the first run: 5 to 7 in wall time with 64 pairs where bfloat16 is native.

$ make bench NAME=dpo_stage           # 64 pairs, one round
$ make bench NAME=dpo_stage FULL=1    # 1,000 pairs
$ make bench NAME=dpo_stage MODEL=weights/smollm2-135m-instruct PAIRS=300 MAX_WORDS=160    # a real chat model

`MODEL` takes the place of the random one, `MAX_WORDS` leaves out pairs with longer prompts.
"""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ["OMP_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from align.configs import RuntimeConfig, Scratch
from align.data.messages import transcript
from align.records import Preference
from align.runner.machine import cpu_has_bf16, packages
from align.store import jsonl
from benchmarks import pairs as data

PAIRS = int(os.environ.get("PAIRS") or (1000 if os.environ.get("FULL") else 64))
MODEL = os.environ.get("MODEL")
MAX_WORDS = int(os.environ.get("MAX_WORDS") or 10**6)
SHAPE = Scratch(vocabulary=8192, layers=8, width=384, heads=6, kv_heads=2, context=2048)


def write(root: Path) -> None:
    """A model, and the pairs as each side reads them."""
    from align.models.load import save
    from align.models.machine import ready
    from align.models.scratch import new_model, train_tokenizer

    ready(RuntimeConfig(device="cpu", dtype="float32", threads=1))
    said = [text for text in data.texts(4 * PAIRS + 400, seed=0)
            if sum(map(len, text)) < 3000 and len(text[0].split()) <= MAX_WORDS]  # fmt: skip
    if MODEL is None:
        texts = [x for text in said[: 2 * PAIRS + 400] for x in text]
        tokenizer = train_tokenizer(texts, vocabulary=SHAPE.vocabulary, context=SHAPE.context)
        save(new_model(SHAPE, tokenizer, attention="sdpa", seed=0), tokenizer, root / "model" / "model")
    else:
        (root / "model").mkdir()
        (root / "model" / "model").symlink_to(Path(MODEL).resolve())
    made = []
    for prompt, chosen, rejected in said:
        sides = [transcript(prompt + answer) for answer in (chosen, rejected)]
        if all(sides) and sides[0][:-1] == sides[1][:-1] and sides[0] != sides[1]:
            made.append(Preference(prompt=sides[0][:-1], chosen=sides[0][-1:], rejected=sides[1][-1:]))
        if len(made) == PAIRS:
            break
    (root / "data").mkdir()
    jsonl.write(root / "data" / "preferences.train.jsonl", made)
    (root / "trl").mkdir()
    with open(root / "trl" / "train.jsonl", "w", encoding="utf-8") as stream:
        for pair in made:
            row = {side: [m.model_dump(include={"role", "content"}) for m in getattr(pair, side)]
                   for side in ("prompt", "chosen", "rejected")}  # fmt: skip
            stream.write(json.dumps(row) + "\n")


def commands(root: Path) -> dict[str, list[str]]:
    """What each side is started with."""
    native = cpu_has_bf16()
    ours = [
        sys.executable, "-m", "align.cli", "dpo", "--in", f"model={root / 'model'}", "--in", f"data={root / 'data'}",
        "--out", str(root / "ours"), "--set", "batch_size=8", "--set", "learning_rate=1.0e-5", "--set",
        "schedule=constant", "--set", "warmup_share=0", "--set", "max_tokens=2048",
    ]  # fmt: skip
    theirs = [
        str(Path(sys.executable).with_name("trl")), "dpo", "--model_name_or_path", str(root / "model" / "model"),
        "--dataset_name", str(root / "trl"), "--output_dir", str(root / "theirs"), "--num_train_epochs", "1",
        "--per_device_train_batch_size", "8", "--learning_rate", "1e-5", "--lr_scheduler_type", "constant", "--use_cpu",
        "true", "--bf16", str(native).lower(), "--gradient_checkpointing", "false",
        "--precompute_ref_log_probs", "true",
        "--max_length", "2048", "--report_to", "none", "--logging_steps", "1", "--save_strategy", "no",
        "--dataloader_pin_memory", "false", "--dtype", "float32",
    ]  # fmt: skip
    return {"align": ours, "trl": theirs}


def timed(command: list[str]) -> tuple[dict[str, float], str]:
    """CPU and wall seconds of a command, and what it said; an end if it failed."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    here = str(Path(__file__).resolve().parents[1])
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": here})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{' '.join(command[:4])} … failed:\n{(done.stdout + done.stderr)[-3000:]}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"cpu_s": round(cpu, 1), "wall_s": round(time.perf_counter() - start, 1)}, done.stdout


def losses(root: Path, said: str) -> dict[str, list[float]]:
    """The losses that each side logged: ours in its file, TRL's on its standard output."""
    ours = [row["loss"] for _, row in jsonl.rows(root / "ours" / "log.jsonl") if "loss" in row]
    return {"align": ours, "trl": [float(x) for x in re.findall(r"'loss': '?([0-9.e-]+)", said)]}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write(root)
        found: dict[str, Any] = {}
        for name, command in commands(root).items():
            found[name], said = timed(command)  # TRL's is the last
            print(f"{name:<6} {found[name]}", flush=True)
        if not (root / "theirs" / "model.safetensors").exists():
            raise SystemExit("trl saved no model")
        logged = losses(root, said)
    print(json.dumps({
        "stage_speedup_vs_trl_cli": round(found["trl"]["wall_s"] / found["align"]["wall_s"], 2),
        "stage_speedup_vs_trl_cli_cpu": round(found["trl"]["cpu_s"] / found["align"]["cpu_s"], 2),
        "model": MODEL or "random Llama", "native_bf16": cpu_has_bf16(), "pairs": PAIRS,
        "mean_loss": {name: round(sum(some) / len(some), 4) for name, some in logged.items() if some},
        "last_loss": {name: round(some[-1], 4) for name, some in logged.items() if some},
        "raw": found, "packages": packages(),
    }))  # fmt: skip


if __name__ == "__main__":
    main()
