"""Whose word weighs how much: each annotator's errors and each item's true class, found together from labels alone.

Dawid & Skene 1979, "Maximum likelihood estimation of observer error-rates using the EM algorithm", eqs. 2.3 to 2.5,
with two departures. Pseudo-counts keep an annotator of few labels from being called perfect or useless (a Dirichlet
prior, so EM climbs the posterior instead of the likelihood). And an item may be shown turned round: a label is what the
annotator saw, a class is what is true, so somebody who favours the answer shown first is modelled as what they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
_FLOOR = 1e-10
"""Below which no probability falls, as without pseudo-counts a label never given would rule a class out for ever."""


@dataclass(frozen=True)
class Labels:
    """Labels, one a place: `annotator` said `label` of `item`; all are numbers from 0."""

    item: Ints
    annotator: Ints
    label: Ints
    turned: NDArray[np.bool_]
    """Shown turned round: of two answers, the second was the one shown first."""
    weight: Floats
    """1, or less where one annotator labelled one item more than once."""

    @classmethod
    def of(
        cls,
        item: ArrayLike,
        annotator: ArrayLike,
        label: ArrayLike,
        *,
        turned: ArrayLike | None = None,
        weight: ArrayLike | None = None,
    ) -> Labels:
        """From sequences of equal length."""
        items = np.asarray(item, dtype=np.int64)
        return cls(
            items,
            np.asarray(annotator, dtype=np.int64),
            np.asarray(label, dtype=np.int64),
            np.zeros(items.size, bool) if turned is None else np.asarray(turned, dtype=bool),
            np.ones(items.size) if weight is None else np.asarray(weight, dtype=np.float64),
        )

    def only(self, keep: NDArray[np.bool_]) -> Labels:
        """Those at the places that are true."""
        return Labels(self.item[keep], self.annotator[keep], self.label[keep], self.turned[keep], self.weight[keep])


@dataclass(frozen=True)
class Fit:
    """What was found."""

    posterior: Floats
    """Item × class: the probability that this class is the true one."""
    prior: Floats
    """Class: how common each is."""
    confusion: Floats
    """Annotator × class × label: how often somebody says `label` of an item of this class, as it was shown."""
    objective: tuple[float, ...]
    """The log-posterior after each round, in nats; it never falls."""
    converged: bool


def dawid_skene(
    labels: Labels,
    *,
    n_items: int,
    n_annotators: int,
    pseudo: Floats,
    turn: Sequence[int] | None = None,
    tolerance: float = 1e-6,
    most_rounds: int = 1000,
) -> Fit:
    """EM from the shares of each item's labels, until a round gains less than `tolerance` nats.

    `pseudo` (class × label) are pseudo-counts added to every annotator's table; zeros give the paper's estimate.
    `turn` says which class each becomes when an item is turned round, and must be its own inverse.
    """
    n_classes = pseudo.shape[0]
    swap = np.arange(n_classes) if turn is None else np.asarray(turn, dtype=np.int64)
    if not np.array_equal(swap[swap], np.arange(n_classes)):
        raise ValueError(f"turn: {list(swap)} is not its own inverse")
    seats = np.where(labels.turned[:, None], swap[None, :], np.arange(n_classes)[None, :])
    posterior = np.zeros((n_items, n_classes))
    said = np.where(labels.turned, swap[labels.label], labels.label)
    np.add.at(posterior, (labels.item, said), labels.weight)
    posterior = _shares(posterior)
    objective: list[float] = []
    converged = False
    while not converged and len(objective) < most_rounds:
        prior = np.maximum(posterior.mean(axis=0), _FLOOR)
        # which of two answers is named first means nothing, so a class is as common as what it turns into
        prior = (prior + prior[swap]) / (2 * prior.sum())
        confusion = _confusion(posterior, labels, seats, n_annotators, pseudo)
        posterior, evidence = classes(labels, prior, confusion, n_items=n_items, seats=seats)
        objective.append(evidence + float((pseudo * np.log(confusion)).sum()))
        converged = len(objective) > 1 and objective[-1] - objective[-2] < tolerance
    return Fit(posterior, prior, confusion, tuple(objective), converged)


def classes(
    labels: Labels, prior: Floats, confusion: Floats, *, n_items: int, seats: Ints | None = None
) -> tuple[Floats, float]:
    """Each item's class probabilities given everybody's errors (eq. 2.5), and the log-likelihood in nats."""
    n_classes = prior.size
    places = np.broadcast_to(np.arange(n_classes), (labels.item.size, n_classes)) if seats is None else seats
    logp = np.tile(np.log(prior), (n_items, 1))
    told = np.log(confusion)[labels.annotator[:, None], places, labels.label[:, None]]
    np.add.at(logp, labels.item, told * labels.weight[:, None])
    top = logp.max(axis=1, keepdims=True)
    total = top + np.log(np.exp(logp - top).sum(axis=1, keepdims=True))
    return np.exp(logp - total), float(total.sum())


def spammer_score(confusion: Floats) -> float:
    """How far the labels depend on the truth: 0 for somebody who would say the same of anything, 1 for no errors.

    Raykar & Yu 2012, "Eliminating spammers and ranking annotators for crowdsourced labeling tasks", eq. 13: the mean
    squared distance between the rows of the table (class × label), scaled so that the identity has 1.
    """
    n = confusion.shape[0]
    gaps = confusion[:, None, :] - confusion[None, :, :]
    return float((gaps**2).sum() / (2 * n * (n - 1)))


def _confusion(posterior: Floats, labels: Labels, seats: Ints, n_annotators: int, pseudo: Floats) -> Floats:
    """Everybody's table: expected counts and pseudo-counts, each row a distribution (eqs. 2.3 and 2.4)."""
    counts = np.tile(pseudo, (n_annotators, 1, 1))
    given = posterior[labels.item] * labels.weight[:, None]
    np.add.at(counts, (labels.annotator[:, None], seats, labels.label[:, None]), given)
    return _shares(np.maximum(counts, _FLOOR))


def _shares(counts: Floats) -> Floats:
    """Each last row divided by its sum; even where there is nothing."""
    total = counts.sum(axis=-1, keepdims=True)
    return np.where(total > 0, counts / np.where(total > 0, total, 1), 1 / counts.shape[-1])
