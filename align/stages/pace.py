"""How fast candidates come: told beside the progress, and as figures in the manifest."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from align.ports import Progress, Sample, Sampler, Tools, Unanswered

COUNTS = ("prompt_tokens", "cached_tokens", "retries", "engine_start_s")
"""What is added up where several engines work, one after the other."""


class Pace:
    """How fast answers come: told with the progress, and as figures in the manifest."""

    def __init__(self, progress: Progress, n_left: int) -> None:
        self.progress, self.n_left = progress, n_left
        self.began = self.told = time.monotonic()
        self.first: float | None = None
        self.n_prompts = self.n_answers = self.n_tokens = 0
        self.note = ""
        self.counted: dict[str, Any] = {}

    def finished(self, said: Sequence[Sample] | Unanswered) -> None:
        """One prompt more."""
        now = time.monotonic()
        self.first = self.first or now
        samples = said.samples if isinstance(said, Unanswered) else said
        self.n_prompts += 1
        self.n_answers += len(samples)
        self.n_tokens += sum(sample.n_tokens or 0 for sample in samples)
        if now - self.told > 0.5:
            self.told = now
            spent = now - self.first + 1e-9
            left_s = (self.n_left - self.n_prompts) * spent / self.n_prompts
            self.note = (
                f"{self.n_prompts / spent:,.1f} prompts/s, {self.n_tokens / spent:,.0f} tokens/s, {left_s:,.0f} s left"
            )
        self.progress.advance(1, self.note)

    def ended(self, sampler: Sampler) -> None:
        """A sampler's work is done: what it counted is added to what others did."""
        for name, value in sampler.figures().items():
            known = self.counted.get(name)
            self.counted[name] = known + value if name in COUNTS and known is not None else value

    def tell(self, tools: Tools) -> None:
        """Put the figures of this run in the manifest: what an earlier one drew is not in them."""
        told = self.counted
        spent = time.monotonic() - self.began - float(told.get("engine_start_s", 0.0))
        read, shared = told.get("prompt_tokens"), told.get("cached_tokens")
        figures = {"prompts": self.n_prompts, "answers": self.n_answers, "tokens": self.n_tokens,
                   "seconds": round(spent, 3), "prompts_per_s": round(self.n_prompts / max(spent, 1e-9), 2),
                   "tokens_per_s": round(self.n_tokens / max(spent, 1e-9), 1), **told}  # fmt: skip
        if read:
            figures["prefix_cache_hit_share"] = round(shared / read, 4)
        for name, value in figures.items():
            tools.figure(f"generate.{name}", value)
        if "version" in told or "api" in told:
            said = f"{self.n_answers:,} answers to {self.n_prompts:,} prompts by {told['engine']}"
            shared_text = f", {figures['prefix_cache_hit_share']:.0%} of prompt tokens shared" if read else ""
            tools.note(f"{said}: {figures['prompts_per_s']:,g} prompts/s, {figures['tokens_per_s']:,g} tokens/s"
                       f"{shared_text}; preflight: {told.get('preflight', 'not reached')}")  # fmt: skip
