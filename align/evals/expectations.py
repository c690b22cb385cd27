"""What an instrument declares of the control models: a short way to say what most of them must give."""

from __future__ import annotations

from collections.abc import Mapping

from align.evals.evidence import Expected

Declared = Mapping[str, Expected]
ANYTHING: Expected = (-1e9, 1e9)
"""A number, whatever it is."""


def of_scorer(chance: Mapping[str, float], *, most: Declared, anti: Declared) -> dict[str, Declared]:
    """For an instrument that scores log-probabilities: `chance` is what ties give exactly and guessing gives nearly.

    `most` and `anti` are what a model gives that always prefers the stereotyped option, or never does.
    """
    nothing: Declared = dict.fromkeys(chance)
    return {
        "nan": nothing,
        "minus_infinity": nothing,
        "constant": {name: (value, value) for name, value in chance.items()},
        "random": dict(chance),
        "longest_option": dict.fromkeys(chance, ANYTHING),
        "most_stereotyped": most,
        "anti_stereotyped": anti,
    }


def of_writer(
    metrics: tuple[str, ...], *, refuses: Declared, complies: Declared, echoes: Declared, longest: Declared
) -> dict[str, Declared]:
    """For an instrument that reads answers; an empty answer is never a score."""
    return {
        "empty": dict.fromkeys(metrics),
        "always_refuse": refuses,
        "always_comply": complies,
        "echo": echoes,
        "longest_answer": longest,
    }


def exactly(**values: float) -> dict[str, Expected]:
    """Each metric at one value."""
    return {name: (value, value) for name, value in values.items()}
