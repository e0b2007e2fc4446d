"""Exact interval for a quantile from the order statistics of a sample whose size was fixed beforehand.

Let ``q = inf{a : F(a) >= p}`` and let ``B`` be binomial with `n` trials and probability `p`. If ``q < X_(l)`` then at
most ``l - 1`` values are ``<= q``, although each is so with probability ``F(q) >= p``; if ``q > X_(u)`` then at least
`u` values are ``< q``, although each is so with probability ``F(q-) <= p``. So ``[X_(l), X_(u)]`` misses `q` below with
probability at most ``P(B <= l - 1)`` and above with at most ``P(B >= u)``, for every law, with ties or without.

Source: Scheffe & Tukey, Non-parametric estimation I, Ann. Math. Statist. 16 (1945) (closed intervals, laws with
jumps); smallest sizes: Wilks, Determination of sample sizes for setting tolerance limits, ibid. 12 (1941).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betainc, betaincc

from kppstat.errors import SettingError
from kppstat.stats.interval import Interval, checked_count, checked_share, checked_values

__all__ = [
    "lower_rank",
    "quantile",
    "quantile_interval",
    "quantile_rank",
    "ranks",
    "smallest_size",
    "upper_rank",
]


def quantile_rank(n: int, p: float) -> int:
    """Return the rank, from 1, of the empirical quantile ``inf{a : F_n(a) >= p}`` among `n` sorted values.

    Examples
    --------
    >>> quantile_rank(100, 0.07)  # 100 * 0.07 is 7.000000000000001 in floating point, and yet the answer is
    7
    """
    n, p = checked_count(n, "n"), checked_share(p, "p")
    rank = min(max(math.ceil(n * p), 1), n)
    # The product may be off by one rounding; the quotient m / n is the float nearest to the share it stands for.
    while rank > 1 and (rank - 1) / n >= p:
        rank -= 1
    while rank / n < p:
        rank += 1
    return rank


def quantile(values: ArrayLike, p: float) -> float:
    """Return the empirical quantile ``inf{a : F_n(a) >= p}``: one of the values, never an interpolation.

    Parameters
    ----------
    values : array_like, shape (n,)
    p : float
        Share of the values at or below the quantile, between 0 and 1.

    Raises
    ------
    DataError
        If there are no values or some are NaN.
    SettingError
        If `p` is not between 0 and 1.

    Examples
    --------
    >>> quantile([0.9, 0.7, 0.8, 0.6], 0.5)
    0.7
    """
    x = checked_values(values)
    rank = quantile_rank(x.size, p)
    return float(np.partition(x, rank - 1)[rank - 1])


def lower_rank(n: int, p: float, alpha: float) -> int:
    """Return the largest `l` with ``P(B <= l - 1) <= alpha``; 0 where even the smallest value is no lower bound.

    Examples
    --------
    >>> lower_rank(298, 0.01, 0.05), lower_rank(299, 0.01, 0.05)
    (0, 1)
    """
    n, p, alpha = checked_count(n, "n", 0), checked_share(p, "p"), checked_share(alpha, "alpha")
    low, high = 0, n  # P(B <= low - 1) <= alpha throughout; P(B <= high) > alpha
    while low < high:
        middle = (low + high + 1) // 2
        if _at_most(middle - 1, n, p) <= alpha:
            low = middle
        else:
            high = middle - 1
    return low


def upper_rank(n: int, p: float, alpha: float) -> int:
    """Return the smallest `u` with ``P(B >= u) <= alpha``; ``n + 1`` where even the largest value is no upper bound.

    Examples
    --------
    >>> upper_rank(298, 0.99, 0.05), upper_rank(299, 0.99, 0.05)
    (299, 299)
    """
    n, p, alpha = checked_count(n, "n", 0), checked_share(p, "p"), checked_share(alpha, "alpha")
    low, high = 1, n + 1  # P(B >= high) <= alpha throughout
    while low < high:
        middle = (low + high) // 2
        if _more_than(middle - 1, n, p) <= alpha:
            high = middle
        else:
            low = middle + 1
    return low


def _at_most(k: int, n: int, p: float) -> float:
    """Return ``P(B <= k)``, for `k` from 0 to ``n - 1``; SciPy's own binomials take no more than 2**31 trials."""
    return float(betaincc(k + 1, n - k, p))


def _more_than(k: int, n: int, p: float) -> float:
    """Return ``P(B > k)``, for `k` from 0 to ``n - 1``."""
    return float(betainc(k + 1, n - k, p))


def ranks(n: int, p: float, alpha: float) -> tuple[int, int]:
    """Return the ranks, from 1, of the ends of the interval of level ``1 - alpha``, half of `alpha` to each side.

    Parameters
    ----------
    n : int
        Number of values, fixed before any was seen.
    p : float
        Which quantile, between 0 and 1.
    alpha : float
        Error probability, between 0 and 1.

    Returns
    -------
    l, u : int
        ``[X_(l), X_(u)]`` is the interval; 0 stands for -inf and ``n + 1`` for inf.

    Raises
    ------
    SettingError
        If a number is out of range.

    Examples
    --------
    >>> ranks(1000, 0.01, 0.05)
    (4, 18)
    >>> ranks(100, 0.01, 0.05)
    (0, 4)
    """
    half = checked_share(alpha, "alpha") / 2
    return lower_rank(n, p, half), upper_rank(n, p, half)


def order_statistic(values: np.ndarray, rank: int) -> float:
    """Return the value of this rank among unsorted `values`: -inf at rank 0 and inf beyond the last."""
    if rank <= 0:
        return -math.inf
    if rank > values.size:
        return math.inf
    return float(np.partition(values, rank - 1)[rank - 1])


def quantile_interval(values: ArrayLike, p: float, confidence: float = 0.95) -> Interval:
    """Return the exact interval for the `p`-quantile of the law that the values come from.

    Parameters
    ----------
    values : array_like, shape (n,)
        Independent values of one law, as many as were decided on beforehand.
    p : float
        Which quantile, between 0 and 1.
    confidence : float
        Between 0 and 1.

    Returns
    -------
    Interval
        Its guarantee is ``exact``. An end is infinite where there are too few values: see `smallest_size`.

    Raises
    ------
    DataError
        If there are no values or some are NaN.
    SettingError
        If `p` or `confidence` is not between 0 and 1.

    Examples
    --------
    >>> interval = quantile_interval(range(1, 1001), p=0.01)
    >>> interval.low, interval.high
    (4.0, 18.0)
    >>> quantile_interval(range(1, 101), p=0.01).low
    -inf
    """
    x = checked_values(values)
    confidence = checked_share(confidence, "confidence")
    low, high = ranks(x.size, p, 1 - confidence)
    return Interval(order_statistic(x, low), order_statistic(x, high), confidence, "exact")


def smallest_size(p: float, alpha: float) -> int:
    """Return the smallest `n` from which on the interval is finite: ``max(p, 1 - p)**n <= alpha / 2``.

    Parameters
    ----------
    p : float
        Which quantile, between 0 and 1.
    alpha : float
        Error probability of the interval, between 0 and 1.

    Raises
    ------
    SettingError
        If a number is out of range.

    Examples
    --------
    >>> [smallest_size(p, 0.1) for p in (0.01, 0.001, 0.0001)]  # those of Wilks at 95 % to each side
    [299, 2995, 29956]
    """
    p, alpha = checked_share(p, "p"), checked_share(alpha, "alpha")
    estimate = math.log(alpha / 2) / max(math.log1p(-p), math.log(p))
    if math.isinf(estimate):
        raise SettingError(f"no size is large enough for a share of {p!r}", where="p", remedy="Give a larger one")
    n = max(1, math.ceil(estimate))

    def finite(size: int) -> bool:
        low, high = ranks(size, p, alpha)
        return low > 0 and high <= size

    # Rounding of the logarithms may shift the answer, by much where p is tiny: what counts is what the ranks do.
    low, high = n - 1, n  # the answer is above the one, and not above the other
    step = 1
    while low > 0 and finite(low):
        low, high, step = max(low - step, 0), low, 2 * step
    step = 1
    while not finite(high):
        low, high, step = high, high + step, 2 * step
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if finite(middle) else (middle, high)
    return high
