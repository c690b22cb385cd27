"""What a pair costs: the reference formulas, one float at a time, against which the trainer's own numbers are checked.

`z` is the margin of `reward_margin`: nats, already multiplied by beta.
"""

from __future__ import annotations

import math


def reward_margin(
    chosen_logp: float, rejected_logp: float, ref_chosen_logp: float, ref_rejected_logp: float, *, beta: float
) -> float:
    """The implicit reward of the chosen answer over the rejected one, in nats.

    Each `_logp` is the log-probability of a whole response given its prompt, summed over response tokens alone,
    end-of-text included. `beta` > 0 is the price of leaving the reference; as it nears 0 the margin vanishes.

    Rafailov et al. 2023, eq. 5 taken twice and subtracted (arXiv:2305.18290): the partition function cancels.
    """
    return beta * ((chosen_logp - ref_chosen_logp) - (rejected_logp - ref_rejected_logp))


def log_sigmoid(z: float) -> float:
    """log σ(z), without overflow for large |z|."""
    return -math.log1p(math.exp(-z)) if z >= 0 else z - math.log1p(math.exp(z))


def dpo_loss(z: float) -> float:
    """-log σ(z). Rafailov et al. 2023, eq. 7."""
    return -log_sigmoid(z)


def cdpo_loss(z: float, *, epsilon: float) -> float:
    """The cross-entropy against a label that is wrong with probability `epsilon` (0 to 1/2); least where σ(z) = 1 - ε.

    Mitchell 2023, "A note on DPO with noisy preferences", eq. 3.
    """
    return -(1 - epsilon) * log_sigmoid(z) - epsilon * log_sigmoid(-z)


def soft_dpo_loss(z: float, *, label: float) -> float:
    """The cross-entropy against a soft label: `label` is the probability that the chosen answer is the better one."""
    return cdpo_loss(z, epsilon=1 - label)


def rdpo_loss(z: float, *, epsilon: float) -> float:
    """The loss whose mean over labels flipped with probability `epsilon` < 1/2 is the loss on clean ones.

    It may be negative.

    Ray Chowdhury et al. 2024, section 3, the unbiased loss (arXiv:2403.00409).
    """
    if not 0 <= epsilon < 0.5:
        raise ValueError(f"epsilon: must be at least 0 and below 0.5, found {epsilon:g}")
    return ((1 - epsilon) * dpo_loss(z) - epsilon * dpo_loss(-z)) / (1 - 2 * epsilon)


def ipo_loss(log_ratio: float, *, beta: float) -> float:
    """The squared distance of the log-ratio from 1/(2β); `log_ratio` is a `reward_margin` at beta 1.

    Azar et al. 2023, eq. 17 (arXiv:2310.12036), whose τ is our beta. TRL departs from it: each side's log-ratio is
    divided by its number of tokens first, so its number is this function's of the difference of those two means.
    """
    return (log_ratio - 1 / (2 * beta)) ** 2
