"""Upper bounds on the probability of an event, exact however few the draws."""

from __future__ import annotations

import math

from scipy.special import betainc, betaincinv, betaln

from kppstat.stats.interval import checked_count, checked_share

__all__ = ["share_bound", "share_bound_ever"]

#: Of the mixture of bets: chosen because hidden failures are few. With no hit among the draws of two to four equal
#: waves the bound is 0.8 to 0.63 times that of Clopper and Pearson with the error ``alpha / (t (t + 1))`` at look `t`;
#: with a few hits about the same, with 20 it is 1.04 times as much.
_SHAPE = 0.5


def share_bound(hits: int, draws: int, confidence: float = 0.95) -> float:
    """Return the number that the probability of an event is not above, with this confidence.

    It is exact for any number of draws that was fixed beforehand; who looks again as draws come in needs
    `share_bound_ever`. For the mass that a proposal may have missed: fix the event before drawing, such as
    "performance at or below `x` although the surrogate gave that less than one chance in a thousand", and count it
    among the nominal draws.

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


def share_bound_ever(hits: int, draws: int, confidence: float = 0.95) -> float:
    """Return the number that the probability of an event is not above, with this confidence at all looks together.

    How many draws come next may depend on the hits so far. Suppose each draw is a hit with probability `m` or more,
    whatever came before. A capital that is multiplied by ``u`` at a hit and by ``(1 - u m) / (1 - m)`` otherwise, for
    ``u`` between 0 and 1, does not grow on average, nor does the mean of such capitals over ``u`` with the density
    ``a u**(a - 1)``. So it ever reaches ``1 / alpha`` with probability `alpha` at most (Ville), and the bound is the
    smallest `m` at which it does.

    Source: mixtures truncated to one side, Howard, Ramdas, McAuliffe & Sekhon, Time-uniform, nonparametric,
    nonasymptotic confidence sequences, Ann. Statist. 49 (2021); beta-binomial as in `kppstat.stats.sequence`.

    Parameters
    ----------
    hits, draws : int
        How often the event was met among the draws so far.
    confidence : float
        Between 0 and 1.

    Raises
    ------
    SettingError
        If there are more hits than draws or a number is out of range.

    Examples
    --------
    >>> round(share_bound_ever(0, 3000), 6)
    0.001262
    """
    draws = checked_count(draws, "draws", 0)
    hits, confidence = checked_count(hits, "hits", 0, draws), checked_share(confidence, "confidence")
    if hits == draws:
        return 1.0
    a, b = _SHAPE + hits, 1.0 + draws - hits
    start, wanted = math.log(_SHAPE) + float(betaln(a, b)), -math.log1p(-confidence)
    low, high = hits / draws, 1.0  # the capital grows with m, and is no more than 1 at the first
    for _ in range(60):
        m = (low + high) / 2
        capital = start + math.log(betainc(a, b, m)) - a * math.log(m) - (draws - hits) * math.log1p(-m)
        low, high = (m, high) if capital < wanted else (low, m)
    return high
