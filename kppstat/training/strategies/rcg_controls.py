"""Controls for RCG: the same training and search, with noise that keeps one of its properties and drops another.

RCG differs from Gaussian noise by a mean below zero and by a tail that is cut. Source of the forms: CIM_CW branch adv,
``modules.py`` (BLG, BG, BSG, LSG, CSG, TG).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from kppstat.noise import NoiseModel
from kppstat.noise.law import Law
from kppstat.noise.parameters import real
from kppstat.training.strategies.rcg import Rcg
from kppstat.training.strategies.strategy import strategy


def censored_mean(threshold: float) -> float:
    """Return ``E min(Z, t) = t (1 - Phi(t)) - phi(t)`` for a standard normal Z (CIM_CW ``set_BLG``).

    Examples
    --------
    >>> round(censored_mean(1.0), 4)
    -0.0833
    """
    above = 0.5 * math.erfc(threshold / math.sqrt(2))
    return threshold * above - math.exp(-(threshold**2) / 2) / math.sqrt(2 * math.pi)


def mean_only(z: Tensor, t: float) -> Tensor:
    """Shift all weights by the mean of RCG, without randomness."""
    return torch.full_like(z, censored_mean(t))


def mean_gaussian(z: Tensor, t: float) -> Tensor:
    """Keep the bias of RCG and drop its shape: Gaussian noise around the mean of RCG."""
    return z + censored_mean(t)


def mean_removed(z: Tensor, t: float) -> Tensor:
    """Keep the shape of RCG and drop its bias."""
    return z.clamp(max=t) - censored_mean(t)


def left_censored(z: Tensor, t: float) -> Tensor:
    """Mirror RCG: the lower tail is cut, and the mean is above zero."""
    return z.clamp(min=-t)


def both_sided(z: Tensor, t: float) -> Tensor:
    """Cut both tails; the mean is zero."""
    return z.clamp(-abs(t), abs(t))


def truncated(z: Tensor, t: float) -> Tensor:
    """Give values above the threshold up, in place of moving them to it: the law of Z given ``Z <= t``."""
    below = 0.5 * math.erfc(-t / math.sqrt(2))
    rank = torch.special.ndtr(z.double()).clamp_min(1e-300) * below
    return torch.special.ndtri(rank).to(z.dtype).clamp(max=t)


@dataclass(frozen=True)
class Shaped(Law):
    """Deviations ``sigma * max|W| * form(z, threshold)``.

    Parameters
    ----------
    sigma : float
    threshold : float
        In units of sigma.
    form : callable
        One of the functions of this module.
    """

    linear: ClassVar[bool] = True
    name: ClassVar[str] = "control of RCG"

    sigma: float = real("standard deviation before the change of form", low=0)
    threshold: float = real("where the law is cut, in units of sigma")
    form: Callable[[Tensor, float], Tensor] = both_sided

    def apply(self, x: Any, y: Any, z: Any) -> Any:
        """Add the deviation."""
        return y + self.sigma * self.form(z[0], self.threshold)

    def response(self, x: Any, y: Any) -> tuple[Any, Any]:
        """Integrate mean and variance numerically."""
        z = torch.linspace(-10, 10, 40_001, dtype=torch.float64)
        density = torch.exp(-z * z / 2) / math.sqrt(2 * math.pi)
        values = self.form(z, self.threshold)
        mean = float(torch.trapezoid(values * density, z))
        variance = float(torch.trapezoid((values - mean) ** 2 * density, z))
        return y + self.sigma * mean, torch.ones_like(y) * (self.sigma**2 * variance)


class _Control(Rcg):
    """RCG with noise of another form."""

    form: ClassVar[Callable[[Tensor, float], Tensor]]

    def law(self, sigma: float) -> NoiseModel:
        """Return the noise that is injected."""
        return Shaped(sigma, self.threshold, type(self).form)


def _control(name: str, form: Callable[[Tensor, float], Tensor]) -> type[Rcg]:
    cls = type(f"Rcg{form.__name__.title().replace('_', '')}", (_Control,), {"form": staticmethod(form)})
    cls.__doc__ = f"{form.__doc__} Trained and searched as `rcg`."
    return strategy(name)(cls)


MeanOnly = _control("rcg-mean-only", mean_only)
MeanGaussian = _control("rcg-mean-gaussian", mean_gaussian)
MeanRemoved = _control("rcg-mean-removed", mean_removed)
LeftCensored = _control("rcg-left-censored", left_censored)
BothSided = _control("rcg-both-sided", both_sided)
Truncated = _control("rcg-truncated", truncated)
