"""An upper bound on the probability of an event, exact however few the draws."""

from __future__ import annotations

from scipy.special import betaincinv

from kppstat.stats.interval import checked_count, checked_share

__all__ = ["share_bound"]


def share_bound(hits: int, draws: int, confidence: float = 0.95) -> float:
    """Return the number that the probability of an event is not above, with this confidence.

    It is exact for any number of draws that was fixed beforehand; who looks again as draws come in spends error each
    time. For the mass that a proposal may have missed: fix the event before drawing, such as "performance at or below
    `x` although the surrogate gave that less than one chance in a thousand", and count it among the nominal draws.

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
