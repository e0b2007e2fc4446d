"""Quantiles of a law from weighted values, drawn by importance sampling.

A value ``A_i`` comes with the weight ``w_i``: the likelihood ratio of the nominal law to the one that it was drawn
from. ``F_n(x) = sum(w_i 1{A_i <= x}) / n`` is unbiased for ``F(x)``; dividing by the sum of the weights instead would
bias it, and in the lower tail often takes more values. Only `share_bound` holds at every sample size; the
interval here rests on a central limit theorem and on the proposal having no blind spot. No diagnostic of the weights
can see a region of failures that the proposal hardly visits: bound its mass by `share_bound` on the nominal draws.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betaincinv, ndtri

from kppstat.errors import DataError
from kppstat.stats.interval import Interval, checked_count, checked_share, checked_values

__all__ = ["checked_weights", "effective_events", "share_bound", "weighted_quantile", "woodruff_interval"]


def checked_weights(weights: ArrayLike, size: int) -> np.ndarray:
    """Return `weights` as a float64 vector.

    Raises
    ------
    DataError
        If they are not one finite number of 0 or more for each value.
    """
    w = checked_values(weights, "weights")
    if w.size != size:
        raise DataError(f"{w.size} weights do not fit {size} values", where="weights")
    if not (np.isfinite(w).all() and w.min() >= 0):
        raise DataError("a likelihood ratio is negative or infinite", where="weights")
    return w


def _sorted(values: ArrayLike, weights: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return the values in order and their weights."""
    x = checked_values(values)
    w = checked_weights(weights, x.size)
    order = np.argsort(x, kind="stable")
    return x[order], w[order]


def _first_at_least(x: np.ndarray, share: np.ndarray, wanted: float) -> float:
    """Return the smallest value whose cumulative share reaches what is wanted; inf if none does."""
    # A sum of weights has rounding of its own, and the estimate must not jump by a value because of it.
    at = int(np.searchsorted(share, wanted * (1 - 1e-12), side="left"))
    return float(x[at]) if at < x.size else math.inf


def weighted_quantile(values: ArrayLike, weights: ArrayLike, p: float) -> float:
    """Return ``inf{a : F_n(a) >= p}`` for the weighted empirical law; inf if its total mass stays below `p`.

    Parameters
    ----------
    values, weights : array_like, shape (n,)
        Values and their likelihood ratios, 0 or more.
    p : float
        Which quantile, between 0 and 1.

    Raises
    ------
    DataError
        If the values or the weights are no sample.
    SettingError
        If `p` is not between 0 and 1.

    Examples
    --------
    >>> weighted_quantile([0.9, 0.6, 0.7, 0.8], [1.4, 0.2, 0.4, 2.0], p=0.1)
    0.7
    """
    x, w = _sorted(values, weights)
    return _first_at_least(x, np.cumsum(w) / x.size, checked_share(p, "p"))


def effective_events(values: ArrayLike, weights: ArrayLike, x: float) -> float:
    """Return how many equally weighted values at or below `x` would tell as much: ``sum(w)**2 / sum(w**2)`` over them.

    Few of them make the asymptotic interval doubtful; many of them cannot vouch for what was never visited.

    Examples
    --------
    >>> effective_events([0.1, 0.2, 0.9], [0.5, 0.5, 2.0], x=0.5)
    2.0
    """
    a = checked_values(values)
    events = checked_weights(weights, a.size)[a <= x]
    squares = float(events @ events)
    return float(events.sum()) ** 2 / squares if squares > 0 else 0.0


def woodruff_interval(values: ArrayLike, weights: ArrayLike, p: float, confidence: float = 0.95) -> Interval:
    """Return the asymptotic interval for the `p`-quantile: the values at which ``F = p`` is not rejected.

    With the standard error `s` of ``F_n`` at the estimated quantile and the normal quantile `z`, the interval reaches
    from the first value with ``F_n >= p - z s`` to the first with ``F_n >= p + z s``. It needs no density and holds
    under ties. The variance is that of independent draws, from one proposal or several.

    Source: Woodruff, Confidence intervals for medians and other position measures, J. Amer. Statist. Assoc. 47 (1952);
    for importance sampling Chu & Nakayama, Confidence intervals for quantiles when applying variance-reduction
    techniques, ACM Trans. Model. Comput. Simul. 22 (2012).

    Parameters
    ----------
    values, weights : array_like, shape (n,)
        Values and their likelihood ratios, 0 or more.
    p : float
        Which quantile, between 0 and 1.
    confidence : float
        Between 0 and 1.

    Returns
    -------
    Interval
        Its guarantee is ``asymptotic``. An end is infinite where the standard error leaves it open.

    Raises
    ------
    DataError
        If the values or the weights are no sample.
    SettingError
        If `p` or `confidence` is not between 0 and 1.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(1)
    >>> z = rng.normal(-2, 1, size=2000)
    >>> interval = woodruff_interval(z, np.exp(2 * z + 2), p=0.01)
    >>> -2.326 in interval, interval.half_width < 0.06
    (True, True)
    """
    x, w = _sorted(values, weights)
    p, confidence = checked_share(p, "p"), checked_share(confidence, "confidence")
    share = np.cumsum(w) / x.size
    events = np.where(x <= _first_at_least(x, share, p), w, 0.0)
    reach = float(ndtri((1 + confidence) / 2)) * float(events.std()) / math.sqrt(x.size)
    low = -math.inf if p - reach <= 0 else _first_at_least(x, share, p - reach)
    return Interval(min(low, float(x[-1])), _first_at_least(x, share, p + reach), confidence, "asymptotic")


def share_bound(hits: int, draws: int, confidence: float = 0.95) -> float:
    """Return the number that the probability of an event is not above, with this confidence, at every sample size.

    For the mass that a proposal may have missed: fix the event before drawing, such as "performance at or below `x`
    although the surrogate gave that less than one chance in a thousand", and count it among the nominal draws.

    Source: Clopper & Pearson, The use of confidence or fiducial limits, Biometrika 26 (1934), upper limit.

    Parameters
    ----------
    hits, draws : int
        How often the event was met among independent nominal draws.
    confidence : float
        Between 0 and 1.

    Raises
    ------
    SettingError
        If there are more hits than draws or a number is out of range.

    Examples
    --------
    >>> round(share_bound(0, 3000), 6)
    0.000998
    """
    draws = checked_count(draws, "draws", 0)
    hits, confidence = checked_count(hits, "hits", 0, draws), checked_share(confidence, "confidence")
    return 1.0 if hits == draws else float(betaincinv(hits + 1, draws - hits, confidence))
