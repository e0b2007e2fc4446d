"""Common factors of the scores: what an instance failed so far says about the inputs not yet revealed.

Instances do not fail inputs independently: a bad one fails whole groups of them. Let the scores of an instance be
``s_j = m_j + sum_f u_f V_fj + noise`` with factors ``u`` of unit variance. The loadings ``V`` are principal components
of instances that are known on all inputs, less what noise alone would give; the factors of one instance are the mean
of their posterior given the inputs revealed so far (linear regression with a normal prior). Expected scores of its own
then take the place of those common to all, in bets and in the estimate. As every bet, they depend on the past only, so
they may be wrong.

Source: probabilistic principal components, Tipping & Bishop, J. R. Statist. Soc. B 61 (1999).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from kppstat.stats.audit_kernels import (
    ESTIMATES,
    EXPECTED,
    LOWER,
    SCORE,
    SEEN,
    SIDES,
    UPPER,
    WEIGHT,
    end_run,
)

__all__ = ["absorb_by_factors", "common_factors"]

_MOST = 12
_LEAST_INSTANCES = 8
_NOISE = 0.01  # variance of a score beyond that of a coin with its mean
_EDGE = 2e-3  # expected scores stay this far from 0 and 1


def common_factors(scores: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Return the loadings of common factors.

    Parameters
    ----------
    scores : ndarray, shape (instances, inputs)
        Of instances known on all inputs.
    expected : ndarray, shape (inputs,)
        Expected scores.

    Returns
    -------
    ndarray, shape (factors, inputs)
        For factors of unit variance; none where there are too few instances.
    """
    count, inputs = scores.shape
    if count < _LEAST_INSTANCES:
        return np.zeros((0, inputs))
    residuals = (scores - expected).astype(np.float64)
    strength, vectors = np.linalg.eigh(residuals @ residuals.T / count)
    kept = min(_MOST, count // 4)
    strength, vectors = strength[::-1], vectors[:, ::-1]
    # Noise spreads evenly over the components, so the weaker ones tell how much of the stronger ones is noise.
    noise = float(strength[kept:].mean())
    signal = np.maximum(strength[:kept] - noise, 0.0)
    # Beyond what even noise reaches (Marchenko & Pastur 1967), and some more because it is not the same everywhere.
    kept = int((strength[:kept] > 1.4 * noise * (1 + math.sqrt(count / inputs)) ** 2).sum())
    unit = vectors[:, :kept].T @ residuals / np.sqrt(np.maximum(strength[:kept], 1e-12) * count)[:, None]
    return np.ascontiguousarray(unit * np.sqrt(signal[:kept])[:, None])


@njit(nogil=True, cache=True)
def _own_expected(seen: Any, right: Any, expected: Any, loadings: Any) -> Any:
    """Return expected scores of an instance by its revealed 0/1 scores."""
    n, q = loadings.shape
    precision, response = np.eye(q), np.zeros(q)
    for b in range(seen.size):
        if seen[b]:
            for c in range(8):
                if seen[b] >> c & 1:
                    j = 8 * b + c
                    noise = expected[j] * (1 - expected[j]) + _NOISE
                    residual = (1.0 if right[b] >> c & 1 else 0.0) - expected[j]
                    for f in range(q):
                        load = loadings[j, f] / noise
                        response[f] += load * residual
                        for e in range(f + 1):
                            precision[f, e] += load * loadings[j, e]
    for f in range(q):
        for e in range(f):
            precision[e, f] = precision[f, e]
    factors = np.linalg.solve(precision, response)
    own = np.empty(n)
    for j in range(n):
        mean = expected[j]
        for f in range(q):
            mean += factors[f] * loadings[j, f]
        own[j] = min(max(mean, _EDGE), 1 - _EDGE)
    return own


@njit(nogil=True, cache=True)
def _payoff(expected: float, odds: float) -> float:
    """Best payoff of an input; see `kppstat.stats.audit_design`."""
    return max(((odds - 1) + math.sqrt((odds - 1) ** 2 + 4 * odds * (1 - expected))) / 2, 1e-9)


@njit(nogil=True, cache=True)
def absorb_by_factors(
    i: int, rows: Any, scores: Any, g: int, h: int, low: float, high: float, loadings: Any, weights: Any,
    expected: Any, payoffs: Any, seen: Any, right: Any, sums: Any, log: Any, run_size: Any, run_mean: Any, runs: Any,
    inputs: int, seen_of: Any, score_of: Any,
) -> None:  # fmt: skip
    """Take the scores of one instance in, with bets of its own of the boldness of the strategies `g` and `h`."""
    for a in range(rows.size):  # bets depend on the past only
        seen[i, rows[a] >> 3] ^= np.uint8(1 << (rows[a] & 7))
    own = _own_expected(seen[i], right[i], expected, loadings)
    bold_low = (sums[i, SIDES + g] + inputs * low - sums[i, SCORE]) / sums[i, WEIGHT]
    bold_high = (sums[i, SIDES + h] + inputs * (1 - high) - (sums[i, SEEN] - sums[i, SCORE])) / sums[i, WEIGHT]
    bet_low, bet_high = np.empty(inputs), np.empty(inputs)
    rest_low, rest_high, rest = 0.0, 0.0, 0.0
    for j in range(inputs):
        if not seen[i, j >> 3] >> (j & 7) & 1:
            bet_low[j] = _payoff(own[j], weights[j] * bold_low)
            bet_high[j] = _payoff(1 - own[j], weights[j] * bold_high)
            rest_low += bet_low[j]
            rest_high += bet_high[j]
            rest += own[j]
    length = max(16, (int(sums[i, SEEN]) + rows.size) // 24)
    size, below, above = 0, 0.0, 0.0
    for a in range(rows.size):
        j, s = rows[a], scores[a]
        odds = sums[i, WEIGHT] / weights[j]
        below += rest_low - sums[i, SCORE]
        above += rest_high - (sums[i, SEEN] - sums[i, SCORE])
        log[i, LOWER] += math.log((bet_low[j] + s) * odds)
        log[i, UPPER] += math.log((bet_high[j] + 1 - s) * odds)
        sums[i, ESTIMATES] += sums[i, SCORE] + rest + (s - own[j]) * odds
        rest_low -= bet_low[j]
        rest_high -= bet_high[j]
        rest -= own[j]
        sums[i, SEEN] += 1
        sums[i, SCORE] += s
        sums[i, WEIGHT] -= weights[j]
        sums[i, EXPECTED] -= expected[j]
        for f in range(payoffs.shape[0]):
            sums[i, SIDES + f] -= payoffs[f, j]
        seen[i, j >> 3] |= np.uint8(1 << (j & 7))
        if s >= 0.5:
            right[i, j >> 3] |= np.uint8(1 << (j & 7))
        seen_of[j] += 1
        score_of[j] += s
        size += 1
        if size == length or a == rows.size - 1:
            end_run(size, below, above, i, run_size, run_mean, runs)
            size, below, above = 0, 0.0, 0.0
