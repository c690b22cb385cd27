"""A DPO step, side by side: TRL's DPOTrainer as it is, and the same trainer packed in place (prompt trees).

Both have the same weights, the same pairs, the same batches of 8, the same losses and metrics, real reference
log-probabilities, and the dtype and attention that are fastest for them on this processor; both are timed over
`training_step` (batch, forward, loss, metrics, backward), in CPU seconds of one thread, taking turns.

    trl     TRL at its best on a CPU: reference computed before, no gradient checkpointing
    eager   the same with plain attention, faster in bfloat16 for rows of like length; one round, for comparison
    tuned   the same tuned by hand: its chunked head forced on the CPU, batches sorted by length (sdpa, as trl)
    packed  the trainer of stage `dpo`: each batch one row without padding, prompts once, head at answers alone

hh: 16 pairs of hh-rlhf at their real lengths. long, balanced, short: real text cut to 384/64, 128/128 and 32/256 tokens
of prompt and answer. The model: a random Llama of 18.9M parameters (8 layers, width 384, 6 heads over 2, vocabulary
8,192); smollm2: the chat model of 135M (vocabulary 49,152), full fine-tuning.

`floor` is what the linear layers alone take over the tokens that a tree holds, as bare products of matrices in the same
number format on the same processor: no way of training on those tokens can be faster, whatever else it saves. Where
TRL's time over the floor is below what is demanded, the demand cannot be met on that processor.

Prediction, written before the first run on this code: with native bfloat16 hh 8.3, long 5.5, balanced 4.6, short 3.0,
against tuned TRL 3.2, smollm2 4; memory a fifth.

$ make bench NAME=dpo            # 3 rounds, under 10 minutes on 2 cores
$ make bench NAME=dpo FULL=1     # 5 rounds, 48 pairs
$ ONLY=hh,exact ROUNDS=1 make bench NAME=dpo    # parts of it: hh, long, balanced, short, memory, exact, smollm2
"""

from __future__ import annotations

import copy
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ["OMP_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from align.configs import RuntimeConfig
from align.runner.machine import cpu_has_bf16, packages
from benchmarks import pairs as data

FULL = bool(os.environ.get("FULL"))
ROUNDS = int(os.environ.get("ROUNDS") or (5 if FULL else 3))
BATCH = 8
VOCABULARY = 8192
MOST_CHAT = 320
"""Tokens of a pair for the chat model: with longer ones TRL's block of logits takes more than 16 GB."""


def small_model(seed: int = 0) -> Any:
    """The 18.9M Llama, in float32."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY, hidden_size=384, intermediate_size=1024, num_hidden_layers=8, num_attention_heads=6,
            num_key_value_heads=2, max_position_embeddings=1024, tie_word_embeddings=False, bos_token_id=1,
            eos_token_id=2, pad_token_id=0,
        )
    )  # fmt: skip


class Side:
    """One trainer and what it has taken."""

    def __init__(self, name: str, model: Any, rows: list[data.Pair], *, dtype: str, attention: str) -> None:
        import torch
        import trl.trainer.utils as theirs
        from datasets import Dataset
        from trl import DPOConfig, DPOTrainer

        from align.training.packed import pack_in_place

        class Tokens(DPOTrainer):  # type: ignore[misc]
            def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
                return dataset

            def _precompute_ref_logps(self, dataset: Any, *_: Any, **__: Any) -> Any:
                return dataset

        self.name, self.rows = name, rows
        model.set_attn_implementation(attention)
        self.trainer = Tokens(
            model=model,
            args=DPOConfig(
                output_dir=tempfile.mkdtemp(), use_cpu=True, bf16=dtype == "bfloat16", gradient_checkpointing=False,
                precompute_ref_log_probs=True, report_to="none", per_device_train_batch_size=BATCH, save_strategy="no",
                max_length=None, disable_tqdm=True,
            ),
            train_dataset=Dataset.from_list(rows),
            processing_class=tokenizer(),
        )  # fmt: skip
        if name == "packed":
            assert not isinstance(pack_in_place(self.trainer.model), str)
        self.head_everywhere = theirs._use_triton if name in ("trl", "eager") else (lambda device: True)
        self.model = self.trainer.accelerator.prepare_model(self.trainer.model)
        self.model.train()
        self.trainer.current_gradient_accumulation_steps = 1
        self.dtype = torch.bfloat16 if dtype == "bfloat16" else torch.float32

    def batches(self, rows: list[data.Pair], references: list[tuple[float, float]]) -> list[Any]:
        """Rows with their references, collated as TRL does."""
        order = list(range(len(rows)))
        if self.name == "tuned":
            order.sort(
                key=lambda i: (
                    len(rows[i]["prompt_ids"]) + max(map(len, (rows[i]["chosen_ids"], rows[i]["rejected_ids"])))
                )
            )
        full = [
            {**rows[i], "ref_chosen_logps": references[i][0], "ref_rejected_logps": references[i][1]} for i in order
        ]
        return [full[start : start + BATCH] for start in range(0, len(full), BATCH)]

    def reference(self, rows: list[data.Pair]) -> list[tuple[float, float]]:
        """The model's own log-probabilities of each pair."""
        found: list[tuple[float, float]] = []
        for start in range(0, len(rows), BATCH):
            inputs = self.trainer._prepare_inputs(self.trainer.data_collator(rows[start : start + BATCH]))
            first, second = self.trainer.compute_ref_log_probs(self.model, inputs)
            found += zip(first.tolist(), second.tolist(), strict=True)
        return found

    def step(self, batch: list[Any]) -> tuple[float, float]:
        """CPU seconds and loss of one training step; gradients are left where they are."""
        import trl.trainer.utils as theirs

        before, theirs._use_triton = theirs._use_triton, self.head_everywhere
        self.model.zero_grad(set_to_none=True)
        try:
            start = time.process_time()
            loss = self.trainer.training_step(self.model, self.trainer.data_collator(batch), None)
            return time.process_time() - start, float(loss)
        finally:
            theirs._use_triton = before


def tokenizer() -> Any:
    """The real model's, for lengths are real ones only with a real vocabulary."""
    from align.models.load import load_tokenizer

    if not data.CHAT.is_dir():
        raise SystemExit(f"{data.CHAT}: the chat model is not there; run: make real-model")
    return load_tokenizer(data.CHAT)


def rounds(sides: list[Side], rows: list[data.Pair], *, n: int) -> dict[str, Any]:
    """CPU seconds over all rows, a median of `n` rounds for each side; first what each computes, then the time."""
    references = sides[-1].reference(rows)
    made = {side.name: side.batches(rows, references) for side in sides}
    taken: dict[str, list[float]] = {side.name: [] for side in sides}
    losses: dict[str, float] = {}
    for i in range(n):
        for side in sides if i % 2 else sides[::-1]:
            if side.name == "eager" and i:
                continue
            steps = [side.step(batch) for batch in made[side.name]]
            taken[side.name].append(sum(seconds for seconds, _ in steps))
            losses[side.name] = statistics.mean(loss for _, loss in steps)
    return {"cpu_s": {name: round(statistics.median(t), 3) for name, t in taken.items()}, "losses": losses,
            "all": {name: [round(x, 2) for x in t] for name, t in taken.items()}}  # fmt: skip


def floor(model: Any, rows: list[data.Pair], dtype: str) -> float:
    """CPU seconds of a tree step's linear layers: forward, and both products of the way back."""
    import torch

    from align.models.trees import Group, pack

    n_tokens = n_predicted = 0
    for start in range(0, len(rows), BATCH):
        groups = [Group(tuple(r["prompt_ids"]), (tuple(r["chosen_ids"]), tuple(r["rejected_ids"])))
                  for r in rows[start : start + BATCH]]  # fmt: skip
        (row,) = pack(groups, 10**9)
        n_tokens, n_predicted = n_tokens + row.n_tokens, n_predicted + len(row.sources)
    head = model.get_output_embeddings()
    shapes: dict[tuple[int, int, int], int] = {}
    for layer in (m for m in model.modules() if isinstance(m, torch.nn.Linear)):
        key = (n_predicted if layer is head else n_tokens, *layer.weight.shape)
        shapes[key] = shapes.get(key, 0) + 1
    taken = 0.0
    for (n, width_out, width_in), times in shapes.items():
        x, w, g = (
            torch.randn(*s, dtype=getattr(torch, dtype)) for s in ((n, width_in), (width_out, width_in), (n, width_out))
        )
        once = []
        for _ in range(4):
            start_s = time.process_time()
            x @ w.t(), g @ w, g.t() @ x
            once.append(time.process_time() - start_s)
        taken += statistics.median(once[1:]) * times
    return taken


def apart(first: Any, second: Any) -> float:
    """The norm of the difference of two models' gradients over the norm."""
    both = [(p.grad.double(), q.grad.double()) for p, q in zip(first.parameters(), second.parameters(), strict=True)]
    return float(sum(((a - b) ** 2).sum() for a, b in both).sqrt() / sum((b**2).sum() for _, b in both).sqrt())


def float32_error(rows: list[data.Pair]) -> tuple[float, float]:
    """Loss and gradient of the packed trainer against TRL's own, float32, one batch, policy away from its reference."""
    sides = [Side(name, small_model(), rows[:BATCH], dtype="float32", attention="sdpa") for name in ("trl", "packed")]
    moved = [(a + 3.0, b - 2.0) for a, b in sides[1].reference(rows[:BATCH])]
    losses = [side.step(side.batches(rows[:BATCH], moved)[0])[1] for side in sides]
    return abs(losses[1] - losses[0]) / abs(losses[0]), apart(sides[1].trainer.model, sides[0].trainer.model)


def float64_error(rows: list[data.Pair]) -> float:
    """Gradients of a tree in float64 against each answer run alone by a plain transformers pass."""
    import torch

    from align.models.trees import Group, answer_sums, logps, pack

    tree = small_model().double()
    plain = copy.deepcopy(tree)
    groups = [Group(tuple(r["prompt_ids"]), (tuple(r["chosen_ids"]), tuple(r["rejected_ids"]))) for r in rows[:4]]
    (row,) = pack(groups, 10**9)
    sums = answer_sums(logps(tree, row)["log_probs"], row)
    margins = sums[0::2] - sums[1::2] if row.names[0][1] == 0 else sums[1::2] - sums[0::2]
    (-torch.nn.functional.logsigmoid(0.1 * margins)).mean().backward()
    for group in groups:
        found = []
        for answer in group.answers:
            ids = torch.tensor([group.prompt + answer])
            scores = torch.log_softmax(plain(input_ids=ids).logits[0, len(group.prompt) - 1 : -1], -1)
            found.append(scores.gather(-1, torch.tensor(answer)[:, None]).sum())
        (-torch.nn.functional.logsigmoid(0.1 * (found[0] - found[1])) / len(groups)).backward()
    return apart(tree, plain)


def peak_mib(name: str) -> float:
    """MiB above model, gradients and optimizer that one hh step takes, in a process of its own."""
    told = subprocess.run([sys.executable, __file__, "--memory", name], capture_output=True, text=True, check=False)
    if told.returncode:
        raise SystemExit(told.stderr[-2000:])
    return float(told.stdout.splitlines()[-1])


def memory(name: str) -> None:
    """Print what `peak_mib` asks for."""
    import torch

    ready()
    dtype, attention = fastest(name)
    rows = data.tokens(24, tokenizer(), vocabulary=VOCABULARY)
    model = small_model()
    side = Side(name, model, rows[:BATCH], dtype=dtype, attention=attention)
    worst = max(range(0, 24, BATCH), key=lambda s: max(len(r["prompt_ids"]) for r in rows[s : s + BATCH]))
    (batch,) = side.batches(rows[worst : worst + BATCH], [(-50.0, -50.0)] * BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    tiny = [{**r, "prompt_ids": r["prompt_ids"][:4], "chosen_ids": r["chosen_ids"][:2],
             "rejected_ids": [7, *r["rejected_ids"][:2]]} for r in batch]  # fmt: skip
    side.step(tiny)
    optimizer.step()
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    side.model.zero_grad = lambda set_to_none=True: None
    before = status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    side.step(batch)
    print((status("VmHWM") - before) / 1024)


def status(what: str) -> int:
    """KiB."""
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith(what))
    return int(line.split()[1])


def fastest(name: str) -> tuple[str, str]:
    """Number format that is fastest here, and a side's attention; TRL's own default is sdpa."""
    return ("bfloat16" if cpu_has_bf16() else "float32"), ("eager" if name == "eager" else "sdpa")


def ready() -> None:
    from align.training import loop

    loop.ready(RuntimeConfig(device="cpu", dtype="float32", threads=1))


def main() -> None:
    ready()
    started = time.perf_counter()
    words = tokenizer()
    n = 48 if FULL else 16
    hh = data.tokens(n, words, vocabulary=VOCABULARY)
    sets = {
        "hh": hh,
        "long": data.cut(hh, BATCH, prompt=384, answer=64),
        "balanced": data.cut(hh, BATCH, prompt=128, answer=128),
        "short": data.cut(hh, BATCH, prompt=32, answer=256),
    }
    found: dict[str, Any] = {}
    raw: dict[str, Any] = {}
    for name, rows in sets.items():
        if (only := os.environ.get("ONLY")) and name not in only.split(","):
            continue
        sides = []
        for side in ("trl", "tuned", "packed") if name == "hh" else ("trl", "eager", "packed"):
            dtype, attention = fastest(side)
            sides.append(Side(side, small_model(), rows, dtype=dtype, attention=attention))
        raw[name] = rounds(sides, rows, n=ROUNDS)
        cpu = raw[name]["cpu_s"]
        found[f"speedup_{name}"] = round(cpu["trl"] / cpu["packed"], 2)
        raw[name]["floor"] = round(floor(sides[-1].trainer.model, rows, fastest("packed")[0]), 3)
        found[f"most_possible_{name}"] = round(cpu["trl"] / raw[name]["floor"], 2)
        if name == "hh":
            found["speedup_vs_tuned_trl_hh"] = round(cpu["tuned"] / cpu["packed"], 2)
        else:
            found[f"speedup_{name}_vs_eager"] = round(cpu["eager"] / cpu["packed"], 2)
        print(f"{name:<9} {raw[name]}", flush=True)
        del sides
    found |= rest(hh, words, raw, os.environ.get("ONLY") or "memory,exact,smollm2")
    found["native_bf16"] = cpu_has_bf16()
    found["trl_attention"] = "sdpa, transformers' default, for trl and tuned; eager beside it on rows of like length"
    raw["wall_s"] = round(time.perf_counter() - started)
    print(json.dumps({**found, "raw": raw, "packages": packages()}))


def rest(hh: list[data.Pair], words: Any, raw: dict[str, Any], which: str) -> dict[str, Any]:
    """Memory, exactness, and the real chat model, as far as asked for."""
    from align.models.load import load_model

    found: dict[str, Any] = {}
    if "memory" in which:
        peaks = {name: peak_mib(name) for name in ("trl", "packed")}
        raw["peak_mib"] = peaks
        found["memory_ratio_hh"] = round(peaks["packed"] / peaks["trl"], 3)
        print(f"memory    {peaks}", flush=True)
    if "exact" in which:
        shortest = sorted(hh, key=lambda r: len(r["prompt_ids"]) + len(r["chosen_ids"]) + len(r["rejected_ids"]))
        found["max_rel_grad_error_fp64"] = float64_error(shortest)
        found["rel_loss_error_fp32"], found["max_rel_grad_error_fp32"] = float32_error(shortest)
        print(f"exactness {found}", flush=True)
    if "smollm2" not in which:
        return found
    rows = data.tokens(BATCH, words, vocabulary=len(words), most=MOST_CHAT, seed=1)
    sides = []
    for side in ("trl", "packed"):
        dtype, attention = fastest(side)
        sides.append(Side(side, load_model(data.CHAT), rows, dtype=dtype, attention=attention))
    raw["smollm2"] = rounds(sides, rows, n=min(ROUNDS, 3))
    cpu = raw["smollm2"]["cpu_s"]
    raw["smollm2"]["floor"] = round(floor(sides[-1].trainer.model, rows, fastest("packed")[0]), 3)
    found["speedup_smollm2_hh"] = round(cpu["trl"] / cpu["packed"], 2)
    print(f"smollm2   {raw['smollm2']}", flush=True)
    return found


if __name__ == "__main__":
    memory(sys.argv[2]) if sys.argv[1:2] == ["--memory"] else main()
