"""The machine made ready: threads, denormals, and the foreign libraries' chatter."""

from __future__ import annotations

import os

from align.configs import RuntimeConfig


def ready(runtime: RuntimeConfig) -> None:
    """Set what holds for the whole process; called before any model is loaded."""
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    os.environ["TQDM_DISABLE"] = "1"
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import numpy
    import torch
    import transformers

    if runtime.threads is not None:
        torch.set_num_threads(runtime.threads)
    for kind in (numpy.float32, numpy.float64):
        # asked once before denormals are flushed, for numpy warns when its smallest number reads as zero
        numpy.finfo(kind)
    torch.set_flush_denormal(True)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
