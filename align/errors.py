"""What can go wrong, one name a boundary: each message is one line that says where, what, and what to do next."""

from __future__ import annotations


class AlignError(Exception):
    """A failure with a cause the user can read; `exit_code` is what the command line returns for it."""

    exit_code = 1


class UsageError(AlignError):
    """A command that cannot be obeyed as it was given."""

    exit_code = 2


class RecipeError(UsageError):
    """A recipe that cannot be read, or whose plan cannot be met."""


class RecordError(UsageError):
    """A row, file or folder of the user's that does not hold what it should."""


class ModelError(UsageError):
    """A model or adapter folder that is refused: unsafe, torn, or not what the recipe says it is."""


class StoreError(AlignError):
    """The artifact store cannot be written, or holds something that is not what its manifest says."""


class InputChanged(StoreError):
    """An input was edited while a stage was reading it: nothing is committed."""


class Locked(AlignError):
    """Another run is making this artifact."""

    exit_code = 6


class BackendError(AlignError):
    """A foreign package or server is missing, too old, or failed."""


class TrainingError(AlignError):
    """Training was stopped because its numbers made no sense; the last good checkpoint is kept."""


class GateFailed(AlignError):
    """A gate said no."""

    exit_code = 3


class GateInconclusive(AlignError):
    """A gate could not tell with the items it had."""

    exit_code = 4


class GateBroken(AlignError):
    """A gate had no valid measurement to read."""

    exit_code = 5


class Waiting(AlignError):
    """Work that people have still to do. Not a failure: run the same command again later."""

    exit_code = 75
