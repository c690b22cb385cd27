"""Trees against each answer run alone: losses x families x full or LoRA x accumulation x checkpointing.

Both sides go through TRL's own loss; what differs is where the log-probabilities come from. Weights are float64 where
the family can, so that what is left is the tree's own error and not float32's.
"""

from __future__ import annotations

import types
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from trl import DPOConfig
from trl.trainer.dpo_trainer import DataCollatorForPreference
from trl.trainer.utils import FusedCausalLMOutput

from align.models.trees import unwrapped
from align.training.packed import Packing, pack_in_place
from tests.models.families import FAMILIES, FLOAT32, family
from tests.training.test_packed import LOSSES, Tokens, pairs, tokenizer  # noqa: F401

NAMED = ("sigmoid", "hinge", "ipo", "robust", "apo_zero", "sigmoid_norm", "sft")
HELD = tuple(name for name in FAMILIES if name not in ("mistral", "gpt_oss"))
"""21 families, Mistral with its window; with seven losses that is 147 cells."""
SETTINGS = ((False, 1, False), (False, 3, True), (True, 1, True), (True, 3, False))
"""(LoRA, micro-batches, checkpointing), in which every two values of two settings meet."""
EXACT = {"gpt2": 1e-12, "gemma2": 5e-5}
"""GPT-2's pass really is float64. Gemma 2's softmax and soft-caps stay float32 in the midst of float64, which adapters
drawn at random blow up to 1.9e-5 in 6 of its 120 cells; the middle one is at 5.5e-7."""
Cell = tuple[str, str, bool, int, bool]


def covering() -> list[Cell]:
    """Cells in which every two settings of two axes meet."""
    return [
        (name, loss, *SETTINGS[(f + n) % len(SETTINGS)]) for f, name in enumerate(HELD) for n, loss in enumerate(NAMED)
    ]


def every() -> list[Cell]:
    """All of them."""
    return list(product(FAMILIES, (*LOSSES, "sft"), (False, True), (1, 3), (False, True)))


@pytest.fixture(scope="module")
def losses(tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Tokens:  # noqa: F811
    """TRL's trainer, of which only the loss is used."""
    return Tokens(
        model=family("llama").float(),
        args=DPOConfig(
            output_dir=str(tmp_path_factory.mktemp("losses")), use_cpu=True, bf16=False, report_to="none",
            gradient_checkpointing=False, precompute_ref_log_probs=True, disable_tqdm=True,
        ),
        train_dataset=pairs(6),
        processing_class=tokenizer,
    )  # fmt: skip


def model_of(name: str, *, lora: bool) -> Any:
    model = family(name)
    if lora:
        torch.manual_seed(1)
        model = get_peft_model(
            model, LoraConfig(task_type="CAUSAL_LM", target_modules="all-linear", init_lora_weights=False, r=4)
        )
        model = model if name in FLOAT32 else model.double()
    return model


def one_at_a_time(model: Any) -> None:
    """Give a model TRL's interface over plain passes of one sequence each."""
    base = unwrapped(model)
    plain = base.forward

    def forward(self: Any, *_: Any, input_ids: Any, attention_mask: Any, labels: Any, **__: Any) -> Any:
        wide = torch.float32 if next(self.parameters()).dtype is torch.float32 else torch.float64
        out: dict[str, list[Any]] = {"log_probs": [], "entropy": [], "mean_logits": [], "is_top1": []}
        for ids, mask, label in zip(input_ids, attention_mask, labels, strict=True):
            n = int(mask.sum())
            scores = plain(input_ids=ids[None, :n], use_cache=False).logits[0, :-1].to(wide)
            logp = torch.log_softmax(scores, -1)
            wanted = label[1:n] != -100
            row = torch.zeros(len(ids) - 1, dtype=wide)
            row[: n - 1] = logp.gather(-1, ids[1:n, None])[:, 0] * wanted
            out["log_probs"].append(row)
            for key in ("entropy", "mean_logits", "is_top1"):
                out[key].append(torch.zeros(len(ids) - 1))
        stacked = {key: torch.stack(rows) for key, rows in out.items()}
        return FusedCausalLMOutput(**{**stacked, "is_top1": stacked["is_top1"].bool()})

    base.forward = types.MethodType(forward, base)


def loss_and_gradients(
    trainer: Tokens, model: Any, rows: list[dict[str, Any]], *, loss: str, micros: int
) -> tuple[float, dict[str, torch.Tensor]]:
    trainer.loss_types = [loss] if loss != "sft" else ["sigmoid", "sft"]
    trainer.loss_weights = [1.0] if loss != "sft" else [1.0, 0.7]
    trainer.label_smoothing = 0.1 if loss in ("robust", "exo_pair") else 0.0
    collate = DataCollatorForPreference(pad_token_id=0)
    total = 0.0
    size = len(rows) // micros
    for start in range(0, len(rows), size):
        inputs = collate(rows[start : start + size])
        for key in ("ref_chosen_logps", "ref_rejected_logps"):
            inputs[key] = inputs[key].double()
        found = trainer._compute_loss(model, inputs, False) / micros
        found.backward()
        total += float(found.detach())
    return total, {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


def check(trainer: Tokens, cell: Cell) -> float:
    """The norm of the gradients' difference over the norm, once it and the loss are within what is asked."""
    name, loss, lora, micros, checkpointing = cell
    rows = list(pairs(6, seed=hash_of(cell)))
    plain, tree = model_of(name, lora=lora), model_of(name, lora=lora)
    one_at_a_time(plain)
    seen = pack_in_place(tree, share=4)
    assert isinstance(seen, Packing), seen
    if checkpointing:
        tree.train()
        unwrapped(tree).gradient_checkpointing_enable({"use_reentrant": False})
        for module in tree.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
    with torch.random.fork_rng():
        wanted, gradients = loss_and_gradients(trainer, plain, rows, loss=loss, micros=micros)
        found, tree_gradients = loss_and_gradients(trainer, tree, rows, loss=loss, micros=micros)
    assert (seen.padded, seen.forwards) == (0, micros)
    tolerance = 2e-4 if name in FLOAT32 else EXACT.get(name, 1e-5)
    assert found == pytest.approx(wanted, rel=tolerance), "loss"
    assert tree_gradients.keys() == gradients.keys()
    norm = sum(float(g.double().square().sum()) for g in gradients.values()) ** 0.5
    apart = sum(float((tree_gradients[n] - g).double().square().sum()) for n, g in gradients.items()) ** 0.5
    if norm == 0:
        # every pair lies beyond the hinge: nothing is learnt, on either side
        assert loss == "hinge", cell
        assert apart == 0
        return 0.0
    assert apart <= tolerance * norm, f"gradients are {apart / norm:.1e} apart"
    return apart / norm


def hash_of(cell: Cell) -> int:
    return sum(ord(c) for c in "".join(map(str, cell)))


def by_family(cells: list[Cell]) -> Iterator[Any]:
    for name in dict.fromkeys(cell[0] for cell in cells):
        yield pytest.param([cell for cell in cells if cell[0] == name], id=name)


@pytest.mark.parametrize("cells", by_family(covering()))
def test_every_pair_of_settings_gives_the_loss_and_gradients_of_answers_run_alone(
    cells: list[Cell], losses: Tokens
) -> None:
    for cell in cells:
        check(losses, cell)


def test_the_covering_set_covers() -> None:
    cells = covering()
    assert len(cells) <= 150
    for a, b in ((i, j) for i in range(5) for j in range(i)):
        assert {(c[a], c[b]) for c in cells} == set(product({c[a] for c in cells}, {c[b] for c in cells}))


@pytest.mark.slow
@pytest.mark.parametrize("cells", by_family(every()))
def test_every_cell_gives_the_loss_and_gradients_of_answers_run_alone(
    cells: list[Cell], losses: Tokens, record_property: Any
) -> None:
    record_property("cells", len(cells))
    record_property("largest", max(check(losses, cell) for cell in cells))


def test_a_window_that_is_left_out_would_be_seen(losses: Tokens, tmp_path: Path) -> None:
    rows = list(pairs(6, seed=5))
    plain, tree = model_of("mistral_window", lora=False), model_of("mistral_window", lora=False)
    for layer in tree.model.layers:
        layer.self_attn.config.sliding_window = None
    one_at_a_time(plain)
    pack_in_place(tree)
    wanted, _ = loss_and_gradients(losses, plain, rows, loss="sigmoid", micros=1)
    found, _ = loss_and_gradients(losses, tree, rows, loss="sigmoid", micros=1)
    assert abs(found - wanted) > 1e-3 * abs(wanted)
