"""Log-probabilities of many answers to many prompts from one pass over each packed row, with gradients or without.

T tokens of a packed row, R tokens predicted in it, A answers in it, C width of the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch

from align.models.answer_head import HeadShape, head_logps
from align.models.attention import running
from align.models.packing import BUDGET, SHARE, Group, Pack, pack

__all__ = [
    "AnswerLogps", "Group", "Pack", "answer_logps", "hidden_states", "last_hidden", "logps", "pack", "supported",
    "why_unsupported",
]  # fmt: skip


@dataclass(frozen=True)
class AnswerLogps:
    """Nats of each answer of each group, given its prompt."""

    tokens: list[list[torch.Tensor]]
    """[group][answer], a float32 tensor on the CPU with one number a token."""

    @property
    def sums(self) -> list[list[float]]:
        """[group][answer], summed in float64."""
        return [[float(answer.double().sum()) for answer in group] for group in self.tokens]


def unwrapped(model: Any) -> Any:
    """transformers' model under PEFT's and a launcher's wrappers."""
    while hasattr(model, "module") and not hasattr(model, "get_output_embeddings"):
        model = model.module
    return model.get_base_model() if hasattr(model, "peft_config") and hasattr(model, "get_base_model") else model


def hidden_states(model: Any, row: Pack) -> torch.Tensor:
    """The decoder's last hidden states [T, C] of a packed row, with gradient.

    `model` must be `supported`, and its inputs must be tokens alone: an adapter that puts vectors before them
    (prompt tuning) has no place in a tree.
    """
    decoder = unwrapped(model).base_model
    device = decoder.get_input_embeddings().weight.device
    with running(decoder, row):
        out = decoder(
            input_ids=row.tensor("tokens", device)[None],
            position_ids=row.tensor("positions", device)[None],
            use_cache=False,
        )
    state: torch.Tensor = out.last_hidden_state[0]
    return state


def logps(model: Any, row: Pack, *, metrics: tuple[str, ...] = (), temperature: float = 1.0) -> dict[str, torch.Tensor]:
    """`log_probs` [R] of a packed row's predicted tokens, in the order of its lists, and the `metrics` asked for."""
    base = unwrapped(model)
    return head(base, hidden_states(base, row), row, metrics, temperature=temperature)


def head(
    base: Any, state_TC: torch.Tensor, row: Pack, metrics: tuple[str, ...], *, temperature: float = 1.0
) -> dict[str, torch.Tensor]:
    """The family's head over the places that predict, its logits divided by `temperature`."""
    output = base.get_output_embeddings()
    weight, bias = output.weight, getattr(output, "bias", None)
    if hasattr(weight, "full_tensor"):
        # FSDP2 has sharded it, and hidden states are whole
        weight, bias = weight.full_tensor(), None if bias is None else bias.full_tensor()
    h_RC = state_TC.index_select(0, row.tensor("sources", state_TC.device))
    return head_logps(
        h_RC,
        weight,
        bias,
        row.tensor("targets", state_TC.device),
        HeadShape.of(base, temperature=temperature),
        metrics,
    )


def answer_sums(log_probs_R: torch.Tensor, row: Pack) -> torch.Tensor:
    """Nats of each answer [A], in float32 at least, with gradient."""
    sums = log_probs_R.new_zeros(len(row.names))
    return sums.index_add(0, row.tensor("owners", log_probs_R.device), log_probs_R)


def last_hidden(model: Any, row: Pack) -> torch.Tensor:
    """The last hidden state at each answer's last token [A, C], with gradient; for packs made with `keep_last=True`.

    `row.names[a]` says which (group, answer) the a-th is. A reward model's score head goes on top.
    """
    if not row.keep_last:
        raise ValueError("this pack has dropped its answers' last tokens; make it with keep_last=True")
    state_TC = hidden_states(model, row)
    return state_TC.index_select(0, row.tensor("ends", state_TC.device))


def answer_logps(
    model: Any, groups: Sequence[Group], budget: int = BUDGET, *, share: int = SHARE, temperature: float = 1.0
) -> AnswerLogps:
    """Log-probabilities of every answer, token by token, without gradient and as the model stands (mode, autocast)."""
    found: list[list[torch.Tensor]] = [[torch.empty(0)] * len(group.answers) for group in groups]
    with torch.no_grad():
        for row in pack(groups, budget, share=share):
            values = logps(model, row, temperature=temperature)["log_probs"].float().cpu().split(row.counts)
            for (g, k), tokens in zip(row.names, values, strict=True):
                found[g][k] = tokens.clone()
    return AnswerLogps(found)


_FAULTS: WeakKeyDictionary[Any, str | None] = WeakKeyDictionary()


def supported(model: Any) -> bool:
    """Whether trees give this model's own numbers; looked into once a model."""
    return why_unsupported(model) is None


def why_unsupported(model: Any) -> str | None:
    """What keeps a model from being run as trees, in words; None where nothing does.

    Its attention must be asked through transformers' interface once a layer, and two answers of a made-up prompt must
    come out of a tree as they come out alone: a family that keeps a state along the row, or whose positions are not
    those it is told, fails there.
    """
    base = unwrapped(model)
    if base not in _FAULTS:
        _FAULTS[base] = _fault(base)
    return _FAULTS[base]


def _fault(base: Any) -> str | None:
    decoder = getattr(base, "base_model", None)
    if decoder is None or decoder is base:
        return "it has no decoder of its own"
    config = base.config.get_text_config()
    if getattr(config, "is_encoder_decoder", False):
        return "it is an encoder and a decoder"
    n = min(int(config.vocab_size), 64)
    prompt = tuple(i * 7 % n for i in range(1, 7))
    answers = (tuple(i * 5 % n for i in range(1, 5)), tuple(i * 3 % n for i in range(2, 5)))
    (tree,) = pack([Group(prompt, answers)], share=1, keep_last=True)
    modes = {module: module.training for module in base.modules()}
    # bitsandbytes rounds what it multiplies, whatever comes in and goes out
    rounded = any(getattr(module, "compute_dtype", None) in (torch.bfloat16, torch.float16) for module in modes)
    most = 0.25 if any(type(module).__name__ == "Linear8bitLt" for module in modes) else 0.05 if rounded else None
    base.eval()
    device = decoder.get_input_embeddings().weight.device
    try:
        with torch.no_grad():
            with running(decoder, tree) as run:
                out = decoder(
                    input_ids=tree.tensor("tokens", device)[None],
                    position_ids=tree.tensor("positions", device)[None],
                    use_cache=False,
                ).last_hidden_state[0]
            if run.calls != config.num_hidden_layers:
                return f"its attention was asked for {run.calls} times in {config.num_hidden_layers} layers"
            for end, answer in zip(tree.ends, answers, strict=True):
                ids = torch.tensor([prompt + answer], device=device)
                alone = decoder(input_ids=ids, use_cache=False).last_hidden_state[0, -1]
                apart = float((out[end] - alone).float().norm() / alone.float().norm().clamp(min=1e-6))
                if not apart < (most or TOLERANCE.get(alone.dtype, 0.05)):
                    return f"an answer in a tree came out {apart:.0e} away from the same answer alone"
    except (TypeError, ValueError, RuntimeError, KeyError, AttributeError, AssertionError) as error:
        return f"it does not run over a packed row ({type(error).__name__}: {str(error).splitlines()[0][:120]})"
    finally:
        for module, mode in modes.items():
            module.training = mode
    return None


TOLERANCE = {torch.float64: 1e-5, torch.float32: 1e-3}
"""How far, relative to its norm, a hidden state may lie from the plain pass; in half precision 5 %."""
