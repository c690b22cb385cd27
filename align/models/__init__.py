"""The torch room underneath: models as files, as chat, as log-probabilities; for adapters and training alone."""
