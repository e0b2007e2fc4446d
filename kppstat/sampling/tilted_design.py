"""How a round of tilted sampling with a guarantee is drawn: what is expected makes it cheap, and never wrong."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from kppstat.sampling.audited_aim import best_bets, first_look
from kppstat.sampling.audited_ledger import Ledger
from kppstat.stats.betting import growth
from kppstat.stats.bracket import AuditErrors
from kppstat.stats.staged import chance

__all__ = ["Design", "designed"]

#: Least inclusions that are tried, as shares of the largest: 1 takes instances as they come. And how much stronger than
#: by the rule the others may be.
_FLOORS = (1.0, 0.7, 0.5, 0.35, 0.25, 0.17, 0.12, 0.08, 0.05, 0.03, 0.02)
_STRONGER = (1.0, 3.0, 10.0)
#: Stakes that are tried, as shares of the largest that leaves no factor negative; and what each strategy bets of the
#: best one, but no more than the largest that is tried.
_STAKES = np.geomspace(1e-4, 0.9, 80)
_STRATEGIES = np.array([0.4, 1.0, 2.0])
#: Standard deviations by which the capital may grow less than expected and still suffice.
_MARGIN = 0.5
#: A look takes more inputs than the evidence alone.
_OVER = 1.3
#: Points of a logistic law that stand for it.
_NODES = np.array([0.04, 0.15, 0.3, 0.5, 0.7, 0.85, 0.96])


@dataclass(frozen=True, eq=False)
class Design:
    """A round to be drawn.

    Attributes
    ----------
    inclusion : ndarray, shape (kinds,)
    low, high : ndarray, shape (strategies,)
        Stakes.
    size : float
        Draws that are expected to suffice.
    cost : float
        Evaluations that they are expected to take.
    """

    inclusion: np.ndarray
    low: np.ndarray
    high: np.ndarray
    size: float
    cost: float

    @property
    def per_draw(self) -> float:
        """Evaluations that a draw takes on average."""
        return self.cost / self.size


def designed(
    ledger: Ledger,
    law: np.ndarray,
    share: np.ndarray,
    ends: tuple[float, float],
    p: float,
    alpha: float,
    errors: AuditErrors,
    masses: tuple[float, float] | None = None,
) -> Design:
    """Return the cheapest design whose interval reaches no further than two numbers, if the surrogate is right.

    Parameters
    ----------
    ledger : Ledger
        Tells how fast audits gather evidence.
    law : ndarray, shape (3, parts, kinds)
        What the surrogate expects of each kind, as `kppstat.stats.staged` takes it.
    share : ndarray, shape (kinds,)
        Of all draws.
    ends : tuple of float
        The two numbers.
    p : float
        Which quantile.
    alpha : float
        Error of each end.
    errors : AuditErrors
    masses : tuple of float, optional
        Share of instances at or below each of the two numbers, where instances have told; else by the surrogate.
    """
    price = _prices(ledger, law, ends, errors)
    below = chance(np.array(ends), law)
    if masses is not None:
        below *= (np.array(masses) / np.maximum(below @ share, 1e-12))[:, None]
    below = np.clip(below, 1e-12, 1.0)
    for_low, for_high = errors.shares(p)
    needed = math.log(len(_STRATEGIES) / alpha)
    # The root of the growth that suffices but for some bad luck: its spread is the root of twice the growth.
    needed = ((_MARGIN + math.sqrt(_MARGIN**2 + 2 * needed)) / math.sqrt(2)) ** 2
    rule = np.sqrt(below[1] / price)
    rule /= rule.max()
    best: Design | None = None
    for floor in _FLOORS:
        for stronger in _STRONGER:
            inclusion = np.clip(stronger * rule, floor, 1.0)
            low, high = -_STAKES / (1 / float(inclusion.min()) - for_low), _STAKES / for_high
            grows_low = growth(low, for_low, inclusion, below[0], share)
            grows_high = growth(high, for_high, inclusion, below[1], share)
            rate = min(float(grows_low.max()), float(grows_high.max()))
            size = min(needed / rate, 1e12) if rate > 0 else 1e12
            cost = size * float(share @ (inclusion * price))
            if best is None or cost < best.cost:
                for_low_stakes = np.maximum(low[grows_low.argmax()] * _STRATEGIES, low[-1])
                for_high_stakes = np.minimum(high[grows_high.argmax()] * _STRATEGIES, high[-1])
                best = Design(inclusion, for_low_stakes, for_high_stakes, size, cost)
    assert best is not None
    return best


def _prices(ledger: Ledger, law: np.ndarray, ends: tuple[float, float], errors: AuditErrors) -> np.ndarray:
    """Return what an audit of an instance of each kind costs on average, in evaluations, shape (kinds,)."""
    weight, location, scale = law
    values = location + scale * np.log(_NODES / (1 - _NODES))[:, None, None]
    none = np.zeros(values.size)
    low, high = ends
    above = best_bets((values - low).ravel(), none, ledger.above - ledger.low, ledger.rate_above)[1]
    below = best_bets((high - values).ravel(), none, ledger.high - ledger.below, ledger.rate_below)[1]
    above, below = -math.log(errors.lower) * above, -math.log(errors.upper) * below
    flat = values.ravel()
    inputs = np.where(flat > high, above, np.where(flat < low, below, np.maximum(above, below)))
    first = first_look(ledger, -math.log(errors.lower))
    inputs = np.clip(_OVER * inputs, first, ledger.inputs).reshape(values.shape)
    return np.asarray((weight * inputs.mean(0)).sum(0) / ledger.inputs)
