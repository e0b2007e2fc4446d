"""Designs of audits: where to draw and how to bet, from what the inputs' scores were so far.

A design never touches validity (see `kppstat.stats.audit`), only how many inputs an audit takes.

Bets against "the mean is at most x", when the scores are expected to be ``m_j`` and drawn with probability ``w_j``: the
expected log of a factor is at least ``sum_j w_j [m_j log(y_j + 1) + (1 - m_j) log y_j - log w_j] - log(sum y + N x)``,
with equality for scores of 0 and 1. Its maximum has, with ``a_j = w_j T`` and ``T = sum y + N x``,

    y_j = [a_j - 1 + sqrt((a_j - 1)**2 + 4 a_j (1 - m_j))] / 2,

one equation for the number ``T``. This growth rate is what a sequential test needs ``log(1 / error)`` of (Wald 1945);
best bets by growth rate: Kelly 1956; Shafer, J. R. Statist. Soc. A 184 (2021).
"""

from __future__ import annotations

import numpy as np
from scipy.special import expit, logit

__all__ = ["draw_weights", "expected_scores", "growth", "payoffs", "shifted"]

_GRID = 40  # points of the law of the inputs' mean scores
_STEPS = 25  # of expectation maximisation
_FLOOR = 1e-12


def expected_scores(total: np.ndarray, seen: np.ndarray, least: float = 5e-4) -> np.ndarray:
    """Return the expected score of each input by empirical Bayes.

    The law of the mean scores over inputs is fitted to all inputs at once, without a shape (Kiefer & Wolfowitz, Ann.
    Math. Statist. 27, 1956), so that an input never seen to fail gets the small chance that inputs like it have.

    Parameters
    ----------
    total, seen : ndarray, shape (inputs,)
        Sum of the scores, each in [0, 1], and how many there were.
    least : float
        Returned values stay this far from 0 and 1.

    Returns
    -------
    ndarray, shape (inputs,)

    Examples
    --------
    >>> m = expected_scores(np.array([20.0] * 90 + [10.0] * 10), np.full(100, 20.0))
    >>> bool(m[0] > 0.99), bool(0.4 < m[-1] < 0.6)
    (True, True)
    """
    grid = expit(np.linspace(-8, 8, _GRID))
    kinds, kind, count = np.unique(np.stack([total, seen]), axis=1, return_inverse=True, return_counts=True)
    log_law = kinds[0][:, None] * np.log(grid) + (kinds[1] - kinds[0])[:, None] * np.log1p(-grid)
    likelihood = np.exp(log_law - log_law.max(1, keepdims=True))
    prior = np.full(_GRID, 1 / _GRID)
    for _ in range(_STEPS):
        shares = count / np.maximum(likelihood @ prior, 1e-300)
        prior = prior * (shares @ likelihood) + 0.5 / _GRID
        prior /= prior.sum()
    mean = (likelihood @ (prior * grid)) / (likelihood @ prior)
    return np.clip(mean[kind.ravel()], least, 1 - least)


def draw_weights(expected: np.ndarray, uniform: float = 0.4) -> np.ndarray:
    """Return probabilities of drawing: a uniform share, and the rest by the spread of a 0/1 score.

    Parameters
    ----------
    expected : ndarray, shape (inputs,)
        Expected scores, inside (0, 1).
    uniform : float
        Share that does not believe in `expected`.
    """
    spread = np.sqrt(expected * (1 - expected))
    weights = uniform / len(spread) + (1 - uniform) * spread / spread.sum()
    return weights / weights.sum()


def shifted(expected: np.ndarray, mean: float) -> np.ndarray:
    """Return expected scores of an instance with this mean: all log odds are shifted by the same amount."""
    odds = logit(expected)
    low, high = -30.0, 30.0
    shift = 0.0
    for _ in range(60):
        m = expit(odds + shift)
        error = m.mean() - mean
        if abs(error) < 1e-7:
            break
        low, high = (low, shift) if error > 0 else (shift, high)
        # Newton's step where it stays between the ends, else halves.
        step = shift - error / max(float((m * (1 - m)).mean()), _FLOOR)
        shift = step if low < step < high else (low + high) / 2
    return expit(odds + shift)


def payoffs(expected: np.ndarray, weights: np.ndarray, threshold: float) -> np.ndarray:
    """Return the payoffs that grow fastest against "the mean is at most the threshold".

    Parameters
    ----------
    expected : ndarray, shape (inputs,)
        Expected scores, with a mean above the threshold.
    weights : ndarray, shape (inputs,)
        Probabilities of drawing.
    threshold : float

    Returns
    -------
    ndarray, shape (inputs,)
        Positive.
    """
    n = len(expected)
    loss = 4 * (1 - expected)

    def best(total: float) -> np.ndarray:
        a = weights * total
        return ((a - 1) + np.sqrt((a - 1) ** 2 + a * loss)) / 2

    low, high = np.log(n * max(threshold, _FLOOR)), np.log(n * 1e6)
    for _ in range(60):
        middle = (low + high) / 2
        total = np.exp(middle)
        # Below the solution the payoffs ask for a larger total, above it for a smaller one.
        if best(total).sum() + n * threshold > total:
            low = middle
        else:
            high = middle
        if high - low < 1e-4:
            break
    return np.maximum(best(np.exp(high)), _FLOOR)


def growth(expected: np.ndarray, weights: np.ndarray, bets: np.ndarray, threshold: float) -> float:
    """Return the expected log of a factor of the evidence if the scores are as expected."""
    gain = expected * np.log((bets + 1) / weights) + (1 - expected) * np.log(bets / weights)
    return float(weights @ gain - np.log(bets.sum() + len(expected) * threshold))
