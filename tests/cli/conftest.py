"""The runner's small desk of people, for the command line."""

from tests.runner.conftest import judged, made, place

__all__ = ["judged", "made", "place"]
