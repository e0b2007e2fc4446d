"""Ends of an interval for a quantile from weighted draws, by bets: they hold whenever one stops, and for any weights.

Draws come in rounds. Each becomes an instance with a probability that its place decides, its inclusion ``P``, and so
counts ``1 / P`` fold; the others count nothing. Instances have bounds on their performance, as in
`kppstat.stats.bracket`: a lower bound that is ever wrong with probability `a`, an upper one with probability `b`. Let
``q = inf{x : F(x) >= p}``, and let ``Y`` of a draw be its count if its bound is at or below `q`, else 0.

- With lower bounds the mean of ``Y`` is at least ``m = p (1 - a)``. A capital that is multiplied by ``1 + s (Y - m)``
  at each draw, for a stake ``s <= 0``, does not grow on average.
- With upper bounds below `q` the mean is at most ``m = p + (1 - p) b``, and the stake is ``s >= 0``.

As long as no factor is negative, by Ville's inequality a capital that starts at 1 ever reaches ``2 / alpha`` with
probability ``alpha / 2`` at most. What it reaches there at `x` instead of `q` says that ``q`` is not `x`: the smallest
number where the first does not reach it is the lower end, the smallest where the second does is the upper end.

**Adaptive draws and audits.** Stakes and inclusions are fixed before a round is drawn; nothing else is. Write ``A`` for
the performance of an instance and ``e`` for the evidence of the wrong claim about it, stopped where it reaches
``1 / a``, and put ``1{A <= q} (1 - a e)`` in place of whether its bound is at or below `q`. The capital is then no
smaller, is linear in each ``e`` and grows with it; an input more of one instance moves one ``e``, which does not grow
on average, and a new draw starts at ``e = 1`` with a factor whose mean is 1 at most. So this capital is a
supermartingale however audits steer each other. Likewise ``1{A < q} + 1{A >= q} b e`` for the upper end.

Sources: bets on bounded means: Waudby-Smith & Ramdas, J. R. Statist. Soc. B 86 (2024); with weights of importance
sampling, for distribution functions: Waudby-Smith, Wu, Ramdas, Karampatziakis & Mineiro (2022), arXiv:2210.10768. That
audits of each draw may steer each other is derived here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kppstat.errors import DataError

__all__ = ["Round", "growth", "high_end", "log_capital", "low_end"]


@dataclass(frozen=True, eq=False)
class Round:
    """Draws of which some became instances, and what is bet on them.

    Attributes
    ----------
    size : int
        Draws.
    inclusion : ndarray, shape (n,)
        Of those that became instances.
    least : float
        No inclusion of any draw is below this, which is above 0.
    low, high : ndarray, shape (strategies,)
        Stakes of the two ends; each strategy is given the same part of the capital. None is above 0 in `low`, or below
        0 in `high`.
    """

    size: int
    inclusion: np.ndarray
    least: float
    low: np.ndarray
    high: np.ndarray

    def __post_init__(self) -> None:
        if not 0 < self.least <= 1 or not ((self.inclusion >= self.least) & (self.inclusion <= 1)).all():
            raise DataError("a probability of inclusion is not between the least and 1", where="Round")
        if len(self.inclusion) > self.size:
            raise DataError("there are more instances than draws", where="Round")
        if (self.low > 0).any() or (self.high < 0).any() or self.low.shape != self.high.shape:
            raise DataError("a stake is on the wrong side", where="Round")


def log_capital(rounds: Sequence[Round], p: float, stakes: Sequence[np.ndarray], hits: np.ndarray) -> np.ndarray:
    """Return the log of the mean capital of all strategies after each of a growing number of hits.

    Parameters
    ----------
    rounds : sequence of Round
    p : float
        What the mean of the counts is under the hypothesis.
    stakes : sequence of ndarray, shape (strategies,)
        Of each round.
    hits : ndarray, shape (instances of all rounds, ...)
        In the order in which instances become hits: their numbers over all rounds. Or, with two dimensions, how
        probable each instance is a hit at each of several points: then the log of the mean of what the logs of the
        strategies are expected to be is returned, shape (points,).

    Returns
    -------
    ndarray, shape (n + 1,) or (points,)
    """
    pairs = list(zip(rounds, stakes, strict=True))
    start = sum(r.size * np.log1p(-s * p) for r, s in pairs)
    gain = np.concatenate([np.log1p(s * (1 / r.inclusion[:, None] - p)) - np.log1p(-s * p) for r, s in pairs])
    if hits.ndim == 2:
        logs = start + hits.T @ gain
    else:
        logs = start + np.concatenate([np.zeros((1, gain.shape[1])), np.cumsum(gain[hits], axis=0)])
    return np.asarray(np.logaddexp.reduce(logs, axis=1) - math.log(logs.shape[1]))


def low_end(rounds: Sequence[Round], lower: np.ndarray, p: float, alpha: float) -> float:
    """Return the lower end: below it the quantile lies with probability ``alpha`` at most, ever.

    Parameters
    ----------
    rounds : sequence of Round
    lower : ndarray
        Lower bounds of the instances of all rounds.
    p : float
        ``p (1 - a)``.
    alpha : float
        Error of this end.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> values = rng.normal(size=20_000)
    >>> inclusion = np.where(values < -1, 1.0, 0.2)  # more of those that matter
    >>> kept = rng.random(20_000) < inclusion
    >>> one = Round(20_000, inclusion[kept], 0.2, np.array([-0.2]), np.array([0.2]))
    >>> -2.46 < low_end([one], values[kept], 0.01, 0.025) < -2.326 < high_end([one], values[kept], 0.01, 0.025) < -2.2
    True
    """
    order = np.argsort(lower, kind="stable")
    logs = log_capital(rounds, p, [r.low for r in rounds], order)
    short = np.flatnonzero(~(logs >= -math.log(alpha)))
    if not len(short):
        return float(lower.max(initial=-math.inf))
    return float(lower[order[short[0] - 1]]) if short[0] else -math.inf


def high_end(rounds: Sequence[Round], upper: np.ndarray, p: float, alpha: float) -> float:
    """Return the upper end: above it the quantile lies with probability ``alpha`` at most, ever.

    Parameters
    ----------
    rounds : sequence of Round
    upper : ndarray
        Upper bounds of the instances of all rounds.
    p : float
        ``p + (1 - p) b``.
    alpha : float
        Error of this end.
    """
    order = np.argsort(upper, kind="stable")
    logs = log_capital(rounds, p, [r.high for r in rounds], order)
    enough = np.flatnonzero(logs[1:] >= -math.log(alpha))
    return float(upper[order[enough[0]]]) if len(enough) else math.inf


def growth(stakes: np.ndarray, p: float, inclusion: np.ndarray, chance: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Return by how much the log of the capital is expected to grow at each draw, shape (stakes,).

    Parameters
    ----------
    stakes : ndarray, shape (stakes,)
    p : float
        The hypothesis.
    inclusion, chance, share : ndarray, shape (kinds,)
        Inclusions of kinds of draws, how probable hits are in each, and their shares of all draws.
    """
    s = stakes[:, None]
    hit = inclusion * chance
    return np.asarray((hit * np.log1p(s * (1 / inclusion - p)) + (1 - hit) * np.log1p(-s * p)) @ share)
