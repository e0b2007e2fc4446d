"""Where the weights may go: deviations in units of each tensor's max|W|, and how far they may reach."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from kppstat.errors import SettingError

Norm = Literal["linf", "l2"]


@dataclass(frozen=True)
class Region:
    """The weights that lie within a bound of the intended ones.

    With ``dw = (W' - W) / max|W|`` for each tensor, ``linf`` allows ``max|dw| <= bound`` (LWC, arXiv 2207.07626,
    the write-verify guarantee) and ``l2`` allows ``sqrt(mean(dw**2)) <= bound`` for each tensor.

    Attributes
    ----------
    bound : float
        In units of max|W| of the tensor.
    norm : {"linf", "l2"}

    Raises
    ------
    SettingError
        If the bound is negative or not finite, or the norm unknown.
    """

    bound: float
    norm: Norm = "linf"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.bound) and self.bound >= 0):
            raise SettingError(
                f"bound is {self.bound}",
                where="--bound",
                remedy="Give the largest deviation as a fraction of max|W|, such as 0.03",
            )
        if self.norm not in ("linf", "l2"):
            raise SettingError(f"there is no norm '{self.norm}'", where="--norm", remedy="Take linf or l2")

    def reach(self, deviation: np.ndarray) -> float:
        """Return how far a deviation of one tensor reaches, in units of its max|W|.

        Examples
        --------
        >>> Region(0.1, "l2").reach(np.array([0.3, -0.4, 0.0, 0.0]))
        0.25
        """
        if not deviation.size:
            return 0.0
        wide = deviation.astype(np.float64)
        return float(abs(wide).max()) if self.norm == "linf" else float(math.sqrt(np.square(wide).mean()))

    def within(self, intended: np.ndarray, attacked: np.ndarray, max_abs: float) -> bool:
        """Say whether stored weights of one tensor lie in the region, computed in float64."""
        deviation = attacked.astype(np.float64) - intended.astype(np.float64)
        if self.norm == "linf":
            return bool((abs(deviation) <= self.bound * max_abs).all())
        return bool(np.square(deviation).sum() <= deviation.size * (self.bound * max_abs) ** 2)

    def stored(self, intended: np.ndarray, deviation: np.ndarray, max_abs: float) -> np.ndarray:
        """Return the weights to be stored: in the dtype of `intended`, inside the region to the last bit.

        Rounding to the dtype of the file can step over the bound; such weights move back towards the intended ones.

        Parameters
        ----------
        intended, deviation : ndarray of the same shape
            The deviation in units of `max_abs`.
        max_abs : float

        Examples
        --------
        >>> w = np.array([1.0, -0.3], np.float16)
        >>> out = Region(0.1).stored(w, np.array([0.5, -0.1]), 1.0)
        >>> out.dtype.name, bool((abs(out.astype(float) - w.astype(float)) <= 0.1).all())
        ('float16', True)
        """
        centre = intended.astype(np.float64)
        wide = np.where(np.isfinite(deviation), deviation, 0.0).astype(np.float64)
        if self.norm == "linf":
            wide = wide.clip(-self.bound, self.bound)
        elif (reach := self.reach(wide)) > self.bound:
            wide = wide * (self.bound / reach)
        out = (centre + max_abs * wide).astype(intended.dtype)
        if self.norm == "linf":
            while (over := abs(out.astype(np.float64) - centre) > self.bound * max_abs).any():
                out[over] = np.nextafter(out[over], intended[over])
            return out
        shrink = 1.0
        while not self.within(intended, out, max_abs):
            shrink *= 0.999 if shrink > 0.9 else 0.5
            out = (centre + shrink * max_abs * wide).astype(intended.dtype)
        return out

    def programmed(
        self, intended: Mapping[str, np.ndarray], deviations: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        """Return the stored weights of all tensors named in `deviations`."""
        return {name: self.stored(intended[name], part, largest(intended[name])) for name, part in deviations.items()}


def largest(values: np.ndarray) -> float:
    """Return max|W| of a tensor, the unit of its deviation."""
    return float(abs(values.astype(np.float64)).max()) if values.size else 0.0
