"""Any TRL trainer's forward, packed in place: a padded batch is run as prompt trees, and comes back as TRL expects it.

TRL's losses, metrics, references, adapters, launchers and checkpoints stay as they are: only what stands between a
batch of token ids and their log-probabilities is replaced. B rows, L columns of the padded batch.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from trl.trainer.utils import FusedCausalLMOutput

from align.models.answer_head import METRICS
from align.models.packing import SHARE, Pack, bundle_rows
from align.models.trees import head, hidden_states, unwrapped, why_unsupported
from align.ports import Workshop
from align.training.reference import Logps, reference_logps

KNOWN = frozenset({"input_ids", "attention_mask", "use_cache", "logits_to_keep", "num_items_in_batch"})
"""What a forward may be given for its batch to be packed; whatever else is given must be empty."""


@dataclass
class Packing:
    """What became of the batches of a packed model."""

    forwards: int = 0
    """Forwards that were run as trees."""
    padded: int = 0
    """Forwards that TRL's own way had to take."""
    tokens: int = 0
    """Tokens computed in trees."""
    tokens_padded: int = 0
    """Tokens that the same batches have with their padding."""
    last: FusedCausalLMOutput | None = None
    """What the last forward with gradients gave."""


class InTrees:
    """What a trainer of TRL's is besides, so that its batches are run as prompt trees where its model can."""

    workshop: Workshop
    model: Any
    packed: bool
    reference: str = ""
    """What its reference stands on (`standing_for`), where it has one."""
    outputs: tuple[str, ...] = METRICS[:3]
    """What its forward tells beside log-probabilities."""
    packing: Packing | None = None

    def pack(self) -> None:
        """Run batches as trees from here on; called once TRL has given the model its head, and before any batch."""
        if self.packed and self.packing is None:
            if self.workshop.runtime.sharding == "zero3":
                found: Packing | str = "ZeRO-3 has no whole head to compute answers with"
            else:
                found = pack_in_place(self.model, outputs=self.outputs)
            if isinstance(found, str):
                self.workshop.note(f"not packed: {found}; batches are padded, as TRL pads them")
                self.packed = False
            else:
                self.packing = found

    def kept_logps(
        self,
        rows: Any,
        name: str,
        compute: Callable[[Sequence[int]], Logps],
        *,
        lengths: Sequence[int],
        batch_size: int,
        columns: Sequence[str],
    ) -> Logps:
        """`reference_logps` of the rows, run as the policy is run."""
        self.pack()
        self.model.eval()
        return reference_logps(
            rows,
            name,
            compute,
            self.workshop,
            lengths=lengths,
            batch_size=batch_size if self.packing is None else None,
            made_of=[self.reference, self.workshop.runtime.dtype, self.packing is not None],
            columns=columns,
        )


def pack_in_place(
    model: Any,
    *,
    share: int = SHARE,
    temperature: float = 1.0,
    outputs: tuple[str, ...] = METRICS[:3],
    float32_head: bool = False,
) -> Packing | str:
    """Make `model(…, labels=…, fused_lm_head=True)` run trees; or say, in words, why this model cannot.

    For a model that TRL's trainer has given its fused head, wrapped or not; `temperature`, `outputs` and `float32_head`
    as that trainer has them. Batches that cannot be packed (given as vectors, or with places of their own) go TRL's way
    and are counted.
    """
    base = unwrapped(model)
    fault = why_unsupported(base)
    if fault is not None:
        return fault
    theirs, metrics = base.forward, tuple(name for name in outputs if name != "log_probs")
    seen = Packing()

    def forward(self: Any, *args: Any, fused_lm_head: bool = False, labels: Any = None, **kwargs: Any) -> Any:
        if not fused_lm_head:
            return theirs(*args, **kwargs) if labels is None else theirs(*args, labels=labels, **kwargs)
        row = None if args or labels is None else flat(labels, kwargs, share=share)
        if row is None or getattr(self.config.get_text_config(), "output_router_logits", False):
            seen.padded += 1
            return theirs(*args, fused_lm_head=True, labels=labels, **kwargs)
        state_TC = hidden_states(self, row)
        with torch.autocast(state_TC.device.type, enabled=False) if float32_head else nullcontext():
            state_TC = state_TC.float() if float32_head else state_TC
            found = head(self, state_TC, row, metrics, temperature=temperature)
        seen.forwards += 1
        seen.tokens += row.n_tokens
        seen.tokens_padded += labels.numel()
        out = padded(found, row, labels, kwargs.get("num_items_in_batch"))
        if torch.is_grad_enabled():
            seen.last = out
        return out

    # the signature of the class's own forward stays: generation checks its arguments against it
    forward.__wrapped__ = type(base).forward  # type: ignore[attr-defined]
    base.forward = types.MethodType(forward, base)
    return seen


def flat(labels: torch.Tensor, given: dict[str, Any], *, share: int) -> Pack | None:
    """The rows of a padded batch as one packed row; None where the batch is not of token ids alone."""
    ids = given.get("input_ids")
    if ids is None or any(value is not None for name, value in given.items() if name not in KNOWN):
        return None
    mask = given.get("attention_mask")
    real = torch.ones_like(ids) if mask is None else mask
    if real.shape != ids.shape:
        return None
    rows, predicted, places = [], [], []
    for tokens, is_real, label in zip(ids.tolist(), real.tolist(), labels.tolist(), strict=True):
        columns = [c for c, r in enumerate(is_real) if r]
        wanted = [i for i, c in enumerate(columns) if label[c] != -100]
        if wanted and (wanted[0] == 0 or any(label[columns[i]] != tokens[columns[i]] for i in wanted)):
            return None
        # what follows the last token that is predicted decides nothing
        rows.append(tuple(tokens[c] for c in columns[: wanted[-1] + 1]) if wanted else ())
        predicted.append(wanted)
        places.append(columns)
    row = Pack(bundle_rows(rows, predicted, share=share))
    if not row.sources:
        return None
    width = ids.shape[1] - 1
    row.cells = [
        b * width + places[b][column] - 1
        for b, column in ((row.names[o][0], c) for o, c in zip(row.owners, row.columns, strict=True))
    ]
    return row


def padded(found: dict[str, torch.Tensor], row: Pack, labels: torch.Tensor, num_items: Any) -> FusedCausalLMOutput:
    """Results of R predicted tokens, scattered into TRL's [B, L - 1]; zero where nothing is predicted."""
    shape = (labels.shape[0], labels.shape[1] - 1)
    cells = row.tensor("cells", labels.device)

    def scattered(values_R: torch.Tensor) -> torch.Tensor:
        return values_R.new_zeros(shape[0] * shape[1]).index_put((cells,), values_R).view(shape)

    log_probs = scattered(found["log_probs"])
    mask = labels[:, 1:] != -100
    return FusedCausalLMOutput(
        loss=-log_probs.sum() / (len(row.sources) if num_items is None else num_items),
        label_mask=mask,
        log_probs=log_probs,
        **{name: scattered(values) for name, values in found.items() if name != "log_probs"},
    )
