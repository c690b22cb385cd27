"""Training on transformers and TRL: their loops, our data, guards and checkpoints."""

import align.models as _quiet  # noqa: F401  before anything here imports TRL
