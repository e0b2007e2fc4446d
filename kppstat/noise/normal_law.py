"""The family of laws with one normal deviation of known mean and standard deviation, cut to a range."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np

from kppstat.array import namespace, normal_cdf, normal_pdf
from kppstat.noise.law import Law

#: Standard deviations beyond which the quadrature and the closed form see nothing.
FAR, _NEVER = 8.5, 30.0
#: Standard deviations of no consequence, which would overflow a division.
_TINY = 1e-30


class NormalLaw(Law):
    """A law ``clip(mean + sd * z, low, high)``; a new one gives its mean and standard deviation."""

    @abstractmethod
    def level(self, x: Any, y: Any) -> tuple[Any, Any]:
        """Return the mean and the standard deviation before clipping of values `y` that were meant to be `x`."""

    @property
    def limits(self) -> tuple[float, float]:
        """Where values are cut off, in units of the range: at 0 for conductances, nowhere for weights."""
        return (-math.inf if self.signed else 0.0), math.inf

    def apply(self, x: Any, y: Any, z: Any) -> Any:
        """Return the clipped normal value."""
        mean, sd = self.level(x, y)
        return self._cut(mean + sd * z[0])

    def _cut(self, value: Any) -> Any:
        low, high = self.limits
        if low == -math.inf and high == math.inf:
            return value
        xp = namespace(value)
        return xp.clip(value, low if low > -math.inf else None, high if high < math.inf else None)

    def response(self, x: Any, y: Any) -> tuple[Any, Any]:
        """Return the moments of a normal value censored at both limits.

        With a = (low - mean) / sd, b = (high - mean) / sd: ``E C = a P(a) + phi(a) - phi(b) + b Q(b)`` and
        ``E C^2 = a^2 P(a) + P(b) - P(a) + a phi(a) - b phi(b) + b^2 Q(b)`` for C = clip(Z, a, b), Q = 1 - P.
        """
        mean, sd = self.level(x, y)
        xp = namespace(y)
        mean, sd = mean + 0 * y, sd + 0 * y
        low, high = self.limits
        if low == -math.inf and high == math.inf:
            return mean, sd**2
        safe = xp.clip(sd, _TINY, None)
        first, second, inside = xp.zeros_like(mean), xp.zeros_like(mean), xp.ones_like(mean)
        lost = xp.zeros_like(mean) > 1
        for limit, sign in ((low, -1.0), (high, 1.0)):
            if math.isfinite(limit):
                # t is how far the limit lies out on its side; beyond it lies probability P(-t).
                t = xp.clip(sign * (limit - mean) / safe, -_NEVER, _NEVER)
                beyond, density = normal_cdf(-t), normal_pdf(t)
                first = first + sign * (t * beyond - density)
                second = second + t * t * beyond - t * density
                inside = inside - beyond
                lost = lost | (t <= -_NEVER)
        spread = xp.clip(second + inside - first**2, 0, None)
        sure = lost | (sd <= _TINY)
        return xp.where(sure, self._cut(mean), mean + sd * first), xp.where(sure, xp.zeros_like(sd), sd**2 * spread)

    def nodes(self, x: Any, y: Any) -> Iterator[tuple[Any, Any]]:
        """Yield the atoms at the limits and Gauss-Legendre nodes between them."""
        mean, sd = self.level(x, y)
        xp = namespace(y)
        mean, sd = mean + 0 * y, sd + 0 * y
        safe = xp.clip(sd, _TINY, None)
        ends = []
        for limit, sign in zip(self.limits, (-1.0, 1.0), strict=True):
            end = xp.ones_like(mean) * (sign * FAR)
            if math.isfinite(limit):
                end = xp.clip((limit - mean) / safe, -FAR, FAR)
                yield normal_cdf(sign * -end), xp.ones_like(mean) * limit
            ends.append(end)
        a, b = ends
        inside = normal_cdf(b) - normal_cdf(a)
        for probability, z in normal_nodes(a, b):
            yield inside * probability, self._cut(mean + sd * z)


def normal_nodes(a: Any, b: Any, count: int = 64) -> Iterator[tuple[Any, Any]]:
    """Yield probabilities, which add to 1, and values of a standard normal given that it lies between `a` and `b`.

    A Gauss-Legendre rule of `count` nodes, which has no trouble with ends of the range.
    """
    xp = namespace(a)
    points, weights = np.polynomial.legendre.leggauss(count)
    values = [a + (b - a) * float((p + 1) / 2) for p in points]
    masses = [normal_pdf(z) * float(w) for z, w in zip(values, weights, strict=True)]
    total = sum(masses[1:], masses[0])
    total = xp.where(total > 0, total, xp.ones_like(total))
    for mass, z in zip(masses, values, strict=True):
        yield mass / total, z
