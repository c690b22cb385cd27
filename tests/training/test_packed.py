from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import PreTrainedTokenizerFast
from trl import DPOConfig, DPOTrainer
from trl.trainer.utils import add_fused_lm_head

from align.training.packed import Packing, flat, pack_in_place
from tests.models.families import family

LOSSES = ("sigmoid", "hinge", "ipo", "robust", "exo_pair", "nca_pair", "bco_pair", "sppo_hard", "aot", "aot_unpaired",
          "apo_zero", "apo_down", "discopop", "sigmoid_norm")  # fmt: skip
METRICS = ("loss", "grad_norm", "entropy", "mean_token_accuracy", "logits/chosen", "logits/rejected", "rewards/chosen",
           "rewards/rejected", "rewards/margins", "rewards/accuracies", "logps/chosen", "logps/rejected")  # fmt: skip


class Tokens(DPOTrainer):  # type: ignore[misc]
    """TRL's trainer over pairs that are tokens already and bring their reference along."""

    def _prepare_dataset(self, dataset: Dataset, *_: Any, **__: Any) -> Dataset:
        return dataset

    def _precompute_ref_logps(self, dataset: Dataset, *_: Any, **__: Any) -> Dataset:
        return dataset


def pairs(n: int, *, seed: int = 0) -> Dataset:
    """Pairs of which some share a system prompt, some the first words of their answers."""
    random = Random(seed)

    def some(least: int, most: int) -> list[int]:
        return [random.randrange(3, 97) for _ in range(random.randint(least, most))]

    system = some(9, 9)
    rows = []
    for i in range(n):
        opening = some(2, 3) if i % 3 == 0 else []
        rows.append({
            "prompt_ids": (system if i % 2 else []) + some(2, 30),
            "chosen_ids": opening + some(1, 20) + [2],
            "rejected_ids": opening + some(1, 20) + [2],
            "ref_chosen_logps": -random.uniform(20, 60),
            "ref_rejected_logps": -random.uniform(20, 60),
        })  # fmt: skip
    return Dataset.from_list(rows)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    words = {"<pad>": 0, "<s>": 1, "</s>": 2}
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(WordLevel(words, "<s>")), pad_token="<pad>",
                                   eos_token="</s>", bos_token="<s>")  # fmt: skip


def run(
    tokenizer: Any, folder: Path, *, packed: bool, name: str = "llama", adapter: Any = None, **settings: Any
) -> tuple[list[dict[str, float]], Packing | None]:
    model = family(name).float()
    trainer = Tokens(
        model=model,
        args=DPOConfig(
            output_dir=str(folder), use_cpu=True, bf16=False, report_to="none", logging_steps=1, save_strategy="no",
            disable_tqdm=True, precompute_ref_log_probs=True, learning_rate=1e-3, max_steps=2,
            **{"per_device_train_batch_size": 6, "gradient_checkpointing": False, **settings},
        ),
        train_dataset=pairs(24),
        processing_class=tokenizer,
        peft_config=adapter,
    )  # fmt: skip
    seen = pack_in_place(trainer.model) if packed else None
    assert not isinstance(seen, str)
    trainer.train()
    return [row for row in trainer.state.log_history if "loss" in row], seen


@pytest.mark.parametrize("loss", LOSSES)
def test_a_packed_dpo_trainer_logs_what_the_padded_one_logs(loss: str, tokenizer: Any, tmp_path: Path) -> None:
    smoothing = 0.1 if loss in ("robust", "exo_pair") else 0.0
    settings = {"loss_type": [loss, "sft"], "loss_weights": [1.0, 0.3], "label_smoothing": smoothing}
    padded, _ = run(tokenizer, tmp_path, packed=False, **settings)
    packed, seen = run(tokenizer, tmp_path, packed=True, **settings)
    assert seen is not None
    assert (seen.padded, seen.forwards) == (0, 2)
    assert seen.tokens < seen.tokens_padded / 2
    for theirs, ours in zip(padded, packed, strict=True):
        for metric in METRICS:
            assert ours[metric] == pytest.approx(theirs[metric], rel=2e-4, abs=2e-5), metric


def test_it_packs_under_lora_with_checkpointing_accumulation_and_weights_of_wpo(tokenizer: Any, tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "per_device_train_batch_size": 3, "gradient_accumulation_steps": 2, "gradient_checkpointing": True,
        "use_weighting": True,
    }  # fmt: skip
    adapter = {"task_type": "CAUSAL_LM", "target_modules": "all-linear", "init_lora_weights": False}
    torch.manual_seed(0)
    padded, _ = run(tokenizer, tmp_path, packed=False, adapter=LoraConfig(**adapter), **settings)
    torch.manual_seed(0)
    model = family("llama").float()
    trainer_outputs = ("log_probs", "entropy", "mean_logits", "is_top1", "log_sum_sq_probs")
    trainer = Tokens(
        model=model,
        args=DPOConfig(
            output_dir=str(tmp_path), use_cpu=True, bf16=False, report_to="none", logging_steps=1, save_strategy="no",
            disable_tqdm=True, precompute_ref_log_probs=True, learning_rate=1e-3, max_steps=2, **settings,
        ),
        train_dataset=pairs(24),
        processing_class=tokenizer,
        peft_config=LoraConfig(**adapter),
    )  # fmt: skip
    assert isinstance(pack_in_place(trainer.model, outputs=trainer_outputs[1:]), Packing)
    trainer.train()
    packed = [row for row in trainer.state.log_history if "loss" in row]
    for theirs, ours in zip(padded, packed, strict=True):
        for metric in METRICS:
            assert ours[metric] == pytest.approx(theirs[metric], rel=2e-4, abs=2e-5), metric


@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize("name", ["llama", "gemma3", "cohere2", "phi"])
def test_batches_padded_on_the_left_as_grpo_pads_them_come_back_in_place(name: str, temperature: float) -> None:
    model = family(name).float()
    add_fused_lm_head(model, temperature=temperature, outputs=("log_probs", "entropy"))
    ids = torch.tensor(
        [[0, 0, 0, 11, 12, 13, 14, 21, 22, 2], [5, 6, 7, 8, 9, 10, 11, 12, 2, 0], [0, 0, 0, 11, 12, 13, 14, 31, 2, 0]]
    )
    mask = (ids != 0).long()
    labels = ids.masked_fill(mask == 0, -100)
    labels[:, :7] = -100
    given = {"input_ids": ids, "attention_mask": mask, "labels": labels, "fused_lm_head": True, "use_cache": False}
    theirs = model(**given)
    (theirs.log_probs.tanh() * torch.arange(9)).sum().backward()
    grads = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    seen = pack_in_place(model, temperature=temperature, outputs=("entropy",), share=1)
    assert isinstance(seen, Packing)
    ours = model(**given)
    (ours.log_probs.tanh() * torch.arange(9)).sum().backward()
    assert seen.forwards == 1
    torch.testing.assert_close(ours.log_probs, theirs.log_probs, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.entropy, theirs.entropy, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.loss, theirs.loss, rtol=1e-4, atol=1e-5)
    for n, parameter in model.named_parameters():
        if n in grads:
            torch.testing.assert_close(parameter.grad, grads[n], rtol=2e-3, atol=2e-4, msg=n)


def test_a_family_without_the_interface_says_so_and_keeps_its_forward() -> None:
    model = family("bloom").float()
    before = model.forward
    assert "asked for 0 times" in str(pack_in_place(model))
    assert model.forward == before


def test_a_batch_with_places_of_its_own_is_left_to_trl() -> None:
    ids = torch.tensor([[1, 2, 3, 4]])
    assert flat(ids, {"input_ids": ids}, share=8) is None  # its first token would be predicted from nothing
    labels = torch.tensor([[-100, 2, 3, 4]])
    assert flat(labels, {"input_ids": ids}, share=8) is not None
    assert flat(labels, {"input_ids": ids, "position_ids": ids}, share=8) is None
    assert flat(labels, {"inputs_embeds": ids.float()}, share=8) is None
    assert flat(torch.full_like(ids, -100), {"input_ids": ids}, share=8) is None
