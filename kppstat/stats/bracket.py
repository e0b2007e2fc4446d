"""Intervals for a quantile from audited instances: order statistics of bounds, with the audits' errors in the ranks.

Let instance `i` have a lower bound ``L_i`` that is ever above its performance ``A_i`` with probability at most `a`, and
an upper bound ``U_i`` that is ever below it with probability at most `b`, and let ``q = inf{x : F(x) >= p}``.

- ``L_i <= q`` whenever ``A_i <= q`` and the audit is right: probability at least ``p (1 - a)``. So the number of lower
  bounds at or below `q` is at least binomial with that probability, and the order statistic ``L_(l)`` exceeds `q` no
  more often than a rank allows for the quantile of ``p (1 - a)``. Only errors of the few instances below count.
- ``U_i < q`` only if ``A_i < q`` or the audit is wrong: probability at most ``p + (1 - p) b``.

No union bound over instances is paid: with `a` of a few percent the ranks hardly move, whatever `n` is.

**Adaptive audits.** Which instance is audited next, how far, and with which bets may depend on everything seen so far.
Fix all scores. Let ``m_i(t) <= 1 / a`` be the evidence of the wrong claim about instance `i`, stopped where it reaches
``1 / a``, and consider independent events of probabilities ``a m_i(t)``. The probability that they fill any growing
family of sets ("at least m of them", "at some planned look more than ...") is an affine and growing function of each
``m_i`` while the others stay. Each draw moves one ``m_i``, which does not grow on average, so that probability is a
supermartingale: it starts at its value for independent errors of probability `a`, and ends at no less than 1 if the
wrong audits fill the family. So errors, however the audits steer each other, are no worse than independent ones.

Sources: order statistics and looks: `kppstat.stats.order`, `kppstat.stats.stages`, `kppstat.stats.sequence`. The rest
is derived here; the count of confidence bounds in place of values is in the spirit of Stark's audits (SHANGRLA, 2020).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import tee

from kppstat.stats.order import lower_rank, upper_rank
from kppstat.stats.sequence import QuantileSequence
from kppstat.stats.stages import looks

__all__ = [
    "AuditErrors",
    "Bracket",
    "BracketSequence",
    "brackets",
    "fixed_bracket",
    "planned_errors",
]


@dataclass(frozen=True, slots=True)
class AuditErrors:
    """With which probability the bounds of one instance may ever be wrong.

    Attributes
    ----------
    lower, upper : float
        That the lower bound is above the performance; that the upper bound is below it.
    """

    lower: float
    upper: float

    def shares(self, p: float) -> tuple[float, float]:
        """Return the probabilities that stand in for `p` in the ranks of the lower and of the upper end."""
        return p * (1 - self.lower), p + (1 - p) * self.upper


@dataclass(frozen=True, slots=True)
class Bracket:
    """Ranks, from 1, of the interval's ends among bounds of instances.

    Attributes
    ----------
    size : int
        How many instances count.
    low : int
        Rank among the lower bounds; 0 stands for -inf.
    high : int
        Rank among the upper bounds; ``size + 1`` stands for inf.
    """

    size: int
    low: int
    high: int


def planned_errors(n: int, p: float) -> AuditErrors:
    """Return the errors of an audit that waste least on about `n` instances, for the quantile `p`.

    A lower error of `a` shifts the lower rank by ``n p a``, against a rank error of about ``2 sqrt(n p (1 - p))``, and
    saves evidence ``log(1 / a)`` on every instance above; likewise ``n (1 - p) b`` on every instance below. The side of
    the many instances gets the larger share of its rank error, because there evidence is what costs.

    Examples
    --------
    >>> e = planned_errors(8000, 0.01)
    >>> print(f"{e.lower:.3f} {e.upper:.1e}")
    0.022 5.6e-05
    """
    lower, upper = (0.2, 0.05) if p <= 0.5 else (0.05, 0.2)
    return AuditErrors(min(0.1, lower * math.sqrt((1 - p) / (n * p))), min(0.1, upper * math.sqrt(p / (n * (1 - p)))))


def fixed_bracket(n: int, p: float, alpha: float, errors: AuditErrors) -> Bracket:
    """Return the ranks for a number of instances that was fixed beforehand.

    Parameters
    ----------
    n : int
    p : float
        Which quantile, between 0 and 1.
    alpha : float
        Probability with which the interval may miss, audits included.
    errors : AuditErrors

    Examples
    --------
    >>> fixed_bracket(8000, 0.01, 0.05, AuditErrors(0.03, 1e-4))
    Bracket(size=8000, low=61, high=100)
    """
    below, above = errors.shares(p)
    return Bracket(n, lower_rank(n, below, alpha / 2), upper_rank(n, above, alpha / 2))


def brackets(
    sizes: Iterable[int], p: float, alpha: float, errors: AuditErrors, first_share: float
) -> Iterator[Bracket]:
    """Yield ranks at planned sizes such that all brackets hold at once with probability at least ``1 - alpha``.

    Parameters
    ----------
    sizes : iterable of int
        Growing numbers of instances, planned without those instances.
    p, alpha, errors
        As in `fixed_bracket`.
    first_share : float
        Share of the error spent at the first size.
    """
    below, above = errors.shares(p)
    for_low, for_high = tee(sizes)
    low = looks(for_low, below, alpha, first_share=first_share)
    high = looks(for_high, above, alpha, first_share=first_share)
    for one, other in zip(low, high, strict=True):
        yield Bracket(one.size, one.low, other.high)


class BracketSequence:
    """Ranks for growing numbers of instances that hold whenever one stops.

    Parameters
    ----------
    p, alpha, errors
        As in `fixed_bracket`.
    best : int
        Number of instances at which the interval should be at its narrowest.
    """

    def __init__(self, p: float, alpha: float, errors: AuditErrors, best: int) -> None:
        below, above = errors.shares(p)
        # Each side has a sequence of its own, because their shares differ; so each gets half of the error.
        self._low, self._high = QuantileSequence(below, alpha / 2, best), QuantileSequence(above, alpha / 2, best)

    def bracket(self, n: int) -> Bracket:
        """Return the ranks for `n` instances."""
        return Bracket(n, self._low.ranks(n)[0], self._high.ranks(n)[1])
