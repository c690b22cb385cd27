"""Walks a plan: reuse, run or wait, one line each, with the reason. Only this room introduces adapters to stages."""

from align.runner.walk import Outlook, Result, Runner

__all__ = ["Outlook", "Result", "Runner"]
