"""What a stage may ask of the world. Stages know these shapes only; the runner introduces who stands behind them."""

from align.ports.judging import Desk, Grader, Harness, HarnessScore, Told
from align.ports.models import (
    Renderer,
    Rewarder,
    Sample,
    Sampler,
    SampleRequest,
    Score,
    Scorer,
    ScoreRequest,
    Unanswered,
)
from align.ports.tools import Tools
from align.ports.training import NOTHING_KEPT, Kept, Mark, Trainer
from align.ports.workshop import Artifact, Inputs, Progress, Workshop

__all__ = [
    "NOTHING_KEPT",
    "Artifact",
    "Desk",
    "Grader",
    "Harness",
    "HarnessScore",
    "Inputs",
    "Kept",
    "Mark",
    "Progress",
    "Renderer",
    "Rewarder",
    "Sample",
    "SampleRequest",
    "Sampler",
    "Score",
    "ScoreRequest",
    "Scorer",
    "Told",
    "Tools",
    "Trainer",
    "Unanswered",
    "Workshop",
]
