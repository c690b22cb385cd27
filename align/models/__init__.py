"""The torch room underneath: models and tokenizers as files, as chat, as log-probabilities. Entered from adapters and training alone."""
