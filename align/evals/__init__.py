"""Measuring: one file an instrument, the table of them, the statistics under them, and the gate above them."""

from align.evals.instruments import INSTRUMENTS, listing

__all__ = ["INSTRUMENTS", "listing"]
