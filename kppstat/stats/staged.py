"""Distribution function from values that become known in stages, each next one only with a known probability.

Of a pool of `N` independent draws, each has a first guess of its value at no cost: a logistic law with a location and a
scale. At each stage a draw goes on with a probability that may depend on all that is known of it, and is then known
better: another location and a smaller scale, 0 once the value itself is known. With ``r_l(x)`` the probability of a
value at or below `x` by the knowledge after stage `l`, and ``P_l`` the probability of having come so far,

    F_N(x) = mean over the pool of  r_0(x) + sum_l (r_l(x) - r_(l-1)(x)) 1{came to l} / P_l

is unbiased for ``F(x)``, whatever the guesses are worth: each difference is met with its own probability. Good guesses
make the differences small where the probability is. A constant probability for all is a nominal share; the first
probability alone, ``1 / P_1``, is the likelihood ratio of importance sampling from the pool.

Sources: difference estimators in two-phase sampling, Särndal, Swensson & Wretman, Model Assisted Survey Sampling
(1992), chapter 9; telescoping sums with random ends, Rhee & Glynn, Oper. Res. 63 (2015). The interval inverts a
test, as that of Woodruff, J. Amer. Statist. Assoc. 47 (1952).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import njit, vectorize
from scipy.special import ndtri

from kppstat.errors import DataError
from kppstat.stats.interval import Interval, checked_share

__all__ = ["Wave", "chance", "distribution", "staged_interval", "staged_quantile"]

_POINTS, _ROUNDS = 17, 4  # of the grid on which ends are looked for, and how often it is made finer
#: Share of values that stray, and how much wider they scatter.
STRAY, _WIDER = 0.005, 4.0
_BLOCK = 4_000_000  # numbers at a time


def chance(x: np.ndarray, location: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return the probability of a value at or below `x` under what is known; a scale of 0 stands for the value itself.

    A small share of values is expected to stray further than the logistic law says.

    Examples
    --------
    >>> chance(np.array([0.5]), np.array([0.5, 0.5, 0.6]), np.array([0.1, 0.0, 0.0])).tolist()
    [0.5, 1.0, 0.0]
    """
    return np.asarray(_chances(x, location, scale), dtype=np.float64)


@njit(nogil=True, cache=True)
def _chance(x: float, location: float, scale: float) -> float:
    if scale <= 0:
        return 1.0 if x >= location else 0.0
    far = min(max((location - x) / scale, -700.0), 700.0)
    return (1 - STRAY) / (1 + math.exp(far)) + STRAY / (1 + math.exp(far / _WIDER))


@vectorize(cache=True)  # type: ignore[no-untyped-call]
def _chances(x: float, location: float, scale: float) -> float:
    return _chance(x, location, scale)


@njit(nogil=True, cache=True)
def _add(x: Any, draw: Any, location: Any, scale: Any, later: Any, narrower: Any, inclusion: Any, out: Any) -> None:
    """Add the differences that steps make to their draws."""
    for k in range(x.size):
        for i in range(draw.size):
            step = _chance(x[k], later[i], narrower[i]) - _chance(x[k], location[i], scale[i])
            out[k, draw[i]] += step / inclusion[i]


@dataclass(frozen=True, eq=False)
class Wave:
    """One pool and what became known of it.

    Attributes
    ----------
    size : int
        Draws in the pool.
    location, scale : ndarray, shape (kinds,)
        First guesses; draws of one kind share theirs.
    share : ndarray, shape (kinds,)
        Share of the pool that is of each kind, adding to 1.
    kind : ndarray of int, shape (draws,)
        Of the draws that came to the first stage.
    draw : ndarray of int, shape (steps,)
        Which of those draws each step belongs to.
    before, after : ndarray, shape (2, steps)
        Locations and scales of what was known before and after the step.
    inclusion : ndarray, shape (steps,)
        Probability with which a draw like this comes so far, above 0.
    weight : float
        Of this wave among others, planned without its draws.
    """

    size: int
    location: np.ndarray
    scale: np.ndarray
    share: np.ndarray
    kind: np.ndarray
    draw: np.ndarray
    before: np.ndarray
    after: np.ndarray
    inclusion: np.ndarray
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not ((self.inclusion > 0) & (self.inclusion <= 1)).all():
            raise DataError("a probability of inclusion is not above 0 and at most 1", where="Wave")
        if abs(float(self.share.sum()) - 1) > 1e-6 or len(self.kind) > self.size:
            raise DataError("the kinds do not make up the pool", where="Wave")

    def corrections(self, x: np.ndarray) -> np.ndarray:
        """Return what each draw that came to the first stage adds to its first guess, shape (points, draws)."""
        out = np.zeros((len(x), len(self.kind)))
        points = np.ascontiguousarray(x, np.float64)
        (location, scale), (later, narrower) = self.before, self.after
        _add(points, self.draw, location, scale, later, narrower, self.inclusion, out)
        return out

    def moments(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the estimate of ``F`` at each point and its variance, shape (points,)."""
        mean, variance = np.empty(len(x)), np.empty(len(x))
        block = max(1, _BLOCK // max(len(self.kind), 1))
        for start in range(0, len(x), block):
            part = slice(start, start + block)
            guess = chance(x[part, None], self.location, self.scale)
            extra = self.corrections(x[part])
            first = guess @ self.share
            mean[part] = first + extra.sum(1) / self.size
            square = (guess**2) @ self.share + (extra**2 + 2 * extra * guess[:, self.kind]).sum(1) / self.size
            variance[part] = np.maximum(square - mean[part] ** 2, 0) / self.size
        return mean, variance


def distribution(waves: Sequence[Wave], x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the estimate of ``F`` at these points from all waves, and its standard error."""
    total = sum(w.weight for w in waves)
    found = [w.moments(x) for w in waves]
    mean = sum((w.weight / total * m for w, (m, _) in zip(waves, found, strict=True)), np.zeros(len(x)))
    variance = sum(((w.weight / total) ** 2 * v for w, (_, v) in zip(waves, found, strict=True)), np.zeros(len(x)))
    return mean, np.sqrt(variance)


def staged_quantile(waves: Sequence[Wave], p: float, low: float, high: float) -> float:
    """Return where the estimate of ``F`` first reaches `p` between two numbers, to a small part of their distance."""
    for _ in range(_ROUNDS):
        x = np.linspace(low, high, _POINTS)
        mean, _ = distribution(waves, x)
        at = int(np.argmax(mean >= p)) if (mean >= p).any() else len(x) - 1
        low, high = x[max(at - 1, 0)], x[at]
    return float(high)


def staged_interval(
    waves: Sequence[Wave], p: float, confidence: float, *, low: float, high: float
) -> tuple[float, Interval]:
    """Return the estimated `p`-quantile and its interval: the numbers at which ``F = p`` is not rejected.

    The standard error is that at the number, but at least that at the estimate: where few events decide, a number may
    look sure because the rare ones that tell otherwise were not met. Each end is the first number outwards that is
    rejected: ``F`` grows, so numbers beyond it are worse, though few looks there may leave them unrejected.

    Parameters
    ----------
    waves : sequence of Wave
    p, confidence : float
        Between 0 and 1.
    low, high : float
        Between which numbers the quantile lies for sure.

    Returns
    -------
    float, Interval
        The guarantee is ``asymptotic``.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> a = rng.normal(size=4000)
    >>> none, every = np.zeros(0, int), np.arange(4000)
    >>> flat = np.array([[0.0] * 4000, [1.0] * 4000])
    >>> known = np.stack([a, np.zeros(4000)])
    >>> wave = Wave(4000, np.zeros(1), np.ones(1), np.ones(1), 0 * every, every, flat, known, np.ones(4000))
    >>> q, interval = staged_interval([wave], 0.1, 0.95, low=-6, high=6)
    >>> -1.2816 in interval, interval.half_width < 0.1
    (True, True)
    """
    p, confidence = checked_share(p, "p"), checked_share(confidence, "confidence")
    z = float(ndtri((1 + confidence) / 2))
    quantile = staged_quantile(waves, p, low, high)
    least = float(distribution(waves, np.array([quantile]))[1][0])
    ends = []
    for sign in (-1, 1):
        near, far = quantile, low if sign < 0 else high
        for _ in range(_ROUNDS):
            x = np.linspace(near, far, _POINTS)
            mean, error = distribution(waves, x)
            error = np.maximum(error, least)
            out = sign * (mean - p) > z * error
            if not out.any():
                near = far
                break
            first = int(np.argmax(out))
            near, far = float(x[max(first - 1, 0)]), float(x[first])
        ends.append(far if near != far or not math.isclose(far, low if sign < 0 else high) else sign * math.inf)
    return quantile, Interval(min(ends[0], quantile), max(ends[1], quantile), confidence, "asymptotic")
