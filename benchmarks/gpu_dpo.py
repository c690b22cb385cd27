"""A DPO step on a GPU: TRL's DPOTrainer, and the same trainer with its batches packed as prompt trees.

Needs torch, transformers and trl alone, so that the file can be carried to a machine with a GPU by itself. The kernel
is FlexAttention with a block mask made from which pair, which answer and which position each token has, compiled once
for each length of row (rows are filled up to a multiple of 512); with `--kernel sdpa`, torch's masked attention.
The model is random (its speed does not depend on its weights); lengths are lognormal like hh-rlhf's.

Both sides: bfloat16, no gradient checkpointing, reference given, TRL's losses and metrics, batches of 8 pairs. Printed:
milliseconds a step (median over rounds that take turns), peak memory above the model's, and how far the losses differ.

$ python gpu_dpo.py                                     # 0.5B, one GPU
$ python gpu_dpo.py --smoke --kernel sdpa               # a tiny model on a CPU: is it right?

It has been run on a CPU with `--smoke` only: on a GPU nothing has been measured with it yet.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import statistics
import tempfile
import time
import types
from random import Random
from typing import Any

import torch
from datasets import Dataset
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import AttentionInterface, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import DPOConfig, DPOTrainer
from trl.kernels import ChunkedLogProbFunction
from trl.trainer.utils import FusedCausalLMOutput

OUTPUTS = ("entropy", "mean_logits", "is_top1")
ROW = 512
TREE: dict[str, Any] = {}
"""The mask of the row that is being run."""


def attend(module: Any, q: Any, k: Any, v: Any, mask: Any, scaling: Any = None, **_: Any) -> tuple[Any, None]:
    """Attention over one packed row, [1, heads, T, D] to [1, T, heads, D]."""
    if "block" in TREE:
        out = TREE["flex"](q, k, v, block_mask=TREE["block"], scale=scaling, enable_gqa=q.shape[1] != k.shape[1])
    else:
        gqa = q.shape[1] != k.shape[1]
        out = torch.nn.functional.scaled_dot_product_attention(
            q, k, v, attn_mask=TREE["dense"], scale=scaling, enable_gqa=gqa
        )
    return out.transpose(1, 2).contiguous(), None


AttentionInterface.register("tree", attend)


def lay(ids: torch.Tensor, mask: torch.Tensor, labels: torch.Tensor, *, multiple: int) -> dict[str, Any]:
    """TRL's batch (chosen above rejected) as one row: each prompt, then its two answers without their last tokens."""
    tokens: list[int] = []
    pair: list[int] = []
    branch: list[int] = []
    position: list[int] = []
    source: list[int] = []
    target: list[int] = []
    cell: list[int] = []
    half, width = ids.shape[0] // 2, ids.shape[1] - 1
    rows, real, want = ids.tolist(), mask.sum(1).tolist(), (labels != -100).tolist()
    for p in range(half):
        first, second = rows[p][: real[p]], rows[p + half][: real[p + half]]
        shared = next(i for i in range(len(first)) if want[p][i] or want[p + half][i])
        start = len(tokens)
        places = []
        for b, row in enumerate((first, second)):
            begin = 0 if b == 0 else shared
            places.append(len(tokens) - begin)
            for i in range(begin, len(row) - 1):
                tokens.append(row[i])
                pair.append(p)
                branch.append(0 if i < shared else b + 1)
                position.append(i)
            at = p + b * half
            for i in range(shared, len(row)):
                source.append(start + i - 1 if i - 1 < shared else places[b] + i - 1)
                target.append(row[i])
                cell.append(at * width + i - 1)
    fill = -len(tokens) % multiple
    tokens, position = tokens + [0] * fill, position + [0] * fill
    pair, branch = pair + [-1] * fill, branch + [0] * fill
    made = {"tokens": tokens, "position": position, "pair": pair, "branch": branch,
            "source": source, "target": target, "cell": cell}  # fmt: skip
    return {name: torch.tensor(values, device=ids.device) for name, values in made.items()}


def sees(pair: Any, branch: Any, position: Any, q: Any, k: Any) -> Any:
    """Whether token q sees token k: same pair, k in the prompt or in q's own answer, and not after it."""
    return (pair[q] == pair[k]) & ((branch[k] == 0) | (branch[k] == branch[q])) & (position[k] <= position[q])


def pack_in_place(model: Any, *, kernel: str) -> None:
    """Replace TRL's fused forward by one over a packed row."""
    if kernel == "flex":
        from torch.nn.attention.flex_attention import create_block_mask, flex_attention

        TREE["flex"] = torch.compile(flex_attention, dynamic=False)

    def forward(self: Any, *, input_ids: Any, attention_mask: Any, labels: Any, fused_lm_head: bool, **_: Any) -> Any:
        row = lay(input_ids, attention_mask, labels, multiple=ROW if kernel == "flex" else 1)
        n = len(row["tokens"])
        pair, branch, position = row["pair"], row["branch"], row["position"]
        if kernel == "flex":
            TREE["block"] = create_block_mask(
                lambda b, h, q, k: sees(pair, branch, position, q, k), None, None, n, n, device=input_ids.device
            )
        else:
            places = torch.arange(n, device=input_ids.device)
            TREE["dense"] = sees(pair, branch, position, places[:, None], places[None, :])[None, None]
        state = self.model(input_ids=row["tokens"][None], position_ids=position[None], use_cache=False)
        hidden = state.last_hidden_state[0].index_select(0, row["source"])
        found = ChunkedLogProbFunction.apply(
            hidden, self.lm_head.weight, None, row["target"], 1.0, 32768, None, 1.0, OUTPUTS
        )
        shape = (labels.shape[0], labels.shape[1] - 1)

        def scattered(x: Any) -> Any:
            return x.new_zeros(shape[0] * shape[1]).index_put((row["cell"],), x).view(shape)

        logp, entropy, _, mean, top = (None if x is None else scattered(x) for x in found)
        mask = labels[:, 1:] != -100
        return FusedCausalLMOutput(log_probs=logp, entropy=entropy, mean_logits=mean, is_top1=top, label_mask=mask)

    model.set_attn_implementation("tree")
    model.forward = types.MethodType(forward, model)


def pairs(n: int, vocabulary: int, seed: int) -> list[dict[str, Any]]:
    """Token ids at hh-rlhf's lengths."""
    random = Random(seed)

    def some(median: int, least: int, most: int) -> list[int]:
        k = int(min(most, max(least, median * random.lognormvariate(0, 0.9))))
        return [random.randrange(3, vocabulary) for _ in range(k)]

    made = []
    for _ in range(n):
        sides = {"prompt_ids": some(90, 12, 600), "chosen_ids": some(35, 4, 300), "rejected_ids": some(35, 4, 300)}
        # what a model that knows nothing gives: the margins are small, so the losses can differ
        reference = {
            f"ref_{side}_logps": -math.log(vocabulary) * len(sides[f"{side}_ids"]) for side in ("chosen", "rejected")
        }
        made.append({**sides, **reference})
    return made


class Tokens(DPOTrainer):  # type: ignore[misc]
    """TRL's own, over pairs that are tokens already."""

    def _prepare_dataset(self, dataset: Any, *_: Any, **__: Any) -> Any:
        return dataset

    def _precompute_ref_logps(self, dataset: Any, *_: Any, **__: Any) -> Any:
        return dataset


def trainer(config: LlamaConfig, rows: list[Any], *, cpu: bool) -> Any:
    torch.manual_seed(0)
    model = LlamaForCausalLM(copy.deepcopy(config)).to(torch.float32 if cpu else torch.bfloat16)
    words = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(WordLevel({"<pad>": 0, "</s>": 1}, "<pad>")), pad_token="<pad>", eos_token="</s>"
    )
    made = Tokens(
        model=model,
        args=DPOConfig(
            output_dir=tempfile.mkdtemp(), bf16=not cpu, use_cpu=cpu, gradient_checkpointing=False, report_to="none",
            precompute_ref_log_probs=True, max_length=None, per_device_train_batch_size=8,
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=words,
    )  # fmt: skip
    made.wrapped = made.accelerator.prepare_model(made.model)
    made.current_gradient_accumulation_steps = 1
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smoke", action="store_true", help="a tiny model on a CPU")
    parser.add_argument("--kernel", choices=("flex", "sdpa"), default="flex")
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    shape = (512, 64, 128, 2, 4, 2) if asked.smoke else (32000, 1024, 4096, 24, 16, 4)
    config = LlamaConfig(**dict(zip(
        ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
         "num_key_value_heads"), shape, strict=True)), max_position_embeddings=2048)  # fmt: skip
    rows = pairs(8 if asked.smoke else 64, shape[0], 0)
    sides = {name: trainer(config, rows, cpu=asked.smoke) for name in ("trl", "packed")}
    pack_in_place(sides["packed"].model, kernel=asked.kernel)
    taken: dict[str, list[float]] = {name: [] for name in sides}
    peak: dict[str, float] = {}
    losses: dict[str, list[float]] = {}
    for n in range(1 if asked.smoke else asked.rounds + 2):
        for name, side in sides.items():
            losses[name] = []
            if not asked.smoke:
                torch.cuda.synchronize()
                torch.cuda.reset_peak_memory_stats()
                before = torch.cuda.memory_allocated()
            start = time.perf_counter()
            for first in range(0, len(rows), 8):
                side.model.zero_grad(set_to_none=True)
                batch = side.data_collator(rows[first : first + 8])
                losses[name].append(float(side.training_step(side.wrapped, batch, None)))
            if not asked.smoke:
                torch.cuda.synchronize()
                peak[name] = (torch.cuda.max_memory_allocated() - before) / 2**20
            # the first two rounds compile
            if n >= 2 or asked.smoke:
                taken[name].append(1000 * (time.perf_counter() - start) / (len(rows) // 8))
    middle = {name: statistics.median(times) for name, times in taken.items()}
    apart = max(abs(a - b) / abs(b) for a, b in zip(losses["packed"], losses["trl"], strict=True))
    grads = [[p.grad.float() for p in sides[name].model.parameters()] for name in ("packed", "trl")]
    norm = sum(float(g.square().sum()) for g in grads[1]) ** 0.5
    gradient = sum(float((a - b).square().sum()) for a, b in zip(*grads, strict=True)) ** 0.5 / norm
    device = "cpu" if asked.smoke else torch.cuda.get_device_name()
    print(json.dumps({
        "speedup": round(middle["trl"] / middle["packed"], 2), "ms_a_step": middle, "peak_mib": peak,
        "memory_ratio": round(peak["packed"] / peak["trl"], 3) if peak else None,
        "largest_relative_loss_difference": apart, "relative_gradient_difference": gradient,
        "device": device, "kernel": asked.kernel,
    }))  # fmt: skip
    if max(apart, gradient) > (2e-4 if asked.smoke else 5e-2):
        raise SystemExit("the two sides do not compute the same losses")


if __name__ == "__main__":
    main()
