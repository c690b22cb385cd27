"""Training on transformers and TRL: their loops, our data, guards and checkpoints."""
