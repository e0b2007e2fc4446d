"""Additive Gaussian variation: of weights, censored for training, and of devices with a range."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from kppstat.array import namespace
from kppstat.noise.law import Law, full_scale
from kppstat.noise.normal_law import FAR, NormalLaw, normal_nodes
from kppstat.noise.parameters import LARGEST, real
from kppstat.noise.registry import noise_model


@noise_model("gaussian")
@dataclass(frozen=True)
class Gaussian(NormalLaw):
    """Independent Gaussian deviations of equal size on every weight of a tensor.

    Parameters
    ----------
    sigma : float
        Standard deviation of one weight's deviation as a fraction of max|W| of its tensor, 0 or more.

    Raises
    ------
    NoiseError
        If sigma is negative or not finite.

    Examples
    --------
    >>> import numpy as np
    >>> Gaussian(0.1).weights(np.array([1.0, -2.0]), np.array([1.0, -1.0])).tolist()
    [1.2, -2.2]
    """

    linear: ClassVar[bool] = True
    formula: ClassVar[str] = "w + sigma * max|W| * z"
    unit: ClassVar[str] = "sigma is a fraction of max|W| of the tensor"
    source: ClassVar[str] = "the common unit of the literature; aihwkit-lightning calls it AddNormal"

    takes_unit: ClassVar[bool] = True
    example: ClassVar[Mapping[str, Any]] = {"sigma": 0.1}

    sigma: float = real("standard deviation as a fraction of max|W|", low=0, high=LARGEST)

    def level(self, x: Any, y: Any) -> tuple[Any, Any]:
        """Return `y` and sigma."""
        return y, self.sigma

    def weights(self, w: Any, z: Any) -> Any:
        """Return ``w + sigma * max|W| * z``, equal to `w` bit for bit where sigma is 0."""
        xp = namespace(w)
        return w + self.sigma * full_scale(w) * xp.reshape(xp.astype(z, w.dtype, copy=False), w.shape)

    def moments(self, w: Any) -> tuple[Any, Any]:
        """Return `w` and the variance ``(sigma max|W|)**2``."""
        return w, namespace(w).ones_like(w) * (self.sigma * full_scale(w)) ** 2


@noise_model("right-censored")
@dataclass(frozen=True)
class RightCensored(Law):
    """Gaussian deviations whose upper tail is cut back to a threshold: the training noise of TRICE.

    Parameters
    ----------
    sigma : float
        Standard deviation before censoring as a fraction of max|W|.
    threshold : float
        Largest deviation in units of sigma.
    """

    linear: ClassVar[bool] = True
    formula: ClassVar[str] = "w + sigma * max|W| * min(z, threshold)"
    unit: ClassVar[str] = "sigma is a fraction of max|W| before censoring; the threshold counts in sigma"
    source: ClassVar[str] = "TRICE, arXiv 2307.15853; its form from MariusAnje/CIM_CW, modules.set_SG"

    takes_unit: ClassVar[bool] = True
    example: ClassVar[Mapping[str, Any]] = {"sigma": 0.1, "threshold": 1.0}

    sigma: float = real("standard deviation before censoring as a fraction of max|W|", low=0, high=LARGEST)
    threshold: float = real("largest deviation in units of sigma", default=2.0)

    def apply(self, x: Any, y: Any, z: Any) -> Any:
        """Add the censored deviation."""
        return y + self.sigma * namespace(z).clip(z[0], None, self.threshold)

    def response(self, x: Any, y: Any) -> tuple[Any, Any]:
        """Use ``E min(Z, t) = t Q(t) - phi(t)`` and ``E min(Z, t)^2 = P(t) - t phi(t) + t^2 Q(t)``, where Q = 1 - P."""
        t = self.threshold
        below, above = 0.5 * math.erfc(-t / math.sqrt(2)), 0.5 * math.erfc(t / math.sqrt(2))
        density = math.exp(-t * t / 2) / math.sqrt(2 * math.pi)
        mean = t * above - density
        variance = max(below - t * density + t * t * above - mean * mean, 0.0)
        return y + self.sigma * mean, namespace(y).ones_like(y) * (self.sigma**2 * variance)

    def nodes(self, x: Any, y: Any) -> Iterator[tuple[Any, Any]]:
        """Yield the nodes of the normal law below the threshold, and the threshold."""
        t = self.threshold
        above = 0.5 * math.erfc(t / math.sqrt(2))
        one = namespace(y).ones_like(y)
        for probability, z in normal_nodes(-FAR * one, max(min(t, FAR), -FAR) * one):
            yield probability * (1 - above), y + self.sigma * z
        yield above, y + self.sigma * t


@noise_model("conductance")
@dataclass(frozen=True)
class Conductance(NormalLaw):
    """Gaussian deviations of a device whose conductance cannot leave a range.

    Parameters
    ----------
    sigma : float
        Standard deviation before clipping as a fraction of the range.
    low, high : float
        Where conductance ends, in units of the range: 0 is the bottom and 1 the top that weights are mapped to.
    """

    signed: ClassVar[bool] = False
    formula: ClassVar[str] = "clip(g + sigma * z, low, high) on each device"
    unit: ClassVar[str] = "sigma is a fraction of the device's range, before clipping"
    source: ClassVar[str] = "MemSE 2205.01707, MemSELayer.py; CrossSim NormalIndependent"
    example: ClassVar[Mapping[str, Any]] = {"sigma": 0.1}

    sigma: float = real("standard deviation before clipping as a fraction of the range", low=0, high=LARGEST)
    low: float = real("where conductance ends below", high=0, default=0.0)
    high: float = real("where conductance ends above", low=1, finite=False, default=math.inf)

    @property
    def limits(self) -> tuple[float, float]:
        """Return the two ends."""
        return self.low, self.high

    def level(self, x: Any, y: Any) -> tuple[Any, Any]:
        """Return `y` and sigma."""
        return y, self.sigma
