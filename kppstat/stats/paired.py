"""Exact interval for the difference of two quantiles of paired samples, such as two networks on the same instances.

Two separate intervals ignore that a pair shares its luck. Here a pair of candidates ``(a, b)`` for the two quantiles is
kept unless a test at its share of the error rejects it, and the interval spans ``a - b`` of those kept. The tests:

- each quantile lies in its own interval from order statistics (`kppstat.stats.order`);
- where ``a`` and ``b`` are the `p`-quantiles, ``P(A <= a) >= p >= P(B < b)``, so a pair has ``A > a`` and ``B < b`` no
  more often than ``A <= a`` and ``B >= b``: of the discordant pairs at most half, in expectation, are of the first
  kind. That is McNemar's exact test, here with ties on the safe side; and the same with the samples exchanged.

Pairs that agree drop out, so the more the samples move together the narrower the interval. Every test is exact for
every law, with ties or without, and so is the interval.

Source: the sign test of discordant pairs is McNemar, Psychometrika 12 (1947); inverting it over pairs of quantiles is
ours.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import bdtrc

from kppstat.errors import DataError
from kppstat.stats.interval import Interval, checked_share, checked_values
from kppstat.stats.order import order_statistic, ranks

#: Share of the error that goes to the two separate intervals: they only have to bound the search.
_SEPARATE = 0.2


def paired_difference(a: ArrayLike, b: ArrayLike, p: float, confidence: float = 0.95) -> Interval:
    """Return the exact interval for the `p`-quantile of `a` minus that of `b`.

    Parameters
    ----------
    a, b : array_like, shape (n,)
        Independent pairs, as many as were decided on beforehand: entry i of both belongs to instance i.
    p : float
        Which quantile, between 0 and 1.
    confidence : float
        Between 0 and 1.

    Returns
    -------
    Interval
        Its guarantee is ``exact``. Both ends are infinite where there are too few values: at 95 % and ``p = 0.01``
        fewer than 597.

    Raises
    ------
    DataError
        If the samples differ in length, are empty, or hold NaN.
    SettingError
        If `p` or `confidence` is not between 0 and 1.

    Examples
    --------
    >>> x = np.arange(1000.0)
    >>> interval = paired_difference(x, x - 250, p=0.05)
    >>> interval.low, interval.high
    (244.0, 256.0)
    """
    x, y = checked_values(a), checked_values(b)
    if x.size != y.size:
        raise DataError(f"{x.size} and {y.size} values are no pairs", remedy="Evaluate the same instances of both")
    alpha = 1 - checked_share(confidence, "confidence")
    low, high = ranks(x.size, p, _SEPARATE * alpha / 2)
    if low < 1 or high > x.size:
        return Interval(-np.inf, np.inf, confidence, "exact")
    first, second = _Candidates(x, low, high), _Candidates(y, low, high)
    error = (1 - _SEPARATE) * alpha / 2
    kept = ~_rejected(first, second, error) & ~_rejected(second, first, error).T
    if not kept.any():  # no pair of candidates explains the sample: as rare as the error allows
        return Interval(-np.inf, np.inf, confidence, "exact")
    largest = np.where(kept, first.above[:, None] - second.below[None, :], -np.inf).max()
    least = np.where(kept, first.below[:, None] - second.above[None, :], np.inf).min()
    return Interval(float(least), float(largest), confidence, "exact")


class _Candidates:
    """Where a quantile may lie: at each value within its own interval, and in each gap between two.

    Attributes
    ----------
    below, above : ndarray, shape (candidates,)
        Ends of the candidate: equal at a value.
    less, most : ndarray of bool, shape (candidates, n)
        Which entries of the sample are less than the candidate, and which are at most that.
    """

    def __init__(self, x: np.ndarray, low: int, high: int) -> None:
        ends = order_statistic(x, low), order_statistic(x, high)
        values = np.unique(x[(x >= ends[0]) & (x <= ends[1])])
        self.below = np.repeat(values, 2)[:-1]
        self.above = np.repeat(values, 2)[1:]
        at_value = self.below == self.above
        self.most = x <= self.below[:, None]
        self.less = np.where(at_value[:, None], x < self.below[:, None], self.most)


def _rejected(first: _Candidates, second: _Candidates, error: float) -> np.ndarray:
    """Say which pairs of candidates put too many instances above `first` and yet below `second`."""
    against = (~first.most).astype(np.int64) @ second.less.T.astype(np.int64)
    in_favour = first.most.astype(np.int64) @ (~second.less).T.astype(np.int64)
    # P(B >= against) for B binomial with one half; nothing against is no reason to reject.
    tail = bdtrc(np.maximum(against - 1, 0), against + in_favour, 0.5)
    return np.asarray((against > 0) & (tail <= error))
