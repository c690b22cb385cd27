"""The output head where a token is predicted, and nowhere else: log-probabilities in row chunks, no logits kept.

R rows (hidden states that predict a token), C width of the model, V vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

CHUNK_BYTES = 8 << 20
"""Logits of one chunk of rows: a core's cache and a little more."""
LEAST_ROWS = 64
"""Rows of a chunk, at least: each adds a whole matrix of the head's size to its gradient."""
KEEP_BYTES = 128 << 20
"""Probabilities are kept for the way back while they take no more than this; past it they are computed again."""
METRICS = ("entropy", "mean_logits", "is_top1", "log_sum_sq_probs")


@dataclass(frozen=True)
class HeadShape:
    """What a family does to its logits after the projection."""

    scale: float = 1.0
    softcap: float | None = None
    temperature: float = 1.0
    """What a caller divides the family's logits by."""

    @staticmethod
    def of(model: Any, *, temperature: float = 1.0) -> HeadShape:
        """Read from the settings, as each family names them: Cohere, Granite, Falcon-H1, Gemma 2 and 3."""
        text = model.config.get_text_config()
        scale = next(
            (
                float(found)
                for name in ("logit_scale", "output_multiplier", "lm_head_multiplier")
                if (found := getattr(text, name, None)) is not None
            ),
            None,
        )
        divisor = getattr(text, "logits_scaling", None)
        if scale is None and divisor is not None:
            scale = float(divisor) if text.model_type == "hyperclovax" else 1.0 / float(divisor)
        softcap = getattr(text, "final_logit_softcapping", None)
        return HeadShape(1.0 if scale is None else scale, softcap, temperature)


def head_logps(
    hidden_RC: torch.Tensor,
    weight_VC: torch.Tensor,
    bias_V: torch.Tensor | None,
    targets_R: torch.Tensor,
    shape: HeadShape,
    metrics: tuple[str, ...] = (),
) -> dict[str, torch.Tensor]:
    """`log_probs` of the targets [R], with gradient, and the `metrics` asked for, without.

    Under autocast the projection runs in autocast's format; sums over the vocabulary are float32 (float64 for float64).
    """
    kind = hidden_RC.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden_RC.dtype
    log_probs, *rest = AnswerHead.apply(
        hidden_RC.to(dtype),
        weight_VC.to(dtype),
        None if bias_V is None else bias_V.to(dtype),
        targets_R,
        shape,
        metrics,
    )
    return {"log_probs": log_probs, **dict(zip(metrics, rest, strict=True))}


class AnswerHead(torch.autograd.Function):  # type: ignore[misc]
    """log softmax(head(h))[target], its gradient formed from the probabilities, chunk by chunk."""

    @staticmethod
    def forward(
        ctx: Any,
        h_RC: torch.Tensor,
        w_VC: torch.Tensor,
        b_V: torch.Tensor | None,
        t_R: torch.Tensor,
        shape: HeadShape,
        metrics: tuple[str, ...],
    ) -> tuple[torch.Tensor, ...]:
        n, vocabulary = h_RC.shape[0], w_VC.shape[0]
        wide = torch.promote_types(h_RC.dtype, torch.float32)
        needs_h, needs_w, needs_b = ctx.needs_input_grad[:3]
        learns = needs_h or needs_w or needs_b
        keep = learns and n * vocabulary * h_RC.element_size() <= KEEP_BYTES
        out = h_RC.new_empty(n, dtype=wide)
        log_z = h_RC.new_empty(n, dtype=wide)
        found = [h_RC.new_empty(n, dtype=torch.bool if m == "is_top1" else wide) for m in metrics]
        kept: list[torch.Tensor] = []
        with torch.autocast(h_RC.device.type, enabled=False):
            for rows in chunks(n, vocabulary, wide):
                z_rV = logits(h_RC[rows], w_VC, b_V, shape, wide)
                targets = t_R[rows, None]
                top, at = z_rV.max(-1, keepdim=True)
                picked = z_rV.gather(-1, targets)
                for place, name in zip(found, metrics, strict=True):
                    if name == "mean_logits":
                        place[rows] = z_rV.mean(-1)
                    elif name == "is_top1":
                        place[rows] = (at == targets)[:, 0]
                picked_R, shifted = (picked - top)[:, 0], z_rV.sub_(top)
                e_rV = shifted.exp() if "entropy" in metrics else shifted.exp_()
                sums = e_rV.sum(-1, keepdim=True)
                logs = sums.log()[:, 0]
                out[rows] = picked_R - logs
                log_z[rows] = logs + top[:, 0]
                p_rV = e_rV.div_(sums)
                for place, name in zip(found, metrics, strict=True):
                    if name == "entropy":
                        place[rows] = logs - torch.linalg.vecdot(p_rV, shifted)
                    elif name == "log_sum_sq_probs":
                        place[rows] = torch.linalg.vecdot(p_rV, p_rV).log()
                if keep:
                    kept.append(p_rV.to(h_RC.dtype))
        ctx.save_for_backward(h_RC, w_VC, b_V, t_R, log_z, *kept)
        ctx.shape, ctx.wide = shape, wide
        ctx.mark_non_differentiable(*found)
        return (out, *found)

    @staticmethod
    def backward(ctx: Any, grad_R: torch.Tensor, *_: Any) -> tuple[torch.Tensor | None, ...]:
        h_RC, w_VC, b_V, t_R, log_z, *kept = ctx.saved_tensors
        shape: HeadShape = ctx.shape
        needs_h, needs_w, needs_b = ctx.needs_input_grad[:3]
        dh_RC = torch.empty_like(h_RC) if needs_h else None
        # over chunks, sums are wide: rounded to half precision at every chunk they would drift
        dw_VC = torch.zeros_like(w_VC, dtype=ctx.wide) if needs_w else None
        db_V = torch.zeros_like(b_V, dtype=ctx.wide) if needs_b else None
        for i, rows in enumerate(chunks(len(t_R), w_VC.shape[0], ctx.wide)):
            g_r1 = grad_R[rows, None].to(ctx.wide) * (shape.scale / shape.temperature)
            if kept and shape.softcap is None:
                d_rV = kept[i] * (-g_r1).to(h_RC.dtype)
            else:
                z_rV = logits(h_RC[rows], w_VC, b_V, shape, ctx.wide)
                slope = None
                if shape.softcap is not None:
                    slope = 1 - (z_rV * (shape.temperature / shape.softcap)).square_()
                d_rV = z_rV.sub_(log_z[rows, None]).exp_().mul_(-g_r1)
                d_rV.scatter_add_(1, t_R[rows, None], g_r1)
                d_rV = (d_rV if slope is None else d_rV.mul_(slope)).to(h_RC.dtype)
            if kept and shape.softcap is None:
                d_rV.scatter_add_(1, t_R[rows, None], g_r1.to(h_RC.dtype))
            if dh_RC is not None:
                torch.mm(d_rV, w_VC, out=dh_RC[rows])
            if dw_VC is not None:
                dw_VC += torch.mm(d_rV.t(), h_RC[rows])
            if db_V is not None:
                db_V += d_rV.sum(0, dtype=ctx.wide)
        dw_VC = None if dw_VC is None else dw_VC.to(w_VC.dtype)
        return dh_RC, dw_VC, None if db_V is None else db_V.to(b_V.dtype), None, None, None


def chunks(n: int, vocabulary: int, dtype: torch.dtype) -> list[slice]:
    """Rows at once."""
    size = max(LEAST_ROWS, CHUNK_BYTES // (vocabulary * dtype.itemsize))
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]


def logits(
    h_rC: torch.Tensor, w_VC: torch.Tensor, b_V: torch.Tensor | None, shape: HeadShape, wide: torch.dtype
) -> torch.Tensor:
    """What the family's own head gives, in float32 at least."""
    z_rV = torch.mm(h_rC, w_VC.t()) if b_V is None else torch.addmm(b_V, h_rC, w_VC.t())
    z_rV = z_rV.to(wide)
    if shape.scale != 1.0:
        z_rV = z_rV * shape.scale
    if shape.softcap is not None:
        z_rV = torch.tanh(z_rV / shape.softcap) * shape.softcap
    return z_rV if shape.temperature == 1.0 else z_rV / shape.temperature
