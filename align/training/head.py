"""Logits at answers alone: TRL's chunked head does so on GPUs, and is told here to do it everywhere."""

from __future__ import annotations

from typing import Any

from align.errors import BackendError


def score_answers_only() -> None:
    """Make TRL's fused head skip the positions whose label is masked, on a CPU too.

    Elsewhere it projects every position of a batch onto the vocabulary, prompts and padding included, lest a compiler
    see new shapes; nothing is compiled here. The numbers stay the same; a batch of chats on a vocabulary of 49,152
    needs a third of the memory. The switch is private to TRL, whose minor version is pinned.
    """
    import trl.trainer.utils as theirs

    if not hasattr(theirs, "_use_triton"):
        raise BackendError("this TRL is not one that `align` knows (expected 1.16); run: pip install 'trl>=1.16,<1.17'")
    theirs._use_triton = _everywhere


def _everywhere(device: Any) -> bool:
    return True
