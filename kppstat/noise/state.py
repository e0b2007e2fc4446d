"""State-dependent devices: the deviation depends on the level that is programmed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from kppstat.array import like, namespace
from kppstat.errors import NoiseError
from kppstat.noise.normal_law import NormalLaw
from kppstat.noise.parameters import LARGEST, choice, real
from kppstat.noise.registry import noise_model

#: Ratio of the deviation of the two middle levels of a four-level device to that of its two outer levels.
RATIOS = {"RRAM1": 1.0, "FeFET2": 2.0, "FeFET3": 3.0, "RRAM4": 4.0, "FeFET6": 6.0}


@noise_model("four-level")
@dataclass(frozen=True)
class FourLevel(NormalLaw):
    """Devices whose middle levels are noisier than their outer ones: RRAM1, FeFET2, RRAM4 and FeFET6.

    Acting on weights, the level is read off |W| / max|W|, as both published codes do. They normalise differently: one
    unit of NeFT's sigma (8 bits, 2 per device) is 0.778 of max|W| and one of TRICE's (8 bits, 1 per device) is 0.577.
    Sigma here is a fraction of max|W|; convert with ``unit = "neft-8-2"`` or ``unit = "cim-cw-8-1"`` in a noise file,
    or `kppstat.noise.convert`. Within an encoding by slices the law acts on each device and sigma is a fraction of
    the device's range: no conversion is due.

    Parameters
    ----------
    sigma : float
        Root mean square over the levels if 40 % of values lie in the middle, as a fraction of max|W|.
    device : str
        A name of `RATIOS`.
    """

    linear: ClassVar[bool] = True
    formula: ClassVar[str] = (
        "w + sigma / sqrt(0.4 f^2 + 0.6) * max|W| * z * (f if 0.25 < |w| / max|W| < 0.75 else 1), f = 1, 2, 3, 4, 6"
    )
    unit: ClassVar[str] = "sigma is a fraction of max|W|, root mean square with 40 % of values in the middle"
    takes_unit: ClassVar[bool] = True
    source: ClassVar[str] = "NeFT 2305.14561, generate_noise.py; TRICE 2307.15853, CIM_CW modules.set_four"
    example: ClassVar[Mapping[str, Any]] = {"sigma": 0.1, "device": "FeFET2"}

    sigma: float = real("root mean square deviation as a fraction of max|W|", low=0, high=LARGEST)
    device: str = choice("which device", RATIOS, default="RRAM1")

    def level(self, x: Any, y: Any) -> tuple[Any, Any]:
        """Return `y` and the deviation of the level that `x` lies in."""
        xp = namespace(y)
        ratio = RATIOS[self.device]
        base = self.sigma / math.sqrt(0.4 * ratio**2 + 0.6)
        size = xp.abs(x)
        middle = (size > 0.25) & (size < 0.75)
        return y, xp.where(middle, xp.ones_like(y) * (base * ratio), xp.ones_like(y) * base)


@noise_model("table")
@dataclass(frozen=True)
class Table(NormalLaw):
    """Your own measurements: mean and standard deviation of what is found where a level was intended.

    Between levels both are interpolated linearly. Levels, means and deviations share any one unit. If no level is
    negative the table is of devices: the lowest level is the bottom of the range and the highest the top, and weights
    are stored on pairs unless an encoding is named. With negative levels it is of weights, in parts of the largest.

    Parameters
    ----------
    levels, means, sds : sequence of float
        Of equal length, at least two; levels rise.
    """

    formula: ClassVar[str] = "mean(x) + sd(x) * z, interpolated between the levels; conductances not below 0"
    unit: ClassVar[str] = "any, such as uS, the same for levels, means and deviations"
    source: ClassVar[str] = "your measurements: lists, or file = a CSV file with the columns level, mean, sd"
    example: ClassVar[Mapping[str, Any]] = {
        "levels": [0.5, 5.0, 12.0, 25.0],
        "means": [0.6, 5.0, 11.8, 24.5],
        "sds": [0.3, 0.9, 1.1, 0.8],
    }

    levels: tuple[float, ...] = field(metadata={"meaning": "intended, rising"})
    means: tuple[float, ...] = field(metadata={"meaning": "mean of what is found at each level"})
    sds: tuple[float, ...] = field(metadata={"meaning": "standard deviation there"})

    def __post_init__(self) -> None:
        where = "noise model table"
        for name in ("levels", "means", "sds"):
            value = getattr(self, name)
            try:
                numbers = tuple(float(v) for v in value)
            except (TypeError, ValueError, OverflowError):
                raise NoiseError(f"{name} is {value!r}", where=where, remedy="Give a list of numbers") from None
            if not all(math.isfinite(v) for v in numbers):
                raise NoiseError(f"{name} holds a number that is not finite", where=where, remedy="Leave that row out")
            object.__setattr__(self, name, numbers)
        sizes = {len(self.levels), len(self.means), len(self.sds)}
        if len(sizes) > 1 or len(self.levels) < 2:
            counts = f"{len(self.levels)} levels, {len(self.means)} means, {len(self.sds)} sds"
            raise NoiseError(counts, where=where, remedy="Give as many of each, at least two")
        if any(b <= a for a, b in zip(self.levels, self.levels[1:], strict=False)):
            raise NoiseError("levels do not rise", where=where, remedy="Sort the rows by level, each once")
        if min(self.sds) < 0:
            raise NoiseError(f"an sd is {min(self.sds):g}", where=where, remedy="Give standard deviations of 0 or more")

    @property
    def signed(self) -> bool:  # type: ignore[override]
        """Whether it is a table of weights."""
        return self.levels[0] < 0

    @property
    def limits(self) -> tuple[float, float]:
        """Where conductance ends: at 0 of its own unit."""
        zero, span = self._range()
        return (-math.inf if self.signed else -zero / span), math.inf

    def _range(self) -> tuple[float, float]:
        """Return the level that is 0 and the size that is 1 in units of the range."""
        if self.signed:
            return 0.0, max(abs(self.levels[0]), abs(self.levels[-1]))
        return self.levels[0], self.levels[-1] - self.levels[0]

    def level(self, x: Any, y: Any) -> tuple[Any, Any]:
        """Return the interpolated mean and deviation, moved along if `y` already differs from `x`."""
        zero, span = self._range()
        places = (np.array(self.levels) - zero) / span
        mean = _interpolated(x, places, (np.array(self.means) - zero) / span)
        sd = _interpolated(x, places, np.array(self.sds) / span)
        return mean + (y - x), sd


def _interpolated(x: Any, places: np.ndarray, values: np.ndarray) -> Any:
    """Interpolate linearly, constant beyond the ends, in either array library and with gradients."""
    xp = namespace(x)
    total = xp.ones_like(x) * float(values[0])
    for a, b, low, high in zip(places, places[1:], values, values[1:], strict=False):
        total = total + xp.clip((x - float(a)) / float(b - a), 0.0, 1.0) * float(high - low)
    return like(total, x)
