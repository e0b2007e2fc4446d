"""Confidence sequence for a quantile: an interval at every sample size, all of them right at once.

Let ``S_t`` count the values ``<= q`` among the first `t`. Were every value so with probability exactly `p`, then
``M_t = B(a + S_t, b + t - S_t) / (B(a, b) p**S_t (1 - p)**(t - S_t))``, a ratio of likelihoods with a beta mixture
above and `p` below (`B` is the beta function), would be a nonnegative martingale that starts at 1. So by Ville's
inequality it ever reaches ``1 / alpha`` with probability at most `alpha`. The counts with ``M_t < 1 / alpha`` are a
range ``S_lo .. S_hi``; the sequence is ``[X_(S_lo), X_(S_hi + 1)]``. Where the law jumps, toss extra coins to
build ``B_i`` of probability `p` between ``1{X_i < q}`` and ``1{X_i <= q}``: their sum lies between both counts.
The promise is for both ends together; one end alone may take more than half of `alpha`.

Source: Howard & Ramdas, Sequential estimation of quantiles with applications to A/B testing and best-arm
identification, Bernoulli 28 (2022) (beta-binomial boundary); the two parameters of the beta law from the
wanted time as in their software (Howard, confseq, ``BetaBinomialMixture``).
"""

from __future__ import annotations

import math

from numpy.typing import ArrayLike

from kppstat.stats.interval import Interval, checked_count, checked_share, checked_values
from kppstat.stats.order import order_statistic

__all__ = ["QuantileSequence", "confidence_sequence_interval"]


class QuantileSequence:
    """Ranks of the ends of the confidence sequence, for growing sample sizes at a few steps each.

    Parameters
    ----------
    p : float
        Which quantile, between 0 and 1.
    alpha : float
        Probability that the sequence ever misses it, between 0 and 1.
    t_opt : int
        Sample size at which the interval should be at its narrowest relative to others. Any choice is valid; it must
        not depend on the values.

    Raises
    ------
    SettingError
        If a number is out of range.

    Examples
    --------
    >>> sequence = QuantileSequence(0.01, 0.05, t_opt=5000)
    >>> [sequence.ranks(t) for t in (100, 1000, 5000)]
    [(0, 10), (2, 23), (31, 74)]
    """

    def __init__(self, p: float, alpha: float, t_opt: int) -> None:
        self.p, self.alpha = checked_share(p, "p"), checked_share(alpha, "alpha")
        self.t_opt = checked_count(t_opt, "t_opt")
        variance = self.p * (1 - self.p)
        # rho scales the mixture so that the boundary is lowest at t_opt; the beta law has mean p.
        log_error = 2 * math.log(1 / self.alpha)
        rho = self.t_opt * variance / (log_error + math.log1p(log_error))
        rho = max(rho - variance, 1e-3 * variance)
        self._a, self._b = rho / (1 - self.p), rho / self.p
        self._start = math.lgamma(self._a + self._b) - math.lgamma(self._a) - math.lgamma(self._b)
        self._log_p, self._log_rest = math.log(self.p), math.log1p(-self.p)
        self._low, self._high = 0, 0

    def log_martingale(self, count: int, t: int) -> float:
        """Return ``log M_t`` when `count` of the first `t` values are at or below the quantile."""
        rest = t - count
        mixture = math.lgamma(self._a + count) + math.lgamma(self._b + rest) - math.lgamma(self._a + self._b + t)
        return self._start + mixture - count * self._log_p - rest * self._log_rest

    def ranks(self, t: int) -> tuple[int, int]:
        """Return the ranks, from 1, of the ends after `t` values; 0 stands for -inf and ``t + 1`` for inf.

        Raises
        ------
        SettingError
            If `t` is not a whole number of 0 or more.
        """
        t = checked_count(t, "t", 0)
        # M is convex in the count on a log scale, and below 1 where it is least; each end is looked for near where it
        # was last.
        centre = self._least(t)
        self._low = self._last_inside(min(self._low, centre), centre, -1, -1, t)
        self._high = self._last_inside(min(max(self._high, centre), t), centre, t + 1, 1, t)
        return self._low, self._high + 1

    def _least(self, t: int) -> int:
        """Return the count at which M is least, some steps at most from the mean count."""
        at = min(t, math.floor(t * self.p))
        for way in (1, -1):
            while 0 <= at + way <= t and self.log_martingale(at + way, t) < self.log_martingale(at, t):
                at += way
        return at

    def _last_inside(self, guess: int, inside: int, outside: int, outwards: int, t: int) -> int:
        """Return the outermost count with ``M_t < 1 / alpha`` between an inner and an outer count."""
        boundary, probe, step = -math.log(self.alpha), guess, 1
        while (probe - inside) * outwards >= 0 and (outside - probe) * outwards > 0:
            if self.log_martingale(probe, t) < boundary:
                inside, probe = probe, probe + outwards * step
            else:
                outside, probe = probe, probe - outwards * step
            step *= 2
        while abs(outside - inside) > 1:
            middle = (inside + outside) // 2
            if self.log_martingale(middle, t) < boundary:
                inside = middle
            else:
                outside = middle
        return inside


def confidence_sequence_interval(values: ArrayLike, p: float, confidence: float, t_opt: int) -> Interval:
    """Return the interval for the `p`-quantile that holds at whatever sample size one stops.

    Parameters
    ----------
    values : array_like, shape (t,)
        All the independent values of one law so far.
    p : float
        Which quantile, between 0 and 1.
    confidence : float
        Between 0 and 1.
    t_opt : int
        Sample size to be best at, chosen without looking at the values.

    Returns
    -------
    Interval
        Its guarantee is ``anytime``.

    Raises
    ------
    DataError
        If there are no values or some are NaN.
    SettingError
        If a number is out of range.

    Examples
    --------
    >>> interval = confidence_sequence_interval(range(1, 5001), 0.01, 0.95, t_opt=5000)
    >>> interval.low, interval.high, interval.guarantee
    (31.0, 74.0, 'anytime')
    """
    x = checked_values(values)
    confidence = checked_share(confidence, "confidence")
    low, high = QuantileSequence(p, 1 - confidence, t_opt).ranks(x.size)
    return Interval(order_statistic(x, low), order_statistic(x, high), confidence, "anytime")
