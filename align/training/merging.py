"""From an adapter to a whole model: folded in, and held to what was trained before anything is saved.

N learnt vectors, R tokens of some rows, C width of the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from align.configs import TrainingConfig
from align.errors import TrainingError
from align.models import peft
from align.models.apart import distance, openings, predicted, refusals_apart

ROWS, TOKENS, PROMPTS = 8, 64, 16
"""What the two models are compared on: so many training rows, so many tokens of each at most; and so many prompts."""
READ = 512
"""Tokens of a prompt, at most, that is answered by both."""
IGNORED = -100
"""The label of a token that is read but not learnt."""
AVOIDED = 20.0
"""How far below zero the logit of a token that stands for a learnt vector is to lie."""


def float_adapters(model: Any) -> None:
    """Adapters learn in float32: TRL puts those on a quantised base in bfloat16, which loses small updates."""
    for parameter in model.parameters():
        if parameter.requires_grad and parameter.dtype in (torch.bfloat16, torch.float16):
            parameter.data = parameter.data.float()


def whole(
    model: Any,
    tokenizer: Any,
    adapter: Path,
    base: Path | None,
    config: TrainingConfig,
    rows: Sequence[list[int]],
    prompts: Sequence[list[int]] = (),
) -> tuple[Any, dict[str, float]]:
    """A plain model that does what `model`, a PEFT model, does; and how far the two are apart on `rows` and `prompts`.

    `adapter` is the folder it was saved in, `base` the folder it began as. TrainingError past `config.merge_tolerance`
    (over an int8 base: from that base in float32 with its adapter beside it; `kl_as_run` is how far from it as it ran)
    and where more prompts than `config.merge_refusals` are declined by one of the two and answered by the other.
    """
    model = model.eval()
    # accelerate hangs a forward under autocast on the instance: its rounding would be taken for the merge's
    model.__dict__.pop("forward", None)
    for module in model.modules():
        # bitsandbytes rounds what it multiplies to this by itself
        if hasattr(module, "compute_dtype"):
            module.compute_dtype = torch.float32
    before = [predicted(model, ids) for ids in rows]
    speaks = not before or before[0].shape[-1] > 1
    began = openings(model, tokenizer, prompts) if speaks else []
    prefix: list[int] = []
    as_run: list[torch.Tensor] | None = None
    if config.prompt_tuning is not None:
        merged, prefix = spelt_out(model, tokenizer, rows)
    elif config.lora is not None and config.lora.base != "float32":
        from peft import PeftModel

        assert base is not None, "a quantised base is known by its folder"
        plain = peft.quantised(base, config.lora.base, compute="float32", attention="sdpa", device="cpu")
        plain = plain.dequantize().float()
        adapted = PeftModel.from_pretrained(plain, str(adapter), local_files_only=True).eval()
        if config.lora.base == "int8":
            # its products are of rounded activations, which no float32 weights can repeat: the fold alone is held
            as_run, before = before, [predicted(adapted, ids) for ids in rows]
        merged = adapted.merge_and_unload(safe_merge=True)
        # it is a plain model now: no trace of the format in which its base was frozen
        if hasattr(merged.config, "quantization_config"):
            del merged.config.quantization_config
    else:
        merged = model.merge_and_unload(safe_merge=True)
    apart = distance(before, [predicted(merged.eval(), prefix + ids)[len(prefix) :] for ids in rows])
    if as_run is not None and "kl" in apart:
        apart["kl_as_run"] = distance(as_run, [predicted(merged, ids) for ids in rows])["kl"]
    worst = max((apart[name] for name in ("kl", "score") if name in apart), default=0.0)
    if not worst <= config.merge_tolerance:
        raise TrainingError(
            f"merging: the model with its adapter folded in is {worst:.1e} away from the one that was trained, "
            f"{config.merge_tolerance:g} allowed (merge_tolerance), over {int(apart['n_tokens'])} tokens; no model is "
            "saved, and the last checkpoint is kept: raise merge_tolerance and run again to take it as it is, or train "
            "in full, or without a quantised base"
        )
    apart |= refusals_apart(began, openings(merged, tokenizer, [prefix + ids for ids in prompts]) if speaks else [])
    if apart.get("refusals_changed", 0.0) > config.merge_refusals:
        raise TrainingError(
            f"merging: of {len(prompts)} training prompts, {apart['refusals_changed']:.0%} are declined by the model "
            "that was trained and answered by the one with its adapter folded in, or the other way round; "
            f"{config.merge_refusals:.0%} allowed (merge_refusals); no model is saved, and the last checkpoint is "
            "kept: raise merge_refusals and run again to take it as it is, or train in full, or without a quantised "
            "base"
        )
    return merged, {
        name: float(f"{value:.1e}") if name in ("kl", "kl_as_run", "score") else value for name, value in apart.items()
    }


def spelt_out(model: Any, tokenizer: Any, rows: Sequence[list[int]]) -> tuple[Any, list[int]]:
    """Learnt vectors as tokens: the base with them in its embedding, its template beginning with them; and their ids.

    In the head, untied from the embedding, they are what gives a logit of -`AVOIDED` on the last hidden states of
    `rows` (by least squares), so that they are hardly ever predicted; how hardly is what the comparison says.
    """
    from tokenizers import AddedToken

    vectors_NC = model.prompt_encoder[model.active_adapter].embedding.weight.detach().clone()
    base = model.get_base_model()
    tokens = [f"<|learnt_{i}|>" for i in range(len(vectors_NC))]
    tokenizer.add_tokens([AddedToken(token, special=True, normalized=False) for token in tokens], special_tokens=True)
    ids = [int(tokenizer.convert_tokens_to_ids(token)) for token in tokens]
    embedding = base.get_input_embeddings()
    if len(tokenizer) > len(embedding.weight):
        base.resize_token_embeddings(len(tokenizer), mean_resizing=False)
        embedding = base.get_input_embeddings()
    if peft.tied(base):
        base.get_output_embeddings().weight = torch.nn.Parameter(embedding.weight.detach().clone())
    base.config.tie_word_embeddings = False
    base.config.get_text_config().tie_word_embeddings = False
    with torch.no_grad():
        embedding.weight[ids] = vectors_NC.to(embedding.weight)
        states = [_last_states(base, ids + row)[len(ids) :] for row in rows]
        if states:
            states_RC = torch.cat(states)
            away_C1 = torch.linalg.lstsq(states_RC, states_RC.new_full((len(states_RC), 1), -AVOIDED)).solution
            base.get_output_embeddings().weight[ids] = away_C1[:, 0].to(base.get_output_embeddings().weight)
    tokenizer.chat_template = "{{- '" + "".join(tokens) + "' -}}" + tokenizer.chat_template
    return base, ids


def _last_states(base: Any, ids: list[int]) -> torch.Tensor:
    device = base.get_input_embeddings().weight.device
    states = base.base_model(input_ids=torch.tensor([ids], device=device), use_cache=False).last_hidden_state[0]
    # least squares of states that are equal, as those of a shared system prompt are, are solved on a CPU alone
    return torch.as_tensor(states.float().cpu())


def some_rows(dataset: Any) -> list[list[int]]:
    """The first training rows as tokens, whatever a stage calls its columns; none where they are not tokens."""
    some = dataset.select(range(min(ROWS, len(dataset)))) if hasattr(dataset, "select") else []
    return cut([ids for ids in map(_ids, some) if ids])


def some_prompts(dataset: Any) -> list[list[int]]:
    """The first different prompts that answers are learnt to, as tokens; none where rows have no prompt."""
    some = dataset.select(range(min(4 * PROMPTS, len(dataset)))) if hasattr(dataset, "select") else []
    return short([ids for ids in map(_prompt, some) if ids])


def short(prompts: Sequence[Sequence[int]]) -> list[list[int]]:
    """Of prompts, the first different ones that are short enough to be answered for a comparison."""
    return [list(ids) for ids in dict.fromkeys(tuple(ids) for ids in prompts if len(ids) <= READ)][:PROMPTS]


def _prompt(row: Mapping[str, Any]) -> list[int]:
    if "labels" in row and "input_ids" in row:
        learnt = next((i for i, label in enumerate(row["labels"]) if label != IGNORED), 0)
        return list(row["input_ids"][:learnt])
    return list(row.get("prompt_ids") or ())


def cut(rows: Sequence[Sequence[int]]) -> list[list[int]]:
    """So many rows and tokens of them as are compared."""
    return [list(ids)[:TOKENS] for ids in rows[:ROWS]]


def _ids(row: Mapping[str, Any]) -> list[int] | None:
    if "input_ids" in row:
        return list(row["input_ids"])
    answer = next((row[name] for name in ("chosen_ids", "completion_ids") if name in row), None)
    answer = row["answer_ids"][0] if answer is None and "answer_ids" in row else answer
    return None if answer is None or "prompt_ids" not in row else [*row["prompt_ids"], *answer]
