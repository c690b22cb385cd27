"""What an order of answers costs a reward model: the reference formulas, one float at a time.

`lead` is the reward of the first answer over the second.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from align.preference.objectives import log_sigmoid


def bradley_terry_loss(lead: float, *, label: float = 1.0, margin: float = 0.0) -> float:
    """The cross-entropy against `label`, the probability that the first answer is better; `margin` is asked of it.

    Bradley & Terry 1952; with a margin, Touvron et al. 2023, eq. 2 (arXiv:2307.09288).
    """
    return -label * log_sigmoid(lead - margin) - (1 - label) * log_sigmoid(margin - lead)


def rao_kupper_loss(lead: float, *, tied: bool, tie_margin: float) -> float:
    """Minus the log-probability of a win of the first answer, or of a tie, where ties are possible.

    Rao & Kupper 1967, with θ = exp(`tie_margin`): P(win) = σ(lead − t), P(tie) = 1 − σ(lead − t) − σ(−lead − t).
    """
    win, loss = log_sigmoid(lead - tie_margin), log_sigmoid(-lead - tie_margin)
    return -(math.log(math.expm1(2 * tie_margin)) + win + loss) if tied else -win


def plackett_luce_loss(rewards: Sequence[float], groups: Sequence[Sequence[int]], *, ties: str) -> float:
    """Minus the log-likelihood of an order, best group first, for each of its K − 1 choices.

    Each answer is chosen out of itself and what is left: with `ties` "drop" the answers below it, so that those tied
    with it are never its rivals; with "half" those tied with it as well (Breslow 1974), which for two answers is the
    Bradley–Terry loss of either winning, twice. Luce 1959; Plackett 1975.
    """
    total = 0.0
    for place, group in enumerate(groups):
        below = [j for later in groups[place + 1 :] for j in later]
        for i in group:
            rivals = [*(group if ties == "half" else [i]), *below]
            total += log_sum_exp([rewards[j] for j in rivals]) - rewards[i]
    return total / max(1, len(rewards) - 1)


def log_sum_exp(values: Sequence[float]) -> float:
    """log Σ exp, without overflow."""
    top = max(values)
    return top + math.log(sum(math.exp(value - top) for value in values))
