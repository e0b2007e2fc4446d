"""Distribution function from values that become known in stages, each next one only with a known probability.

Of a pool of `N` independent draws, each has a first guess of its value at no cost: a mixture of a few logistic laws,
each with a weight, a location and a scale. At each stage a draw goes on with a probability that may depend on all that
is known of it, and is then known better: other weights and smaller scales, 0 once the value itself is known. With
``r_l(x)`` the probability of a value at or below `x` by the knowledge after stage `l`, and ``P_l`` the probability of
having come so far,

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
from scipy.special import stdtrit

from kppstat.errors import DataError
from kppstat.stats.interval import Interval, checked_share

__all__ = ["LOGISTIC", "Wave", "below", "chance", "distribution", "staged_interval", "staged_quantile"]

#: Standard deviation of the logistic law of scale 1.
LOGISTIC = math.pi / math.sqrt(3)
# Where quantile and ends are looked for: points of an even grid, of one that widens outwards from this share of the
# way, and of finer ones, how often.
_EVEN, _OUTWARDS, _NEAREST, _FINER, _ROUNDS = 65, 25, 1e-4, 9, 3
_BLOCK = 4_000_000  # numbers at a time
_FAR, _LEAST = 40.0, 1e-15  # scales from a location, and weight of a part, beyond which nothing is left to tell


def below(x: np.ndarray, law: np.ndarray) -> np.ndarray:
    """Return the probability that a value is at or below `x` and of each part of its mixture, shape (points, parts, n).

    Parameters
    ----------
    x : ndarray, shape (points,)
    law : ndarray, shape (3, parts, n)
        Weights, locations and scales; a scale of 0 stands for the value itself.
    """
    weight, location, scale = law
    return np.asarray(weight * _logistic(np.asarray(x)[:, None, None], location, scale))


def chance(x: np.ndarray, law: np.ndarray) -> np.ndarray:
    """Return the probability of a value at or below `x` under what is known, shape (points, n).

    Parameters
    ----------
    x, law
        As for `below`.

    Examples
    --------
    >>> known, guessed = [[1.0], [0.5], [0.0]], [[1.0], [0.5], [0.1]]
    >>> chance(np.array([0.4, 0.5]), np.stack([known, guessed], axis=-1)).round(3).tolist()
    [[0.0, 0.269], [1.0, 0.5]]
    """
    return np.asarray(below(x, law).sum(1))


@njit(nogil=True, cache=True)
def _below(x: float, location: float, scale: float) -> float:
    if scale <= 0:
        return 1.0 if x >= location else 0.0
    far = (location - x) / scale
    if far > _FAR:
        return 0.0
    return 1.0 if far < -_FAR else 1 / (1 + math.exp(far))


@vectorize(cache=True)  # type: ignore[no-untyped-call]
def _logistic(x: float, location: float, scale: float) -> float:
    return _below(x, location, scale)


@njit(nogil=True, cache=True)
def _add(x: Any, draw: Any, before: Any, after: Any, inclusion: Any, out: Any) -> None:
    """Add the differences that steps make to their draws."""
    for k in range(x.size):
        for i in range(draw.size):
            step = 0.0
            for part in range(before.shape[1]):
                if before[0, part, i] > _LEAST:
                    step -= before[0, part, i] * _below(x[k], before[1, part, i], before[2, part, i])
                if after[0, part, i] > _LEAST:
                    step += after[0, part, i] * _below(x[k], after[1, part, i], after[2, part, i])
            out[k, draw[i]] += step / inclusion[i]


@dataclass(frozen=True, eq=False)
class Wave:
    """One pool and what became known of it.

    Attributes
    ----------
    size : int
        Draws in the pool.
    first : ndarray, shape (3, parts, kinds)
        First guesses, as `below` takes them; draws of one kind share theirs.
    share : ndarray, shape (kinds,)
        Share of the pool that is of each kind, adding to 1.
    kind : ndarray of int, shape (draws,)
        Of the draws that came to the first stage.
    draw : ndarray of int, shape (steps,)
        Which of those draws each step belongs to.
    before, after : ndarray, shape (3, parts, steps)
        What was known before and after the step.
    inclusion : ndarray, shape (steps,)
        Probability with which a draw like this comes so far, above 0.
    weight : float
        Of this wave among others, planned without its draws.
    """

    size: int
    first: np.ndarray
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
        _add(points, self.draw, self.before, self.after, self.inclusion, out)
        return out

    def moments(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the estimate of ``F`` at each point and its variance, shape (points,)."""
        mean, variance = np.empty(len(x)), np.empty(len(x))
        block = max(1, _BLOCK // max(len(self.kind), 1))
        for start in range(0, len(x), block):
            part = slice(start, start + block)
            guess = chance(x[part], self.first)
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
    x = np.linspace(low, high, _EVEN)
    for _ in range(_ROUNDS + 1):
        mean, _ = distribution(waves, x)
        at = int(np.argmax(mean >= p)) if (mean >= p).any() else len(x) - 1
        low, high = float(x[max(at - 1, 0)]), float(x[at])
        x = np.linspace(low, high, _FINER)
    return high


def staged_interval(
    waves: Sequence[Wave], p: float, confidence: float, *, low: float, high: float
) -> tuple[float, Interval]:
    """Return the estimated `p`-quantile and its interval: the numbers at which ``F = p`` is not rejected.

    Quantiles are those of Student's law with as many degrees of freedom as equally large corrections would have that
    vary as much, less one (Satterthwaite, Biometrics Bulletin 2, 1946): where a few large ones make up the estimate,
    its error is not known well either. The standard error is that at the number, but at least that at the estimate:
    where few events decide, a number may look sure because the rare ones that tell otherwise were not met. Each end is
    the first number outwards that is rejected: ``F`` grows, so numbers beyond it are worse, though few looks there may
    leave them unrejected.

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
    >>> every = np.arange(4000)
    >>> one = np.ones((1, 4000))
    >>> flat, known = np.stack([one, 0 * one, one]), np.stack([one, a[None], 0 * one])
    >>> wave = Wave(4000, flat[..., :1], np.ones(1), 0 * every, every, flat, known, np.ones(4000))
    >>> q, interval = staged_interval([wave], 0.1, 0.95, low=-6, high=6)
    >>> -1.2816 in interval, interval.half_width < 0.1
    (True, True)
    """
    p, confidence = checked_share(p, "p"), checked_share(confidence, "confidence")
    quantile = staged_quantile(waves, p, low, high)
    z = float(stdtrit(_freedom(waves, quantile), (1 + confidence) / 2))
    least = float(distribution(waves, np.array([quantile]))[1][0])
    ends = []
    for sign, far in ((-1, low), (1, high)):
        x = quantile + (far - quantile) * np.concatenate([[0.0], np.geomspace(_NEAREST, 1, _OUTWARDS)])
        end = sign * math.inf
        for _ in range(_ROUNDS + 1):
            mean, error = distribution(waves, x)
            out = sign * (mean - p) > z * np.maximum(error, least)
            if not out.any():
                break
            first = int(np.argmax(out))
            end = float(x[first])
            x = np.linspace(x[max(first - 1, 0)], end, _FINER)
        ends.append(end)
    return quantile, Interval(min(ends[0], quantile), max(ends[1], quantile), confidence, "asymptotic")


def _freedom(waves: Sequence[Wave], x: float) -> float:
    """Return the degrees of freedom of the standard error of the estimate of ``F`` at this number, 1 or more."""
    total = sum(w.weight for w in waves)
    parts = [w.weight / total / w.size * w.corrections(np.array([x]))[0] for w in waves]
    square = np.concatenate(parts) ** 2
    return max(float(square.sum()) ** 2 / max(float((square**2).sum()), 1e-300) - 1, 1.0) if square.any() else 1.0
