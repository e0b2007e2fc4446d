"""Write-verify: a cell is programmed again until it reads close enough, or attempts run out."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import scipy.special

from kppstat.array import is_torch, namespace, normal_cdf
from kppstat.noise.law import Law
from kppstat.noise.parameters import LARGEST, count, real
from kppstat.noise.registry import noise_model

#: A probability that no draw reaches, and the least that float32 can divide by.
_NEVER = 1e-35


def _normal_quantile(p: Any) -> Any:
    """Inverse of the distribution function of the standard normal."""
    return sys.modules["torch"].special.ndtri(p) if is_torch(p) else scipy.special.ndtri(p)


@noise_model("write-verify")
@dataclass(frozen=True)
class WriteVerify(Law):
    """Gaussian programming that is repeated afresh until the deviation is within a tolerance or attempts run out.

    Parameters
    ----------
    sigma : float
        Standard deviation of one attempt as a fraction of the range.
    tolerance : float
        Deviation that is accepted, as a fraction of the range.
    attempts : int
        Writes before giving up with whatever the last one left.

    Notes
    -----
    With q the probability that one attempt misses, n attempts leave the tails of the normal law with probability
    q^n in place of q, and scale up what lies within. The map from z keeps the order of values.
    """

    linear: ClassVar[bool] = True
    formula: ClassVar[str] = "w + sigma * max|W| * v(z), v normal given |v| <= tolerance / sigma, but for misses q^n"
    unit: ClassVar[str] = "sigma and tolerance are fractions of max|W|, or of the range of a device"
    source: ClassVar[str] = (
        "write-verify as in SWIM 2202.08395, whose write_var is what is left; derived here from attempts"
    )
    example: ClassVar[Mapping[str, Any]] = {"sigma": 0.3, "tolerance": 0.06, "attempts": 10}

    sigma: float = real("standard deviation of one attempt as a fraction of the range", low=0, high=LARGEST)
    tolerance: float = real("deviation that is accepted as a fraction of the range", above=0)
    attempts: int = count("writes before giving up", low=1, high=1_000_000, default=10)

    def _constants(self) -> tuple[float, float, float]:
        """Return the tolerance in sigmas, the chance that one attempt misses, and that all do but the last."""
        t = self.tolerance / self.sigma
        miss = math.erfc(t / math.sqrt(2))
        return t, miss, miss ** (self.attempts - 1)

    def apply(self, x: Any, y: Any, z: Any) -> Any:
        """Map z by its rank in the normal law to the same rank in the law after verification."""
        if self.sigma == 0:
            return y + 0 * z[0]
        xp = namespace(y)
        _, miss, before = self._constants()
        rank = normal_cdf(-xp.abs(z[0]))  # in the lower half, where floating point is fine
        tail = miss * before / 2
        inside = miss / 2 + (rank - tail) * ((1 - miss) / (1 - 2 * tail))
        deviation = -_normal_quantile(xp.clip(inside, miss / 2, 0.5))
        if tail > _NEVER:
            outside = -_normal_quantile(xp.clip(rank, _NEVER, tail) / before)
            deviation = xp.where(rank < tail, outside, deviation)
        return y + self.sigma * xp.where(z[0] < 0, -deviation, deviation)

    def response(self, x: Any, y: Any) -> tuple[Any, Any]:
        """Return `y` and the variance of the mixture of the two parts of the normal law."""
        if self.sigma == 0:
            return y, namespace(y).zeros_like(y)
        t, miss, before = self._constants()
        edge = 2 * t * math.exp(-t * t / 2) / math.sqrt(2 * math.pi)
        # Variance of a normal truncated at t; the closed form cancels where t is small.
        within = (1 - miss - edge) / (1 - miss) if t > 0.01 else t * t / 3
        variance = within * (1 - miss * before) + (miss + edge) * before
        return y, namespace(y).ones_like(y) * (self.sigma**2 * variance)
