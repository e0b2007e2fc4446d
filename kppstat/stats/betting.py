"""Interval for a quantile from weighted values that holds whenever one stops: betting on the distribution function.

With likelihood ratios ``w_i`` the numbers ``Y_i = w_i 1{A_i <= x}`` have the mean ``F(x)`` given all that came before,
from whatever proposal each was drawn. A gambler who stakes the share ``b_i``, chosen before ``Y_i`` is seen, owns

- ``prod(1 + b_i (Y_i - p))``, with ``0 <= b_i < 1 / p``: a supermartingale if ``F(x) <= p``, for any weights;
- ``prod(1 - b_i (Y_i - p))``, with ``0 <= b_i < 1 / (bound - p)``: one if ``F(x) >= p``, for weights below the bound.

Either reaches ``2 / alpha`` with probability at most ``alpha / 2`` at any time (Ville). At the quantile `q` the second
law holds for ``1{A <= q}`` and the first for ``1{A < q}``, so the numbers `x` at which neither gambler got there hold
`q`. As both stake the same on every `x`, one capital grows with `x`, the other falls, and what is left is an interval.
Several gamblers with larger and smaller stakes share the first capital: a mixture is again a supermartingale.

Source: Waudby-Smith & Ramdas, Estimating means of bounded random variables by betting, J. R. Statist. Soc. B 86
(2024), arXiv:2010.09686 (predictable plug-in); for likelihood ratios Waudby-Smith, Wu, Ramdas,
Karampatziakis & Mineiro, Anytime-valid off-policy inference for contextual bandits, arXiv:2210.10768.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from kppstat.errors import DataError, SettingError
from kppstat.stats.interval import Interval, checked_count, checked_share, checked_values
from kppstat.stats.weighted import checked_weights, weighted_quantile

__all__ = ["Stakes", "betting_interval", "predictable_stakes"]

# Gamblers beside the planned one, and their parts of the first capital.
_FACTORS = np.array([0.35, 1.0, 2.5])
_PARTS = np.array([0.2, 0.6, 0.2])
_BOLDEST = 0.9  # of the stake at which one value could ruin the gambler
_FIRST_BLOCK = 64  # values after which stakes are first planned anew; later blocks double


@dataclass(frozen=True, slots=True, eq=False)
class Stakes:
    """What is staked on each value by the gambler who thinks ``F`` is larger, and by the one who thinks it smaller.

    Attributes
    ----------
    larger, smaller : ndarray, shape (n,)
        0 or more; each may depend on earlier values only. Stakes that could ruin are lowered when they are used.
    """

    larger: np.ndarray
    smaller: np.ndarray


def predictable_stakes(
    values: ArrayLike, weights: ArrayLike, p: float, alpha: float, *, size: int, variance: float | None = None
) -> Stakes:
    """Return stakes that are near the best for an interval at about `size` values.

    The best constant stake is about ``sqrt(2 log(2 / alpha) / (size V))`` with the variance ``V`` of ``Y`` at the
    quantile; ``V`` is learnt from the earlier values, in blocks that double.

    Parameters
    ----------
    values, weights : array_like, shape (n,)
        Values and their likelihood ratios, in the order in which they were drawn.
    p, alpha : float
        Which quantile, and the error probability of the interval; between 0 and 1.
    size : int
        How many values are expected in the end. Any number is valid; it must not depend on the values.
    variance : float, optional
        First guess of ``V``; ``p (1 - p)``, that of unweighted values, by default.

    Raises
    ------
    DataError
        If the values or the weights are no sample.
    SettingError
        If a number is out of range.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> stakes = predictable_stakes(rng.normal(size=500), np.ones(500), 0.1, 0.05, size=500)
    >>> stakes.larger.shape
    (500,)
    """
    x = checked_values(values)
    w = checked_weights(weights, x.size)
    p, alpha, size = checked_share(p, "p"), checked_share(alpha, "alpha"), checked_count(size, "size")
    guess = p * (1 - p) if variance is None else float(variance)
    if not 0 < guess < math.inf:
        raise SettingError(f"{variance!r} is no variance", where="variance", remedy="Give a number above 0")
    stakes = np.empty(x.size)
    start, stop, now = 0, _FIRST_BLOCK, guess
    while start < x.size:
        count = np.arange(start + 1, min(stop, x.size) + 1)
        stakes[start:stop] = np.sqrt(2 * math.log(2 / alpha) / (now * np.maximum(count, size)))
        events = w[:stop] * (x[:stop] <= weighted_quantile(x[:stop], w[:stop], p))
        # The first guess counts as one block, so that a block without events does not set the variance to 0.
        now = (_FIRST_BLOCK * guess + stop * float(events.var())) / (_FIRST_BLOCK + stop)
        start, stop = stop, 2 * stop
    return Stakes(stakes, stakes)


def _log_capital(inside: np.ndarray, outside: np.ndarray) -> np.ndarray:
    """Return the log of the gamblers' joint capital when the k smallest values count as inside, for k = 0 .. n."""
    steps = np.concatenate([outside.sum(axis=1, keepdims=True), inside - outside], axis=1)
    capital = np.cumsum(steps, axis=1) + np.log(_PARTS)[:, None]
    return np.asarray(np.logaddexp.reduce(capital, axis=0))


def betting_interval(
    values: ArrayLike,
    weights: ArrayLike,
    p: float,
    confidence: float = 0.95,
    *,
    bound: float | ArrayLike,
    stakes: Stakes,
) -> Interval:
    """Return the interval for the `p`-quantile that holds at whatever sample size one stops.

    Parameters
    ----------
    values, weights : array_like, shape (n,)
        Values and their likelihood ratios, in the order in which they were drawn.
    p : float
        Which quantile, between 0 and 1.
    confidence : float
        Between 0 and 1.
    bound : float or array_like of shape (n,)
        What the weights can never exceed, as known before drawing: one over the nominal share of the mixture.
    stakes : Stakes
        From `predictable_stakes`, or others chosen without later values.

    Returns
    -------
    Interval
        Its guarantee is ``anytime``. An end is infinite while there is too little evidence.

    Raises
    ------
    DataError
        If the values or the weights are no sample, or a weight exceeds its bound.
    SettingError
        If a number is out of range or the stakes do not fit.

    Examples
    --------
    >>> rng = np.random.default_rng(2)
    >>> z = rng.normal(np.where(rng.random(20000) < 0.5, -2, 0), 1)
    >>> w = 1 / (0.5 + 0.5 * np.exp(-2 * z - 2))
    >>> stakes = predictable_stakes(z, w, 0.01, 0.05, size=20000)
    >>> interval = betting_interval(z, w, 0.01, bound=2.0, stakes=stakes)
    >>> -2.326 in interval, interval.half_width < 0.1
    (True, True)
    """
    x = checked_values(values)
    w = checked_weights(weights, x.size)
    p, confidence = checked_share(p, "p"), checked_share(confidence, "confidence")
    most = np.broadcast_to(np.asarray(bound, dtype=np.float64), x.shape)
    if not (np.isfinite(most).all() and most.min() >= 1):
        raise SettingError("a likelihood ratio cannot be bounded by less than 1", where="bound")
    if (w > most * (1 + 1e-9)).any():
        raise DataError(f"a weight of {w.max():.6g} exceeds what was promised", where="weights")
    for staked in (stakes.larger, stakes.smaller):
        if staked.shape != x.shape or not (staked >= 0).all():
            raise SettingError(f"stakes of shape {staked.shape} do not fit {x.size} values", where="stakes")

    order = np.argsort(x, kind="stable")
    x, w, most = x[order], w[order], most[order]
    larger = np.minimum(_FACTORS[:, None] * stakes.larger[order], _BOLDEST / p)
    smaller = np.minimum(_FACTORS[:, None] * stakes.smaller[order], _BOLDEST / (most * (1 + 1e-9) - p))
    threshold = math.log(2 / (1 - confidence))
    rising = _log_capital(np.log1p(larger * (w - p)), np.log1p(-larger * p))
    falling = _log_capital(np.log1p(-smaller * (w - p)), np.log1p(smaller * p))

    # Position k stands for "the k smallest values are at or below x".
    ends = np.concatenate([[-math.inf], x, [math.inf]])
    low = float(ends[int(np.argmax(np.append(falling < threshold, True)))])
    high = float(ends[1 + int(np.argmax(np.append(rising[1:] >= threshold, True)))])
    # Both gamblers may win at once, in error: then nothing is left, and the span between them is all there is to say.
    return Interval(min(low, high), max(low, high), confidence, "anytime")
