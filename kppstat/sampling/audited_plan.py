"""Plans of audited sampling: a first guess from the pilot, scouts that find the percentile, and the size it takes."""

from __future__ import annotations

import math

import numpy as np

from kppstat.sampling.audited_aim import Aim, Need, Tail
from kppstat.sampling.audited_ledger import Ledger
from kppstat.stats.bracket import fixed_bracket, planned_errors
from kppstat.stats.order import smallest_size

LARGEST = 10**6
#: Scouts are so many that about this many fall below the percentile, within these ends.
_BELOW, _LEAST, _MOST = 10, 100, 2500
#: Share of the budget for scouts.
_SHARE = 0.1
#: Share of scouts looked at again each time, inputs revealed then for each revealed already, inputs of the first look.
_KEPT, _MORE, _LOOK = 0.5, 1.5, 64
#: Scouts known on this share of the inputs are known well enough.
_DEEP = 0.15
#: The plan aims below the wanted width by this factor, because audits leave some of it open.
_AMBITION = 0.95
#: Thresholds start low, by this many e-folds of the tail: one too high makes many instances near it cost all inputs.
_SAFE_START = 0.5


def guessed_tail(performances: list[float], inputs: int) -> Tail:
    """Guess the law of performance from a few values, as if it were normal."""
    x = np.array(performances)
    spread = max(float(x.std(ddof=1)) if x.size > 1 else 0.0, 2 / inputs)
    return Tail(float(np.median(x)), spread, 2 / spread)


def guessed_percentile(performances: list[float], tail: Tail, p: float) -> float:
    """Guess where the percentile lies, rather too low in the lower tail."""
    low = tail.middle - math.sqrt(2 * math.log(1 / min(p, 0.5))) * tail.spread
    return min(max(min(*performances, low) if p < 0.2 else low, 0.0), 1.0)


class Scouts:
    """Instances that are audited coarsely, the lowest ones again and again, to find percentile and tail.

    Parameters
    ----------
    ledger : Ledger
    p : float
        Which quantile.
    budget : float
        Of the whole run, in evaluations; infinite where there is none.
    instances : int, optional
        How many instances the run has in all, if that is given.
    """

    def __init__(self, ledger: Ledger, p: float, budget: float, instances: int | None) -> None:
        inputs = ledger.inputs
        self._ledger, self._p = ledger, p
        self._look = min(_LOOK, max(16, inputs // 64))
        count = min(max(_BELOW / p, _LEAST), _MOST, 1 + _SHARE * budget * inputs / self._look)
        if instances is not None:
            count = min(count, max(instances // 8, min(instances, 100)))
        self.count = max(int(count), ledger.book.count)
        ledger.grow(self.count)
        self._keep = np.arange(self.count)
        self._target = max(5, round(p * self.count))
        self._enough = max(_DEEP * inputs, min(256, 0.5 * inputs))
        self._begun = False

    def need(self, aim: Aim) -> Need | None:
        """Return the next inputs to reveal; None when the scouts are done."""
        few = 4 * self._target + 5
        if self._begun and len(self._keep) > few:
            estimate, _ = aim.guesses(self._keep)
            order = np.argsort(estimate, kind="stable")[: max(int(_KEPT * len(self._keep)), few)]
            self._keep = np.sort(self._keep[order])
        seen = self._ledger.book.seen(self._keep)
        if self._begun and len(self._keep) <= few and (seen >= self._enough).all():
            return None
        wanted = np.minimum(_MORE * seen, self._enough - seen) if self._begun else np.where(seen == 0, self._look, 0)
        self._begun = True
        counts = np.where(seen >= self._enough, 0, np.ceil(wanted)).astype(np.int64)
        asked = counts > 0
        zeros = np.zeros(int(asked.sum()), np.int64)
        return Need(self._keep[asked], counts[asked], zeros, zeros, 0, 0, 0, 0, 0, np.zeros(0))

    def direct(self, aim: Aim) -> None:
        """Set the guess of the tail and the thresholds by what the scouts found."""
        book, inputs, n = self._ledger.book, self._ledger.inputs, self.count
        ids = np.arange(n)
        # Drawing estimates towards the middle would hide the tail of those that are known well.
        deep = book.seen(ids) >= _DEEP * inputs
        order = np.sort(np.where(deep, book.estimates(ids), aim.guesses(ids)[0]))
        near = min(self._target, n)
        steepness = tail_steepness(order, near, 1 / inputs) or aim.tail.steepness
        percentile = float(order[near - 1]) - max(0.0, math.log(near / (self._p * n)) / steepness)
        spread = max(float(np.std(order)), aim.tail.spread / 2)
        aim.tail = Tail(float(np.median(order)), spread, steepness)
        aim.low = aim.high = min(max(percentile - _SAFE_START / steepness, 0.0), 1.0)


def tail_steepness(order: np.ndarray, near: int, least: float) -> float:
    """Return the derivative of the log of the distribution function near a rank; 0 where nothing tells it.

    The mean distance of the lowest values to the highest of them, against that of exponential ones (Hill 1975); above
    the lower tail, of the values around the rank.

    Parameters
    ----------
    order : ndarray
        Values from low to high.
    near : int
        The rank, from 1.
    least : float
        The mean distance counts as no less than this.

    Examples
    --------
    >>> low = np.log(np.arange(1, 1001) / 1000) / 5  # quantiles of an exponential tail of rate 5
    >>> round(tail_steepness(low, 10, 1e-9), 6), round(tail_steepness(low, 500, 1e-9), 6)
    (5.0, 5.0)
    """
    far = min(3 * near + 10, (len(order) + near + 1) // 2)
    ranks = np.arange(max(1, 2 * near - far), far)
    if not len(ranks):
        return 0.0
    return float(np.log(far / ranks).mean() / max((order[far - 1] - order[ranks - 1]).mean(), least))


def planned_instances(p: float, alpha: float, width: float, tail: Tail) -> int:
    """Return at how many instances ranks should be close enough, where the tail is log-linear near the percentile.

    Parameters
    ----------
    p, alpha : float
        Which quantile, and the error spent at that size.
    width : float
        Wanted width, as a share.
    tail : Tail
    """
    wanted = _AMBITION * width * tail.steepness

    def narrow(n: int) -> bool:
        bracket = fixed_bracket(n, p, alpha, planned_errors(n, p))
        return bracket.low > 0 and bracket.high <= n and math.log(bracket.high / bracket.low) <= wanted

    size = smallest_size(p, alpha)
    while not narrow(size) and size < LARGEST:
        size = math.ceil(1.1 * size)
    return size


def instance_cost(ledger: Ledger, p: float, error: float) -> float:
    """Guess what an instance costs on average, in evaluations, if the few near the ends are evaluated in full."""
    typical = 1.5 * -math.log(error) / max(float(ledger.rate_above[0]), 1e-9)
    return min(1.0, typical / ledger.inputs + 3 * min(p, 1 - p))
