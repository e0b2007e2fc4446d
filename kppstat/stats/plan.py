"""How many values an exact interval of a wanted width will take: a plan, never part of a promise.

For values that are normal with standard deviation `spread`, the ends of the interval at ranks `l` and `u` of `n` lie
near the quantiles ``l / (n + 1)`` and ``u / (n + 1)``; the smallest `n` at which those are close enough is the plan.
For other laws `spread` is the slope of the quantile function against normal quantiles near the wanted one, which a
pilot gives. For large `n` this is ``n = z**2 p (1 - p) / (f h)**2`` with the density ``f = phi(z_p) / spread``.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri

from kppstat.errors import SettingError
from kppstat.stats.interval import checked_share, checked_values
from kppstat.stats.order import ranks, smallest_size

__all__ = ["local_spread", "planned_size"]

_LARGEST = 10**12
_REACH = 1.5  # in normal scores: how far from the quantile the pilot's values count


def local_spread(pilot: ArrayLike, p: float) -> float:
    """Return the standard deviation of the normal law that is as steep near the `p`-quantile as the pilot's values.

    A weighted least-squares parabola through the ordered values against their normal scores, with weights that fall
    off around the score of `p`: steady under ties and in tails that the pilot hardly reaches. For laws as skewed as
    accuracies under device variation it is nearly unbiased; its logarithm scatters by about .28, .15 and .08 for a
    pilot of 100, 300 and 1,000 values at ``p = 0.01``. Far heavier tails come out too narrow.

    Parameters
    ----------
    pilot : array_like, shape (n,)
        At least two finite values.
    p : float
        Which quantile, between 0 and 1.

    Raises
    ------
    DataError
        If the values are no sample.
    SettingError
        If there is only one value or `p` is not between 0 and 1.

    Examples
    --------
    >>> values = np.random.default_rng(1).normal(0.9, 0.02, size=500)
    >>> print(f"{local_spread(values, 0.05):.3f}")
    0.019
    """
    x, p = np.sort(checked_values(pilot, "pilot")), checked_share(p, "p")
    if x.size < 2:
        raise SettingError("one value has no spread", where="pilot", remedy="Give at least two")
    score = ndtri((np.arange(x.size) + 0.625) / (x.size + 0.25))
    # Beyond the pilot's reach its outermost scores carry the curve.
    offset = score - np.clip(ndtri(p), score[0], score[-1])
    root_weight = np.exp(-((offset / _REACH) ** 2) / 4)
    curve = np.stack([np.ones(x.size), offset, offset**2], axis=1)[:, : min(3, x.size)]
    slope = np.linalg.lstsq(curve * root_weight[:, None], x * root_weight, rcond=None)[0][1]
    # A parabola may turn around in a short pilot, a quantile function may not.
    line = np.linalg.lstsq(curve[:, :2] * root_weight[:, None], x * root_weight, rcond=None)[0][1]
    return float(max(slope, line / 4, 0.0))


def planned_size(p: float, confidence: float, half_width: float, spread: float) -> int:
    """Return the size at which the exact interval should have the wanted half-width.

    Parameters
    ----------
    p : float
        Which quantile, between 0 and 1.
    confidence : float
        Between 0 and 1.
    half_width : float
        In the unit of the values, above 0.
    spread : float
        From `local_spread`, or a standard deviation known otherwise; 0 or more.

    Raises
    ------
    SettingError
        If a number is out of range.

    Examples
    --------
    >>> planned_size(0.01, 0.95, half_width=0.005, spread=0.04)
    3804
    """
    p, alpha = checked_share(p, "p"), 1 - checked_share(confidence, "confidence")
    if not 0 < half_width < math.inf:
        raise SettingError(f"{half_width!r} is no width", where="half_width", remedy="Give a number above 0")
    if not 0 <= spread < math.inf:
        raise SettingError(f"{spread!r} is no spread", where="spread", remedy="Give a number of 0 or more")

    def narrow(n: int) -> bool:
        low, high = ranks(n, p, alpha)
        if low < 1 or high > n:
            return False
        return spread * float(ndtri(high / (n + 1)) - ndtri(low / (n + 1))) <= 2 * half_width

    low = high = smallest_size(p, alpha)
    while not narrow(high) and high < _LARGEST:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if narrow(middle) else (middle, high)
    return high
