"""Faults: devices stuck at an end of their range, and flipped bits."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import scipy.special

from kppstat.array import namespace
from kppstat.errors import NoiseError
from kppstat.noise.law import Law
from kppstat.noise.parameters import checked, real
from kppstat.noise.registry import noise_model


@noise_model("stuck-at")
@dataclass(frozen=True)
class StuckAt(Law):
    """Some devices are stuck at the bottom of their range and some at the top; the others are as they were.

    Parameters
    ----------
    off, on : float
        Probabilities of the two faults; together at most 1.
    """

    signed: ClassVar[bool] = False
    linear: ClassVar[bool] = True
    formula: ClassVar[str] = "0 if z < Phi^-1(off), 1 if z > -Phi^-1(on), else unchanged"
    unit: ClassVar[str] = "probabilities; 0 and 1 are the ends of the range of conductance"
    source: ClassVar[str] = "stuck-at faults as in MNSIM-2.0 and MemTorch DeviceFaults"
    example: ClassVar[Mapping[str, Any]] = {"off": 0.05, "on": 0.02}

    off: float = real("probability of the bottom", low=0, high=1, default=0.0)
    on: float = real("probability of the top", low=0, high=1, default=0.0)

    def __post_init__(self) -> None:
        checked(self)
        if self.off + self.on > 1:
            what = f"off and on add to {self.off + self.on:g}"
            raise NoiseError(what, where="noise model stuck-at", remedy="Give probabilities that add to at most 1")

    def apply(self, x: Any, y: Any, z: Any) -> Any:
        """Replace the value where the normal lies in a tail."""
        xp = namespace(y)
        y = xp.where(z[0] < float(scipy.special.ndtri(self.off)), xp.zeros_like(y), y)
        return xp.where(z[0] > -float(scipy.special.ndtri(self.on)), xp.ones_like(y), y)

    def response(self, x: Any, y: Any) -> tuple[Any, Any]:
        """Return the moments of the mixture of 0, 1 and `y`."""
        stay = 1 - self.off - self.on
        mean = self.on + stay * y
        return mean, self.off * mean**2 + self.on * (1 - mean) ** 2 + stay * (y - mean) ** 2

    def nodes(self, x: Any, y: Any) -> Iterator[tuple[Any, Any]]:
        """Yield the three outcomes."""
        xp = namespace(y)
        yield self.off, xp.zeros_like(y)
        yield self.on, xp.ones_like(y)
        yield 1 - self.off - self.on, y


@noise_model("flip")
@dataclass(frozen=True)
class Flip(Law):
    """Random bit errors: a device goes to the other end of its range.

    Put it on bits: ``encoding = ["asymmetric", {step = "slices", bits = 8, per_device = 1}]`` is RandBET.

    Parameters
    ----------
    probability : float
        That a bit flips.
    """

    signed: ClassVar[bool] = False
    linear: ClassVar[bool] = True
    formula: ClassVar[str] = "1 - y if z < Phi^-1(p), else y"
    unit: ClassVar[str] = "probability for each bit"
    source: ClassVar[str] = "RandBET 2006.13977; davidstutz/random-bit-error-robustness"
    example: ClassVar[Mapping[str, Any]] = {"probability": 0.05}

    probability: float = real("that a bit flips", low=0, high=1)

    def apply(self, x: Any, y: Any, z: Any) -> Any:
        """Mirror the value where the normal lies in the lower tail."""
        return namespace(y).where(z[0] < float(scipy.special.ndtri(self.probability)), 1 - y, y)

    def response(self, x: Any, y: Any) -> tuple[Any, Any]:
        """Return the moments of the mixture of `y` and ``1 - y``."""
        p = self.probability
        return y + p * (1 - 2 * y), p * (1 - p) * (1 - 2 * y) ** 2

    def nodes(self, x: Any, y: Any) -> Iterator[tuple[Any, Any]]:
        """Yield the two outcomes."""
        yield 1 - self.probability, y
        yield self.probability, 1 - y
