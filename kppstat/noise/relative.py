"""Variation in proportion to the value: zero weights stay exact."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from kppstat.array import namespace
from kppstat.noise.law import Law
from kppstat.noise.normal_law import NormalLaw
from kppstat.noise.parameters import LARGEST, real
from kppstat.noise.registry import noise_model


@noise_model("proportional")
@dataclass(frozen=True)
class Proportional(NormalLaw):
    """Gaussian deviations in proportion to the weight or conductance.

    Parameters
    ----------
    sigma : float
        Standard deviation as a fraction of the value itself.
    """

    linear: ClassVar[bool] = True
    formula: ClassVar[str] = "w * (1 + sigma * z)"
    unit: ClassVar[str] = "sigma is a fraction of the value itself"
    source: ClassVar[str] = "CrossSim NormalProportional; NeuroSim V1.4 g * (1 + N(0, vari))"
    example: ClassVar[Mapping[str, Any]] = {"sigma": 0.2}

    sigma: float = real("standard deviation as a fraction of the value itself", low=0, high=LARGEST)

    def level(self, x: Any, y: Any) -> tuple[Any, Any]:
        """Return `y` and its part sigma."""
        return y, self.sigma * namespace(y).abs(y)

    def apply(self, x: Any, y: Any, z: Any) -> Any:
        """Scale the value; the sign of the deviation goes with that of the value."""
        return y * (1 + self.sigma * z[0])


@noise_model("log-normal")
@dataclass(frozen=True)
class LogNormal(Law):
    """Deviations that multiply the value by a log-normal factor; its median is the value intended.

    Parameters
    ----------
    sigma : float
        Standard deviation of the logarithm, up to 5.
    """

    linear: ClassVar[bool] = True
    formula: ClassVar[str] = "w * exp(sigma * z)"
    unit: ClassVar[str] = (
        "sigma is the standard deviation of the natural logarithm; the mean factor is exp(sigma^2 / 2)"
    )
    source: ClassVar[str] = "CorrectNet, arXiv 2211.14917; joksas/nonideality-aware-mnn-training (device to device)"
    example: ClassVar[Mapping[str, Any]] = {"sigma": 0.3}

    sigma: float = real("standard deviation of the natural logarithm", low=0, high=5)

    def apply(self, x: Any, y: Any, z: Any) -> Any:
        """Multiply by the factor."""
        return y * namespace(y).exp(self.sigma * z[0])

    def response(self, x: Any, y: Any) -> tuple[Any, Any]:
        """Return ``y exp(s^2 / 2)`` and ``y^2 exp(s^2) (exp(s^2) - 1)``."""
        s2 = self.sigma**2
        return y * math.exp(s2 / 2), y**2 * (math.exp(s2) * math.expm1(s2))
