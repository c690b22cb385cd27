"""A reward model: a language model with one number for a vocabulary, read at the last token of a conversation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import MethodType
from typing import Any

import torch
from transformers.modeling_outputs import SequenceClassifierOutputWithPast

from align.errors import ModelError
from align.models import trees
from align.models.chat import Chat
from align.models.folder import inspect_folder, tensor_headers, weight_files
from align.models.load import every_token_has_a_vector, finite, first_line, load_tokenizer
from align.models.packing import BUDGET, Pack, bundle_rows, first_fit
from align.records import Message

HEADS = ("score.weight", "classifier.weight")
CHUNK_TOKENS, BLOCK_TOKENS = 65536, 8192
"""Tokens that are looked through for common beginnings at once; and those of a padded block."""
TRIAL = (Message(role="user", content="Is it so?"), Message(role="assistant", content="Yes."))


def has_head(folder: Path) -> bool:
    """Whether a folder's weights hold a head for scores; without one, loading would make up a random one."""
    return any(name.endswith(HEADS) for file in weight_files(folder) for name in tensor_headers(folder / file))


def load_reward(folder: Path, *, attention: str = "sdpa", device: str = "cpu") -> tuple[Any, Any]:
    """The reward model of a folder in float32 and evaluation mode, and its tokenizer; ModelError without a head."""
    inspect_folder(folder, needs_chat_template=True)
    if not has_head(folder):
        raise ModelError(
            f"{folder}: no weights for a reward head ({HEADS[0]}) found, so its scores would be random; "
            "give the `model` folder that stage `reward` made, or any one-label sequence classifier"
        )
    model, missing = _sequence_classifier(folder, attention)
    if missing:
        raise ModelError(f"{folder}: weights are missing for {missing[0]} and {len(missing) - 1} more")
    finite(model, str(folder))
    tokenizer = load_tokenizer(folder)
    pad(model, tokenizer)
    return model.to(device).eval(), tokenizer


def new_reward(folder: Path, *, init_std: float, seed: int, attention: str = "sdpa") -> tuple[Any, Any]:
    """A reward model on the weights of `folder`, its head drawn anew by `seed` where the folder has none."""
    inspect_folder(folder, needs_chat_template=True)
    model, missing = _sequence_classifier(folder, attention)
    head = [name for name in missing if name.endswith(HEADS)]
    if len(missing) > len(head):
        raise ModelError(f"{folder}: weights are missing for {missing[0]} and {len(missing) - 1} more")
    if head:
        generator = torch.Generator().manual_seed(seed)
        weight = model.get_parameter(head[0])
        with torch.no_grad():
            weight.copy_(torch.randn(weight.shape, generator=generator) * init_std)
    finite(model, str(folder))
    tokenizer = load_tokenizer(folder)
    every_token_has_a_vector(model, tokenizer, folder)
    pad(model, tokenizer)
    return model, tokenizer


def _sequence_classifier(folder: Path, attention: str) -> tuple[Any, list[str]]:
    from transformers import AutoModelForSequenceClassification

    try:
        model, report = AutoModelForSequenceClassification.from_pretrained(
            str(folder),
            num_labels=1,
            dtype=torch.float32,
            attn_implementation=attention,
            trust_remote_code=False,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise ModelError(
            f"{folder}: cannot be loaded as a one-label sequence classifier: {first_line(error)}"
        ) from error
    return model, sorted(report["missing_keys"])


def pad(model: Any, tokenizer: Any) -> None:
    """Give both a padding token that no conversation ends with.

    transformers reads the score at the last token that is not the padding token: where padding is the end of text, as
    in many chat models, it would read one token too early.
    """
    last = Chat(tokenizer, [tokenizer.eos_token_id]).whole(TRIAL)[-1]
    if tokenizer.pad_token_id == last:
        named = [tokenizer.unk_token, tokenizer.bos_token, *tokenizer.all_special_tokens]
        named += [tokenizer.convert_ids_to_tokens(i) for i in (0, 1)]
        tokenizer.pad_token = next(t for t in named if t is not None and tokenizer.convert_tokens_to_ids(t) != last)
    model.config.get_text_config().pad_token_id = tokenizer.pad_token_id
    model.config.pad_token_id = tokenizer.pad_token_id


def block(rows: Sequence[Sequence[int]], pad_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and mask [N, T] of conversations, padded on the right; ModelError where one ends with the padding."""
    longest = max(map(len, rows))
    input_ids_NT = torch.full((len(rows), longest), pad_id, dtype=torch.long)
    mask_NT = torch.zeros(len(rows), longest, dtype=torch.long)
    for i, ids in enumerate(rows):
        if ids[-1] == pad_id:
            raise ModelError(
                f"a conversation ends with the padding token ({pad_id}), behind which its score could not be read; "
                "give the reward model's tokenizer another pad_token"
            )
        input_ids_NT[i, : len(ids)] = torch.tensor(ids)
        mask_NT[i, : len(ids)] = 1
    return input_ids_NT, mask_NT


def take_packs(model: Any) -> None:
    """Let a reward model be called with `packs`, flat rows of prompt trees, as well as with a padded block.

    It stays transformers' and PEFT's model, under whatever wrapper a launcher puts around it.
    """
    base = trees.unwrapped(model)

    def forward(self: Any, *args: Any, packs: Sequence[Pack] | None = None, **kwargs: Any) -> Any:
        if packs is None:
            return type(self).forward(self, *args, **kwargs)
        return SequenceClassifierOutputWithPast(logits=torch.cat([scores_of(self, pack) for pack in packs])[:, None])

    base.forward = MethodType(forward, base)


def scores_of(base: Any, pack: Pack) -> torch.Tensor:
    """The scores [A] of a flat row's answers, in the order of its names; the head in float32 even under autocast."""
    state_AC = trees.last_hidden(base, pack)
    head = base.score if hasattr(base, "score") else base.classifier
    with torch.autocast(state_AC.device.type, enabled=False):
        scores_A1: torch.Tensor = head(state_AC.to(torch.promote_types(state_AC.dtype, torch.float32)))
    return scores_A1[:, 0]


def scores(model: Any, rows: Sequence[Sequence[int]], pad_id: int) -> list[float]:
    """The score of each conversation of tokens, in their order and in float32.

    Rows that begin alike are computed as one tree where the model can, else rows of like length are padded together.
    """
    # equal conversations are one row, for a row that begins another has no token of its own in the tree
    names = {row: n for n, row in enumerate(dict.fromkeys(map(tuple, rows)))}
    found = [0.0] * len(names)
    device = next(model.parameters()).device.type
    # whoever asks, in the middle of training under autocast too, gets the same score
    with torch.inference_mode(), torch.autocast(device, enabled=False):
        for some in _chunks(sorted(names), CHUNK_TOKENS) if trees.supported(model) else ():
            bundles = bundle_rows(some, [(len(row) - 1,) for row in some])
            for bin_ in first_fit(bundles, BUDGET, keep_last=True):
                pack = Pack(bin_, keep_last=True)
                for (i, _), score in zip(pack.names, scores_of(trees.unwrapped(model), pack), strict=True):
                    found[names[some[i]]] = float(score)
        for some in () if trees.supported(model) else _chunks(sorted(names, key=len), BLOCK_TOKENS):
            input_ids_NT, mask_NT = (x.to(next(model.parameters()).device) for x in block(some, pad_id))
            logits_N1 = model(input_ids=input_ids_NT, attention_mask=mask_NT, use_cache=False).logits
            for row, score in zip(some, logits_N1[:, 0].float(), strict=True):
                found[names[row]] = float(score)
    return [found[names[tuple(row)]] for row in rows]


def _chunks(rows: Sequence[tuple[int, ...]], most: int) -> Iterator[list[tuple[int, ...]]]:
    """Neighbours of at most so many tokens, padded to the longest of them; at least one row."""
    some: list[tuple[int, ...]] = []
    for row in rows:
        if some and (len(some) + 1) * max(len(row), *map(len, some)) > most:
            yield some
            some = []
        some.append(row)
    if some:
        yield some
