"""Which inputs a prediction follows, and how much each stands for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from kppstat.array import normal_cdf
from kppstat.errors import ModelError

_ANYWAY = 0.3  # share of the inputs chosen without regard to how clear they are: fewer would each stand for too many


def pilot(outputs: np.ndarray, count: int) -> np.ndarray:
    """Choose inputs evenly in the order of how clear the clean answer is."""
    total = len(outputs)
    count = min(count, total)
    order = np.argsort(clearness(outputs), kind="stable")
    return np.sort(order[((np.arange(count) + 0.5) * total / count).astype(int)])


def padded(rows: np.ndarray, batch: int | None) -> np.ndarray:
    """Fill rows up to whole batches by taking some again, where a model takes no others; None takes any.

    Examples
    --------
    >>> padded(np.array([4, 7, 9]), 2).tolist()
    [4, 7, 9, 4]
    """
    return np.concatenate([rows, np.resize(rows, -len(rows) % (batch or 1))])


def clearness(outputs: np.ndarray) -> np.ndarray:
    """Return by how much the largest output leads, shape (n,); a single output itself.

    Raises
    ------
    ModelError
        If that is no number, so that nothing can be said of the input.
    """
    flat = outputs.reshape(len(outputs), -1).astype(np.float64)
    if flat.shape[1] == 1:
        return flat[:, 0]
    top = np.partition(flat, -2, axis=1)
    with np.errstate(invalid="ignore"):  # what it comes to is looked at
        lead = np.asarray(top[:, -1] - top[:, -2])
    if np.isnan(lead).any():
        raise ModelError(
            f"the outputs of the intended weights for input {int(np.isnan(lead).argmax())} are NaN or overflow",
            remedy="Remove that input, or scale the model down",
        )
    return lead


def evenly(outputs: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Choose inputs that all stand for as many: numbers and weights, which sum to one."""
    rows = pilot(outputs, count)
    return rows, np.full(len(rows), 1 / len(rows))


def where_unclear(outputs: np.ndarray, spreads: Sequence[float], count: int) -> tuple[np.ndarray, np.ndarray]:
    """Choose inputs more often where their answer may flip, and weigh them by one over how often.

    The chance of an input is proportional to the standard deviation ``sqrt(q (1 - q))`` of a flip whose lead over the
    runner-up is Gaussian, which is Neyman's allocation; a share is chosen evenly. The draw is systematic along
    the inputs in the order of their two leading classes and their lead, so every confusion gets its part.

    Parameters
    ----------
    outputs : ndarray, shape (n, classes)
        Of the intended weights.
    spreads : sequence of float
        Standard deviation of the lead over instances; of several, as for several sigmas, the wishes are averaged.
    count : int

    Returns
    -------
    rows : ndarray of int
    weights : ndarray
        Estimate a mean over all inputs as the weighted sum over the chosen ones.

    Examples
    --------
    >>> outputs = np.array([[0.0, 9.0], [0.0, 0.1], [8.0, 0.0], [0.2, 0.0]])
    >>> rows, weights = where_unclear(outputs, [0.1], 4)
    >>> rows.tolist(), weights.tolist()
    ([0, 1, 2, 3], [0.25, 0.25, 0.25, 0.25])
    """
    n = len(outputs)
    flat = outputs.reshape(n, -1)
    lead = clearness(outputs)
    wish = np.zeros(n)
    for spread in spreads:
        q = normal_cdf(-lead / max(spread, 1e-300))
        each = np.sqrt(q * (1 - q))
        wish += each / max(each.sum(), 1e-300) / len(spreads)
    wish = (1 - _ANYWAY) * wish + _ANYWAY / n
    chance = _inclusion(wish, min(count, n))
    leaders = np.argsort(-flat, axis=1, kind="stable")[:, :2]
    order = np.lexsort((lead, leaders[:, -1], leaders[:, 0]))
    ends = np.cumsum(chance[order])
    marks = np.arange(round(float(ends[-1]))) + 0.5
    picked = order[np.minimum(np.searchsorted(ends, marks), n - 1)]
    rows = np.unique(picked)
    weights = 1 / (n * chance[rows])
    return rows, weights


def missed(
    outputs: np.ndarray, targets: np.ndarray, spread: float, rows: np.ndarray, weights: np.ndarray, changes: np.ndarray
) -> float:
    """Return what the chosen inputs miss of the mean change of the top-1 accuracy, by a guess for every input.

    The guess is the chance that the clean margin, with this standard deviation over instances, stays above zero. The
    difference between its mean over all inputs and its weighted sum corrects the chosen ones for being a part, as far
    as the changes of the chosen ones follow the guess: a regression estimator (Saerndal, Swensson and Wretman 1992,
    section 6.4). `changes`, shape (chosen,), are those that the law gives.
    """
    flat = outputs.reshape(len(outputs), -1).astype(np.float64)
    own = np.take_along_axis(flat, targets.reshape(-1, 1).astype(np.int64), axis=1)[:, 0]
    others = flat.copy()
    np.put_along_axis(others, targets.reshape(-1, 1).astype(np.int64), -np.inf, axis=1)
    margin = own - others.max(axis=1)
    guess = normal_cdf(margin / max(spread, 1e-300)) - (margin > 0)
    share = weights / weights.sum()
    apart = guess[rows] - share @ guess[rows]
    square = float(share @ apart**2)
    slope = float(share @ (apart * changes)) / square if square > 0 else 0.0
    return slope * float(guess.mean() - weights @ guess[rows])


def _inclusion(wish: np.ndarray, count: int) -> np.ndarray:
    """Return chances of at most one that sum to `count`, proportional to the wish where they are below one."""
    chance = np.zeros(len(wish))
    free = np.ones(len(wish), bool)
    while True:
        left = count - (~free).sum()
        chance[free] = wish[free] * (left / max(wish[free].sum(), 1e-300))
        over = free & (chance >= 1)
        if not over.any():
            return chance
        chance[over] = 1.0
        free &= ~over
        if not free.any():
            return chance
