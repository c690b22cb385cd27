"""A tokenizer and a small Llama made from nothing but a recipe's own text."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from align.configs import Scratch

PAD, TEXT, SYSTEM, USER, ASSISTANT, END = "<|pad|>", "<|text|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"
CONTROLS = (PAD, TEXT, SYSTEM, USER, ASSISTANT, END)
MARKS = re.compile("|".join(map(re.escape, CONTROLS)))
TEMPLATE = (
    "{%- for message in messages -%}"
    "{%- if message['role'] not in ('system', 'user', 'assistant') -%}"
    "{{- raise_exception('this template knows system, user and assistant only') -}}"
    "{%- endif -%}"
    "{{- '<|' + message['role'] + '|>' -}}"
    "{%- if message['role'] == 'assistant' -%}"
    "{% generation %}{{- message['content'] + '<|end|>' -}}{% endgeneration %}"
    "{%- else -%}{{- message['content'] + '<|end|>' -}}{%- endif -%}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}"
)
"""No letter stands between a role's mark and the content, so a first word is the same token as one in the middle."""


def train_tokenizer(texts: Iterable[str], *, vocabulary: int, context: int) -> Any:
    """A byte-level BPE tokenizer: any text goes in and comes out unchanged, but for one space at its start."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    core.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", 1, 0)])
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(CONTROLS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    # cut at the marks, or pieces of them would be learnt as words
    core.train_from_iterator((piece for text in texts for piece in MARKS.split(text) if piece), trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token=TEXT, eos_token=END, pad_token=PAD, model_max_length=context,
        additional_special_tokens=[SYSTEM, USER, ASSISTANT], clean_up_tokenization_spaces=False,
    )  # fmt: skip
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def new_model(config: Scratch, tokenizer: Any, *, attention: str, seed: int) -> Any:
    """A Llama with random weights, its embeddings tied."""
    import torch
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    model = LlamaForCausalLM._from_config(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=config.width,
            intermediate_size=(config.width * 8 // 3 + 63) // 64 * 64,
            num_hidden_layers=config.layers,
            num_attention_heads=config.heads,
            num_key_value_heads=config.kv_heads or config.heads,
            max_position_embeddings=config.context,
            initializer_range=config.initializer_range,
            tie_word_embeddings=True,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        ),
        attn_implementation=attention,
        dtype=torch.float32,
    )
    model.generation_config = GenerationConfig(
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    return model


def blocks(documents: Iterable[list[int]], *, bos: int, length: int) -> list[list[int]]:
    """All documents on one tape, each opened by `bos`, cut into rows of `length` tokens; the rest is dropped."""
    tape: list[int] = []
    for document in documents:
        tape.append(bos)
        tape += document
    return [tape[i : i + length] for i in range(0, len(tape) - length + 1, length)]
