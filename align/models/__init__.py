"""The torch room underneath: models as files, as chat, as log-probabilities; for adapters and training alone."""

import logging

# where it is installed it says at its import, which TRL and PEFT bring about, which kernels it would rather have
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
